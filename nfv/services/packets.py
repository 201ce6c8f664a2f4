"""UDP datagrams in Ethernet frames: what services read and build.

Nothing of a frame is trusted: what contradicts itself is no datagram. The fast path has looked at
it before, but a service does not depend on that.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

ETHERNET = struct.Struct("!6s6sH")
IPV4 = struct.Struct("!BBHHHBBH4s4s")
IPV6 = struct.Struct("!IHBB16s16s")
UDP = struct.Struct("!HHHH")

ETH_P_IP = 0x0800
ETH_P_ARP = 0x0806
ETH_P_IPV6 = 0x86DD
IPPROTO_ICMP = 1
IPPROTO_UDP = 17
IPPROTO_ICMPV6 = 58

BROADCAST_MAC = b"\xff" * 6

_TTL = 64
_IPV4_PLAIN = 0x45
_DONT_FRAGMENT = 0x4000
_FRAGMENT = 0x3FFF  # offset, and that more follow

IPAddress = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Datagram:
    """A UDP datagram and where it comes from; MAC addresses are 6 bytes."""

    src_mac: bytes
    dst_mac: bytes
    src: IPAddress
    dst: IPAddress
    sport: int
    dport: int
    payload: bytes


def parse_udp(frame: bytes) -> Datagram | None:
    """The datagram in a frame; None for a frame that has none, or a part or a damaged one."""
    if len(frame) < ETHERNET.size:
        return None
    dst_mac, src_mac, ethertype = ETHERNET.unpack_from(frame)
    if ethertype == ETH_P_IP:
        found = _ipv4_payload(frame[ETHERNET.size :])
    elif ethertype == ETH_P_IPV6:
        found = _ipv6_payload(frame[ETHERNET.size :])
    else:
        return None
    if found is None:
        return None
    src, dst, segment = found
    if len(segment) < UDP.size:
        return None
    sport, dport, length, check = UDP.unpack_from(segment)
    if not UDP.size <= length <= len(segment):
        return None
    segment = segment[:length]
    if check and checksum(_pseudo(src, dst, length) + segment):
        return None
    return Datagram(src_mac, dst_mac, src, dst, sport, dport, segment[UDP.size :])


def build_udp(datagram: Datagram) -> bytes:
    """The frame of a datagram, with all checksums."""
    src, dst = datagram.src, datagram.dst
    length = UDP.size + len(datagram.payload)
    head = UDP.pack(datagram.sport, datagram.dport, length, 0)
    check = checksum(_pseudo(src, dst, length) + head + datagram.payload) or 0xFFFF
    segment = UDP.pack(datagram.sport, datagram.dport, length, check) + datagram.payload
    return build_ip(datagram.dst_mac, datagram.src_mac, src, dst, IPPROTO_UDP, segment)


def build_ip(
    dst_mac: bytes,
    src_mac: bytes,
    src: IPAddress,
    dst: IPAddress,
    protocol: int,
    segment: bytes,
    ttl: int = _TTL,
) -> bytes:
    """The frame of an IP packet without options; `segment` is what follows the IP header."""
    if src.version == 4:
        length = IPV4.size + len(segment)
        fields = (_IPV4_PLAIN, 0, length, 0, _DONT_FRAGMENT, ttl, protocol)
        check = checksum(IPV4.pack(*fields, 0, src.packed, dst.packed))
        header = IPV4.pack(*fields, check, src.packed, dst.packed)
        return ETHERNET.pack(dst_mac, src_mac, ETH_P_IP) + header + segment
    header = IPV6.pack(6 << 28, len(segment), protocol, ttl, src.packed, dst.packed)
    return ETHERNET.pack(dst_mac, src_mac, ETH_P_IPV6) + header + segment


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071): 0 for data that holds its own."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(src: IPAddress, dst: IPAddress, length: int, protocol: int) -> bytes:
    """What the checksums of transport headers cover besides (RFC 768; RFC 8200, section 8.1)."""
    return src.packed + dst.packed + struct.pack("!II", length, protocol)


def _pseudo(src: IPAddress, dst: IPAddress, length: int) -> bytes:
    return pseudo_header(src, dst, length, IPPROTO_UDP)


_Payload = tuple[IPAddress, IPAddress, bytes]


def _ipv4_payload(packet: bytes) -> _Payload | None:
    if len(packet) < IPV4.size:
        return None
    head, _, length, _, fragment, _, protocol, _, src, dst = IPV4.unpack_from(packet)
    header = (head & 15) * 4
    if head >> 4 != 4 or not IPV4.size <= header <= length <= len(packet):
        return None
    if protocol != IPPROTO_UDP or fragment & _FRAGMENT or checksum(packet[:header]):
        return None
    return IPv4Address(src), IPv4Address(dst), packet[header:length]


def _ipv6_payload(packet: bytes) -> _Payload | None:
    if len(packet) < IPV6.size:
        return None
    head, length, protocol, _, src, dst = IPV6.unpack_from(packet)
    if head >> 28 != 6 or protocol != IPPROTO_UDP or IPV6.size + length > len(packet):
        return None
    return IPv6Address(src), IPv6Address(dst), packet[IPV6.size : IPV6.size + length]
