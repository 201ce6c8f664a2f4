"""Frames written byte by byte, with right lengths and checksums: quicker than Scapy."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from tests.property.model.packets import (
    FRAGMENT,
    ICMP,
    ICMPV6,
    IPV4,
    IPV6,
    TCP,
    UDP,
    internet_checksum,
)

Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Ends:
    """Where a frame comes from and where it goes: MAC and IP addresses, in network order."""

    src_mac: bytes
    dst_mac: bytes
    src: bytes
    dst: bytes

    @property
    def version(self) -> int:
        """4 or 6."""
        return 4 if len(self.src) == 4 else 6

    def turned(self) -> Ends:
        """The way back."""
        return Ends(self.dst_mac, self.src_mac, self.dst, self.src)


@dataclass(frozen=True)
class Shape:
    """What else an IP header says."""

    ttl: int = 64
    ident: int = 1
    place: int = 0  # IPv4: flags and offset; IPv6: offset and M of a fragment header, if `cut`
    cut: bool = False
    options: bytes = b""  # of IPv4
    extensions: bytes = b""  # of IPv6, whose first one's type is `first`
    first: int = 0


def packet(ends: Ends, protocol: int, content: bytes, shape: Shape) -> bytes:
    """A frame with an IP packet."""
    build = _ipv4 if ends.version == 4 else _ipv6
    ethertype = IPV4 if ends.version == 4 else IPV6
    head = ends.dst_mac + ends.src_mac + ethertype.to_bytes(2, "big")
    return head + build(ends, protocol, content, shape)


def _ipv4(ends: Ends, protocol: int, content: bytes, shape: Shape) -> bytes:
    size = 20 + len(shape.options)
    head = struct.pack(
        "!BBHHHBBH",
        0x40 | size // 4,
        0,
        size + len(content) & 0xFFFF,
        shape.ident & 0xFFFF,
        shape.place,
        shape.ttl,
        protocol,
        0,
    )
    header = head + ends.src + ends.dst + shape.options
    checksum = internet_checksum(header)
    return header[:10] + checksum.to_bytes(2, "big") + header[12:] + content


def _ipv6(ends: Ends, protocol: int, content: bytes, shape: Shape) -> bytes:
    first, inner = protocol, shape.extensions
    if shape.cut:
        inner += struct.pack("!BBHI", protocol, 0, shape.place, shape.ident)
        first = FRAGMENT
    if shape.extensions:
        first = shape.first
    inner += content
    head = struct.pack("!IHBB", 6 << 28, len(inner) & 0xFFFF, first, shape.ttl)
    return head + ends.src + ends.dst + inner


def _summed(ends: Ends, protocol: int, content: bytes, place: int) -> bytes:
    """The content with its checksum over the pseudo-header at a place."""
    pseudo = ends.src + ends.dst + struct.pack("!II", len(content), protocol)
    checksum = internet_checksum(pseudo + content + b"\0" * (len(content) & 1))
    return content[:place] + checksum.to_bytes(2, "big") + content[place + 2 :]


def tcp(ends: Ends, sport: int, dport: int, flags: int, seq: int, ack: int, data: bytes) -> bytes:
    """A TCP segment."""
    head = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 5 << 4, flags, 8192, 0, 0)
    return _summed(ends, TCP, head + data, 16)


def udp(ends: Ends, sport: int, dport: int, data: bytes) -> bytes:
    """A UDP datagram."""
    head = struct.pack("!HHHH", sport, dport, 8 + len(data), 0)
    content = _summed(ends, UDP, head + data, 6)
    return content if content[6:8] != b"\0\0" else content[:6] + b"\xff\xff" + content[8:]


def icmp(ends: Ends, kind: int, code: int, rest: int, data: bytes) -> bytes:
    """An ICMP or ICMPv6 message; `rest` are the four bytes behind the checksum."""
    content = struct.pack("!BBHI", kind, code, 0, rest) + data
    if ends.version == 6:
        return _summed(ends, ICMPV6, content, 2)
    checksum = internet_checksum(content + b"\0" * (len(content) & 1))
    return content[:2] + checksum.to_bytes(2, "big") + content[4:]


def icmp_protocol(version: int) -> int:
    """The protocol number of a version's ICMP."""
    return ICMP if version == 4 else ICMPV6
