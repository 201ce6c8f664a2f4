"""IPv6 in Ethernet frames: the UDP datagrams that a service reads and builds.

Nothing of a frame is trusted: what contradicts itself is no datagram. Extension headers are not
read: what a service is sent has none.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv6Address

from nfv.services.packets import ETHERNET, IPPROTO_UDP, UDP, checksum

IPV6 = struct.Struct("!IHBB16s16s")

ETH_P_IPV6 = 0x86DD
IPPROTO_ICMPV6 = 58

_VERSION = 6 << 28
_HOP_LIMIT = 64


@dataclass(frozen=True)
class Packet6:
    """An IPv6 packet without extension headers; MAC addresses are 6 bytes."""

    src_mac: bytes
    dst_mac: bytes
    src: IPv6Address
    dst: IPv6Address
    protocol: int
    payload: bytes
    hop_limit: int = _HOP_LIMIT


@dataclass(frozen=True)
class Datagram6:
    """A UDP datagram and where it comes from; MAC addresses are 6 bytes."""

    src_mac: bytes
    dst_mac: bytes
    src: IPv6Address
    dst: IPv6Address
    sport: int
    dport: int
    payload: bytes


def parse_packet(frame: bytes) -> Packet6 | None:
    """The packet in a frame; None for a frame that has none, or one that is cut short."""
    if len(frame) < ETHERNET.size + IPV6.size:
        return None
    dst_mac, src_mac, ethertype = ETHERNET.unpack_from(frame)
    word, length, protocol, hop_limit, src, dst = IPV6.unpack_from(frame, ETHERNET.size)
    payload = frame[ETHERNET.size + IPV6.size :][:length]
    if ethertype != ETH_P_IPV6 or word >> 28 != 6 or len(payload) < length:
        return None
    ends = IPv6Address(src), IPv6Address(dst)
    return Packet6(src_mac, dst_mac, *ends, protocol, payload, hop_limit)


def build_packet(packet: Packet6) -> bytes:
    """The frame of a packet."""
    header = IPV6.pack(
        _VERSION,
        len(packet.payload),
        packet.protocol,
        packet.hop_limit,
        packet.src.packed,
        packet.dst.packed,
    )
    macs = ETHERNET.pack(packet.dst_mac, packet.src_mac, ETH_P_IPV6)
    return macs + header + packet.payload


def parse_udp6(frame: bytes) -> Datagram6 | None:
    """The datagram in a frame; None for a frame that has none, or a damaged one (RFC 8200, 8.1)."""
    packet = parse_packet(frame)
    if packet is None or packet.protocol != IPPROTO_UDP or len(packet.payload) < UDP.size:
        return None
    sport, dport, size, check = UDP.unpack_from(packet.payload)
    if not UDP.size <= size <= len(packet.payload) or not check:
        return None
    segment = packet.payload[:size]
    if checksum(pseudo_header(packet.src, packet.dst, IPPROTO_UDP, size) + segment):
        return None
    macs = packet.src_mac, packet.dst_mac
    return Datagram6(*macs, packet.src, packet.dst, sport, dport, segment[UDP.size :])


def build_udp6(datagram: Datagram6) -> bytes:
    """The frame of a datagram, with its checksum."""
    size = UDP.size + len(datagram.payload)
    ends = datagram.src, datagram.dst
    head = UDP.pack(datagram.sport, datagram.dport, size, 0)
    check = checksum(pseudo_header(*ends, IPPROTO_UDP, size) + head + datagram.payload) or 0xFFFF
    segment = UDP.pack(datagram.sport, datagram.dport, size, check) + datagram.payload
    macs = datagram.src_mac, datagram.dst_mac
    return build_packet(Packet6(*macs, *ends, IPPROTO_UDP, segment))


def pseudo_header(src: IPv6Address, dst: IPv6Address, protocol: int, length: int) -> bytes:
    """What a checksum covers besides the segment (RFC 8200, section 8.1)."""
    return src.packed + dst.packed + struct.pack("!II", length, protocol)


def link_local(mac: bytes) -> IPv6Address:
    """The address that a station has by itself (RFC 4291, appendix A)."""
    identifier = bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
    return IPv6Address(b"\xfe\x80" + bytes(6) + identifier)
