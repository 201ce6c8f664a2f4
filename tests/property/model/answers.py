"""The answer to a packet that a rule rejects: a TCP reset or an ICMP error, byte by byte."""

from __future__ import annotations

import struct

from tests.property.model.packets import (
    ACK,
    ETHERNET,
    FIN,
    ICMP,
    ICMPV6,
    RST,
    SYN,
    TCP,
    Fragment,
    Packet,
    internet_checksum,
)
from tests.property.model.rules import span_of

TTL = 64
QUOTES = {4: 576 - 20 - 8, 6: 1280 - 40 - 8}
"""RFC 1812, section 4.3.2.3, and RFC 4443, section 2.4 (c)."""

NOBODY = tuple(
    span_of(prefix) for prefix in ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/128", "ff00::/8")
)
GROUPS = (span_of("224.0.0.0/3"), span_of("ff00::/8"))


def answer(packet: Packet) -> bytes | None:
    """The frame that goes back for a packet, or None if the sender may not be told."""
    if not _may_be_told(packet):
        return None
    if packet.protocol == TCP:
        protocol, content = TCP, _reset(packet)
    else:
        protocol, content = _error(packet)
    return (
        packet.frame[6:12]
        + packet.frame[:6]
        + packet.frame[12:ETHERNET]
        + _header(packet, protocol, content)
        + content
    )


def _may_be_told(packet: Packet) -> bool:
    """RFC 1122, section 3.2.2; RFC 4443, section 2.4 (e); RFC 9293, section 3.10.7.1."""
    if packet.frame[0] & 1 or packet.fragment is Fragment.LATER:
        return False
    for version, low, high in NOBODY:
        if version == packet.family and low <= packet.src <= high:
            return False
    for version, low, high in GROUPS:
        if version == packet.family and low <= packet.dst <= high:
            return False
    if packet.protocol == TCP:
        return _is_segment(packet) and not packet.tcp_flags & RST
    if packet.family == 4 and packet.protocol == ICMP:
        return packet.complete and packet.icmp_type in (8, 13)  # requests
    if packet.family == 6 and packet.protocol == ICMPV6:
        return packet.complete and packet.icmp_type >= 128 and packet.icmp_type != 137
    return True


def _is_segment(packet: Packet) -> bool:
    """Whether there is a TCP header, as long as it says and no longer than the packet."""
    if not packet.complete:
        return False
    header = (packet.frame[packet.transport + 12] >> 4) * 4
    return 20 <= header <= packet.end - packet.transport


def _reset(packet: Packet) -> bytes:
    """RFC 9293, section 3.10.7.1."""
    segment = packet.frame[packet.transport : packet.end]
    seq, ack = struct.unpack_from("!II", segment, 4)
    if packet.tcp_flags & ACK:
        seq, ack, flags = ack, 0, RST
    else:
        length = len(segment) - (segment[12] >> 4) * 4
        length += bool(packet.tcp_flags & SYN) + bool(packet.tcp_flags & FIN)
        seq, ack, flags = 0, (seq + length) % 2**32, RST | ACK
    ports = packet.dport, packet.sport
    blank = struct.pack("!HHIIBBHHH", *ports, seq, ack, 5 << 4, flags, 0, 0, 0)
    checksum = internet_checksum(_pseudo_header(packet, TCP, 20) + blank)
    return blank[:16] + checksum.to_bytes(2, "big") + blank[18:]


def _error(packet: Packet) -> tuple[int, bytes]:
    """Administratively prohibited, with an even number of bytes of the packet."""
    length = min(QUOTES[packet.family], packet.length // 2 * 2)
    quote = packet.frame[ETHERNET : ETHERNET + length]
    kind, code, protocol = (3, 13, ICMP) if packet.family == 4 else (1, 1, ICMPV6)
    blank = struct.pack("!BBHI", kind, code, 0, 0) + quote
    before = b"" if packet.family == 4 else _pseudo_header(packet, ICMPV6, len(blank))
    checksum = internet_checksum(before + blank)
    return protocol, blank[:2] + checksum.to_bytes(2, "big") + blank[4:]


def _addresses(packet: Packet) -> bytes:
    """From the packet's destination to its source."""
    size = 4 if packet.family == 4 else 16
    return packet.dst.to_bytes(size, "big") + packet.src.to_bytes(size, "big")


def _pseudo_header(packet: Packet, protocol: int, length: int) -> bytes:
    """RFC 9293, section 3.1, and RFC 8200, section 8.1: their sums are the same."""
    return _addresses(packet) + struct.pack("!II", length, protocol)


def _header(packet: Packet, protocol: int, content: bytes) -> bytes:
    if packet.family == 6:
        fixed = struct.pack("!IHBB", 6 << 28, len(content), protocol, TTL)
        return fixed + _addresses(packet)
    dont_fragment = 0x4000
    fixed = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(content), 0, dont_fragment, TTL, protocol, 0)
    blank = fixed + _addresses(packet)
    return blank[:10] + internet_checksum(blank).to_bytes(2, "big") + blank[12:]
