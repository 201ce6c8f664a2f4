"""What a packet is, read from its frame: a plain reading of the RFCs, one field after the other.

Numbers are in host order, addresses are integers, offsets and lengths are in bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum

ETHERNET = 14
ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
WITH_PORTS = frozenset({TCP, UDP, 33, 132, 136})  # and DCCP, SCTP, UDP-Lite
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60
EXTENSIONS = frozenset({HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION})

MAX_EXTENSIONS = 6
MAX_HEADERS = 1023
"""docs/architecture.md, limits: IPv6 extension headers, and bytes in which all headers lie."""

FIN, SYN, RST, ACK = 1, 2, 4, 16


class Fragment(Enum):
    """The place of a packet in its datagram."""

    NONE = "whole"
    FIRST = "first"
    LATER = "later"


class Malformed(Exception):
    """A header is cut short, or contradicts the frame or itself."""


@dataclass
class Packet:
    """A packet on its way: the frame, and what was read from it when it came in."""

    frame: bytes
    ethertype: int
    family: int = 0  # 4, 6, or 0: neither
    src: int = 0
    dst: int = 0
    protocol: int = 0
    ttl: int = 0
    length: int = 0  # of the packet, from the IP header on
    transport: int = 0  # where its header begins in the frame
    options: bool = False  # of IPv4, or a hop-by-hop header
    fragment: Fragment = Fragment.NONE
    ident: int = 0  # of the datagram, if the packet is a fragment
    complete: bool = False  # the ports or the ICMP type could be read
    sport: int = 0
    dport: int = 0
    icmp_type: int = 0
    icmp_code: int = 0
    echo_id: int = 0
    tcp_flags: int = 0

    @property
    def end(self) -> int:
        """Where the packet ends in the frame; what follows was never part of it."""
        return ETHERNET + self.length

    @property
    def is_icmp(self) -> bool:
        """Whether it is ICMP of either kind."""
        return self.protocol in (ICMP, ICMPV6)

    @property
    def is_discovery(self) -> bool:
        """Neighbour discovery and multicast listener messages from this link (RFC 4890, 4.4.1)."""
        if self.family != 6 or self.protocol != ICMPV6 or not self.complete:
            return False
        if self.icmp_type in (133, 134, 135, 136):
            return self.ttl == 255
        return self.icmp_type in (130, 131, 132, 143) and self.ttl == 1


def parse(frame: bytes) -> Packet:
    """Read a frame. Raises `Malformed` for what no function may see."""
    if len(frame) < ETHERNET:
        raise Malformed
    packet = Packet(frame, int.from_bytes(frame[12:14], "big"))
    if packet.ethertype == IPV4:
        _parse_ipv4(packet)
    elif packet.ethertype == IPV6:
        _parse_ipv6(packet)
    else:
        return packet
    if packet.fragment is not Fragment.LATER:
        _parse_transport(packet)
    return packet


def _parse_ipv4(packet: Packet) -> None:
    """RFC 791, section 3.1."""
    frame = packet.frame
    if len(frame) < ETHERNET + 20:
        raise Malformed
    first, _, length, ident, place, ttl, protocol, _, src, dst = struct.unpack_from(
        "!BBHHHBBHII", frame, ETHERNET
    )
    header = (first & 15) * 4
    if first >> 4 != 4 or header < 20 or length < header or len(frame) < ETHERNET + length:
        raise Malformed
    packet.family, packet.length, packet.ttl, packet.protocol = 4, length, ttl, protocol
    packet.src, packet.dst = src, dst
    packet.options = header > 20
    packet.transport = ETHERNET + header
    _note_fragment(packet, place & 0x1FFF, bool(place & 0x2000), ident)


def _parse_ipv6(packet: Packet) -> None:
    """RFC 8200, sections 3 and 4."""
    frame = packet.frame
    if len(frame) < ETHERNET + 40 or frame[ETHERNET] >> 4 != 6:
        raise Malformed
    packet.length = 40 + int.from_bytes(frame[18:20], "big")
    if len(frame) < packet.end:
        raise Malformed
    packet.family, packet.protocol, packet.ttl = 6, frame[20], frame[21]
    packet.src = int.from_bytes(frame[22:38], "big")
    packet.dst = int.from_bytes(frame[38:54], "big")
    packet.transport = ETHERNET + 40
    for _ in range(MAX_EXTENSIONS):
        if packet.protocol not in EXTENSIONS or packet.fragment is Fragment.LATER:
            break
        _parse_extension(packet)
    if packet.transport > packet.end:
        raise Malformed


def _parse_extension(packet: Packet) -> None:
    frame, at = packet.frame, packet.transport
    if at + 8 > len(frame):
        raise Malformed
    size = 8
    if packet.protocol == FRAGMENT:
        place, ident = struct.unpack_from("!HI", frame, at + 2)
        _note_fragment(packet, place >> 3, bool(place & 1), ident)
    else:
        size += frame[at + 1] * 8
        packet.options |= packet.protocol == HOP_BY_HOP
    packet.protocol = frame[at]
    packet.transport += size
    if packet.transport > MAX_HEADERS:
        raise Malformed


def _note_fragment(packet: Packet, offset: int, more: bool, ident: int) -> None:
    if offset:
        packet.fragment = Fragment.LATER
    elif more:
        packet.fragment = Fragment.FIRST
    packet.ident = ident


def _parse_transport(packet: Packet) -> None:
    """Ports, flags, ICMP type: if the packet has all of the header's least length."""
    header = packet.frame[packet.transport : packet.end]
    least = 20 if packet.protocol == TCP else 8
    if len(header) < least:
        return
    if packet.is_icmp:
        packet.icmp_type, packet.icmp_code = header[0], header[1]
        packet.echo_id = int.from_bytes(header[4:6], "big")
    elif packet.protocol in WITH_PORTS:
        packet.sport, packet.dport = struct.unpack_from("!HH", header)
        if packet.protocol == TCP:
            packet.tcp_flags = header[13]
    else:
        return
    packet.complete = True


def internet_checksum(octets: bytes) -> int:
    """RFC 1071, over an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
