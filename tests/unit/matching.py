"""What patterns say of a packet: read one after the other, and from the matcher's tables.

`first_match` is what the tables must do; `lookup` reads them as matcher.h does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from nfv.chain.pattern import Direction, Pattern, Range
from nfv.ebpf.lpm import POINTER, SLOTS, STRIDE
from nfv.ebpf.matcher import PORT_PROTOCOLS, TCP, Node, Tables


@dataclass(frozen=True)
class Packet:
    """The fields that patterns look at. For ICMP dport is type * 256 + code and sport is 0."""

    family: int  # 4 or 6
    src: int
    dst: int
    protocol: int
    sport: int
    dport: int
    tcp_flags: int
    has_l4: bool  # false for fragments but the first, and where no transport header was read
    direction: Direction


def first_match(patterns: Sequence[Pattern], packet: Packet) -> int | None:
    """Return the index of the first pattern that the packet matches."""
    return next((i for i, pattern in enumerate(patterns) if _matches(pattern, packet)), None)


def lookup(tables: Tables, packet: Packet) -> int | None:
    """Return the index of the first rule that the packet matches, read from the tables alone."""
    ipv6 = packet.family == 6
    width = 128 if ipv6 else 32

    def row(node: int, slot: int) -> int:
        return tables.rows[tables.nodes[node * SLOTS + slot]]

    def trie_row(node: int, key: int, width: int) -> int:
        while True:
            width -= STRIDE
            word = tables.nodes[node * SLOTS + (key >> width & 0xFF)]
            if not word & POINTER:
                return tables.rows[word]
            node = word ^ POINTER

    hits = row(Node.PROTOCOL + packet.direction * 2 + ipv6, packet.protocol)
    hits &= trie_row(Node.SRC_IPV6 if ipv6 else Node.SRC_IPV4, packet.src, width)
    hits &= trie_row(Node.DST_IPV6 if ipv6 else Node.DST_IPV4, packet.dst, width)
    if packet.has_l4:
        hits &= trie_row(Node.SPORT, packet.sport, 16)
        hits &= trie_row(Node.DPORT, packet.dport, 16)
    else:
        hits &= row(Node.WITHOUT, 0) & row(Node.WITHOUT, 1)
    if packet.has_l4 and packet.protocol == TCP:
        hits &= row(Node.TCP_FLAGS, packet.tcp_flags)
    else:
        hits &= row(Node.WITHOUT, 2)
    return (hits & -hits).bit_length() - 1 if hits else None


def _matches(pattern: Pattern, packet: Packet) -> bool:
    has_ports = packet.has_l4 and packet.protocol in PORT_PROTOCOLS
    return (
        (not pattern.directions or packet.direction in pattern.directions)
        and (not pattern.families or packet.family in pattern.families)
        and (not pattern.protocols or packet.protocol in pattern.protocols)
        and (not pattern.src or any(_contains(net, packet, packet.src) for net in pattern.src))
        and (not pattern.dst or any(_contains(net, packet, packet.dst) for net in pattern.dst))
        and (not pattern.sports or (has_ports and _in_ranges(packet.sport, pattern.sports)))
        and (not pattern.dports or (has_ports and _in_ranges(packet.dport, pattern.dports)))
        and (pattern.tcp_flags is None or _has_flags(packet, *pattern.tcp_flags))
    )


def _contains(network: IPv4Network | IPv6Network, packet: Packet, address: int) -> bool:
    first, last = int(network.network_address), int(network.broadcast_address)
    return network.version == packet.family and first <= address <= last


def _in_ranges(value: int, ranges: Sequence[Range]) -> bool:
    return any(low <= value <= high for low, high in ranges)


def _has_flags(packet: Packet, mask: int, value: int) -> bool:
    return packet.has_l4 and packet.protocol == TCP and packet.tcp_flags & mask == value
