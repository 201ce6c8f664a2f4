"""IPv4 in Ethernet frames: the UDP datagrams that a service reads and builds.

Nothing of a frame is trusted: what contradicts itself is no datagram. The fast path has looked at
it before, but a service does not depend on that.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address

ETHERNET = struct.Struct("!6s6sH")
IPV4 = struct.Struct("!BBHHHBBH4s4s")
UDP = struct.Struct("!HHHH")

ETH_P_IP = 0x0800
ETH_P_ARP = 0x0806
IPPROTO_ICMP = 1
IPPROTO_UDP = 17

BROADCAST_MAC = b"\xff" * 6
FRAGMENT = 0x3FFF  # in the IPv4 header: offset, and that more follow

_TTL = 64
_PLAIN = 0x45  # IPv4 without options
_DONT_FRAGMENT = 0x4000


@dataclass(frozen=True)
class Datagram:
    """A UDP datagram and where it comes from; MAC addresses are 6 bytes."""

    src_mac: bytes
    dst_mac: bytes
    src: IPv4Address
    dst: IPv4Address
    sport: int
    dport: int
    payload: bytes


def parse_udp(frame: bytes) -> Datagram | None:
    """The datagram in a frame; None for a frame that has none, or a part or a damaged one."""
    if len(frame) < ETHERNET.size + IPV4.size:
        return None
    dst_mac, src_mac, ethertype = ETHERNET.unpack_from(frame)
    packet = frame[ETHERNET.size :]
    head, _, length, _, fragment, _, protocol, _, src, dst = IPV4.unpack_from(packet)
    header = (head & 15) * 4
    if ethertype != ETH_P_IP or protocol != IPPROTO_UDP or fragment & FRAGMENT:
        return None
    if head >> 4 != 4 or header < IPV4.size or not header + UDP.size <= length <= len(packet):
        return None
    segment = packet[header:length]
    sport, dport, size, check = UDP.unpack_from(segment)
    if checksum(packet[:header]) or not UDP.size <= size <= len(segment):
        return None
    segment = segment[:size]
    if check and checksum(_pseudo_header(src, dst, size) + segment):
        return None
    payload = segment[UDP.size :]
    return Datagram(src_mac, dst_mac, address_of(src), address_of(dst), sport, dport, payload)


@lru_cache(maxsize=1024)
def address_of(packed: bytes) -> IPv4Address:
    """The address of 4 bytes; most packets have some that were just met."""
    return IPv4Address(packed)


def build_udp(datagram: Datagram) -> bytes:
    """The frame of a datagram, with all checksums."""
    size = UDP.size + len(datagram.payload)
    head = UDP.pack(datagram.sport, datagram.dport, size, 0)
    pseudo = _pseudo_header(datagram.src.packed, datagram.dst.packed, size)
    check = checksum(pseudo + head + datagram.payload) or 0xFFFF
    segment = UDP.pack(datagram.sport, datagram.dport, size, check) + datagram.payload
    macs = datagram.dst_mac, datagram.src_mac
    return build_ip(*macs, datagram.src, datagram.dst, IPPROTO_UDP, segment)


def build_ip(
    dst_mac: bytes,
    src_mac: bytes,
    src: IPv4Address,
    dst: IPv4Address,
    protocol: int,
    segment: bytes,
) -> bytes:
    """The frame of an IP packet without options; `segment` is what follows the IP header."""
    fields = (_PLAIN, 0, IPV4.size + len(segment), 0, _DONT_FRAGMENT, _TTL, protocol)
    check = checksum(IPV4.pack(*fields, 0, src.packed, dst.packed))
    header = IPV4.pack(*fields, check, src.packed, dst.packed)
    return ETHERNET.pack(dst_mac, src_mac, ETH_P_IP) + header + segment


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071): 0 for data that holds its own."""
    if len(data) % 2:
        data += b"\0"
    number = int.from_bytes(data, "big")
    # 65536 is 1 modulo 65535, so the words' sum is the remainder; that of zeros alone is 0.
    total = number % 0xFFFF or (0xFFFF if number else 0)
    return ~total & 0xFFFF


def _pseudo_header(src: bytes, dst: bytes, length: int) -> bytes:
    """What the checksum covers besides the datagram (RFC 768)."""
    return src + dst + struct.pack("!HH", IPPROTO_UDP, length)
