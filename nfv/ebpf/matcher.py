"""First match among ordered patterns: one bit vector lookup a field, whatever the number of rules.

Rule i is bit i. Every field of a packet leads to a row, the set of rules that its value can match;
the rules that match the packet are the AND of the rows, and the lowest bit is the first of them.
Values that the same rules match share a row (equivalence classes), so the tables grow with the
number of distinct conditions. The method is the bit vector scheme of Lakshman and Stiliadis
(SIGCOMM 1998), with tries in place of its binary searches.

All lookups go through one image of nodes in the form of nfv.ebpf.lpm, with child pointers relative
to its start; every slot holds a row number, never 0. matcher.h reads it.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Network
from itertools import pairwise

from nfv.chain.pattern import Direction, Pattern, Range
from nfv.ebpf.lpm import SLOTS, STRIDE, NodePool, Trie

TCP = 6
PORT_PROTOCOLS = frozenset({1, 6, 17, 33, 58, 132, 136})
"""ICMP, TCP, UDP, DCCP, ICMPv6, SCTP, UDP-Lite: their packets have ports, or type and code."""

Rows = Mapping[tuple[int, int], int]
"""The rules that match a prefix (key, length), as a bit set; the prefixes cover all keys."""


class Node(IntEnum):
    """Where each lookup starts: node numbers that the C code knows."""

    PROTOCOL = 0  # + direction * 2 + (1 if IPv6); slot: IP protocol number
    TCP_FLAGS = 4  # slot: byte 13 of the TCP header
    SPORT = 5
    DPORT = 6
    WITHOUT = 7  # slots: rules without a condition on source port, destination port, TCP flags
    SRC_IPV4 = 8
    DST_IPV4 = 9
    SRC_IPV6 = 10
    DST_IPV6 = 11


@dataclass(frozen=True)
class Tables:
    """What the C code reads: the image of nodes and the rows that its slots number."""

    nodes: array[int]  # u32[256] a node
    rows: tuple[int, ...]  # bit i: rule i; row 0 is not used
    rules: int


def build(patterns: Sequence[Pattern]) -> Tables:
    """Build the tables of a list of patterns."""
    sources, destinations = [p.src for p in patterns], [p.dst for p in patterns]
    tries = {
        Node.SPORT: (16, _port_rows([p.sports for p in patterns])),
        Node.DPORT: (16, _port_rows([p.dports for p in patterns])),
        Node.SRC_IPV4: (32, _address_rows(sources, 4)),
        Node.DST_IPV4: (32, _address_rows(destinations, 4)),
        Node.SRC_IPV6: (128, _address_rows(sources, 6)),
        Node.DST_IPV6: (128, _address_rows(destinations, 6)),
    }
    arrays = {
        Node.PROTOCOL + direction * 2 + (family == 6): _protocol_rows(patterns, direction, family)
        for direction in Direction
        for family in (4, 6)
    }
    arrays[Node.TCP_FLAGS] = _flag_rows(patterns)
    arrays[Node.WITHOUT] = _without_rows(patterns)
    numbers = _Numbers()
    nodes = _image(arrays, tries, numbers)
    return Tables(nodes, numbers.rows(), len(patterns))


def row_bytes(tables: Tables, words: int) -> bytes:
    """Return all rows, each as `words` little-endian u64: rule i is bit i % 64 of word i // 64."""
    if tables.rules > words * 64:
        raise ValueError(f"{tables.rules} rules do not fit in {words} words of 64 bits")
    return b"".join(row.to_bytes(words * 8, "little") for row in tables.rows)


def _bits(patterns: Sequence[Pattern], condition: Callable[[Pattern], bool]) -> int:
    return sum(1 << i for i, pattern in enumerate(patterns) if condition(pattern))


def _protocol_rows(patterns: Sequence[Pattern], direction: Direction, family: int) -> list[int]:
    """Return the rules by protocol number, without those that it or the packet's way rules out."""
    here = _bits(
        patterns,
        lambda p: (
            (not p.directions or direction in p.directions)
            and (not p.families or family in p.families)
        ),
    )
    portless = _bits(patterns, lambda p: not p.sports and not p.dports)
    flagless = _bits(patterns, lambda p: p.tcp_flags is None)
    rows = [_bits(patterns, lambda p: not p.protocols)] * SLOTS
    for i, pattern in enumerate(patterns):
        for protocol in pattern.protocols:
            rows[protocol] |= 1 << i
    for protocol in range(SLOTS):
        rows[protocol] &= here
        if protocol not in PORT_PROTOCOLS:
            rows[protocol] &= portless
        if protocol != TCP:
            rows[protocol] &= flagless
    return rows


def _flag_rows(patterns: Sequence[Pattern]) -> list[int]:
    """Return the rules by TCP flags byte; those without a condition are in every row."""
    rows = [_bits(patterns, lambda p: p.tcp_flags is None)] * SLOTS
    conditions: defaultdict[tuple[int, int], int] = defaultdict(int)
    for i, pattern in enumerate(patterns):
        if pattern.tcp_flags is not None:
            conditions[pattern.tcp_flags] |= 1 << i
    for (mask, value), bits in conditions.items():
        for flags in range(SLOTS):
            if flags & mask == value:
                rows[flags] |= bits
    return rows


def _without_rows(patterns: Sequence[Pattern]) -> list[int]:
    """Return the rules that can match without a transport header, in the slots of Node.WITHOUT."""
    rows = [0] * SLOTS
    rows[0] = _bits(patterns, lambda p: not p.sports)
    rows[1] = _bits(patterns, lambda p: not p.dports)
    rows[2] = _bits(patterns, lambda p: p.tcp_flags is None)
    return rows


def _address_rows(conditions: Sequence[Sequence[IPv4Network | IPv6Network]], version: int) -> Rows:
    """Return the rules by prefix: its own and those of all prefixes around it."""
    own: defaultdict[tuple[int, int], int] = defaultdict(int)
    own[0, 0] = 0
    for i, networks in enumerate(conditions):
        if not networks:
            own[0, 0] |= 1 << i
        for network in networks:
            if network.version == version:
                own[int(network.network_address), network.prefixlen] |= 1 << i
    width = 32 if version == 4 else 128
    rows: dict[tuple[int, int], int] = {}
    around: list[tuple[int, int]] = []  # last address and row of the prefixes that enclose this one
    for (key, length), bits in sorted(own.items()):
        while around and around[-1][0] < key:
            around.pop()
        row = bits | around[-1][1] if around else bits
        around.append((key + (1 << (width - length)) - 1, row))
        rows[key, length] = row
    return rows


def _port_rows(conditions: Sequence[Sequence[Range]]) -> Rows:
    """Return the rules by prefix of the port, from stretches of ports that the same rules match."""
    edges = defaultdict(int, {0: 0, 1 << 16: 0})  # port: rules that start or cease to match there
    for i, ranges in enumerate(conditions):
        for low, high in _disjoint(ranges or [(0, 0xFFFF)]):
            edges[low] ^= 1 << i
            edges[high + 1] ^= 1 << i
    rows: dict[tuple[int, int], int] = {}
    row = 0
    for low, following in pairwise(sorted(edges)):
        row ^= edges[low]
        rows.update(dict.fromkeys(_prefixes(low, following - 1), row))
    return rows


def _disjoint(ranges: Sequence[Range]) -> list[Range]:
    """Return the same set of values with overlaps merged."""
    merged: list[Range] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1]:
            low, high = merged[-1][0], max(high, merged[-1][1])
            merged.pop()
        merged.append((low, high))
    return merged


def _prefixes(low: int, high: int) -> Iterator[tuple[int, int]]:
    """Yield the fewest prefixes (key, length) of 16 bits that make up the range."""
    while low <= high:
        aligned = low & -low or 1 << 16
        fitting = 1 << (high - low + 1).bit_length() - 1
        size = min(aligned, fitting)
        yield low, 17 - size.bit_length()
        low += size


class _Numbers:
    """Gives every distinct row a number, from 1, as it turns up."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}

    def of(self, row: int) -> int:
        return self._numbers.setdefault(row, len(self._numbers) + 1)

    def rows(self) -> tuple[int, ...]:
        return (0, *self._numbers)


def _image(
    arrays: Mapping[int, Sequence[int]], tries: Mapping[Node, tuple[int, Rows]], numbers: _Numbers
) -> array[int]:
    """Lay out the fixed nodes, by number a row for each slot or a trie's root, then children."""
    fixed = len(arrays) + len(tries)
    lengths = [length for _, rows in tries.values() for _, length in rows]
    count = fixed + sum((length - 1) // STRIDE for length in lengths if length)  # at most
    image = array("I", bytes(4 * SLOTS * count))
    pool = NodePool(memoryview(image), 0, count)
    roots = []
    for node in range(fixed):
        if node in arrays:
            start = pool.alloc() * SLOTS
            image[start : start + SLOTS] = array("I", map(numbers.of, arrays[node]))
        else:
            width, rows = tries[Node(node)]
            roots.append((Trie(pool, width), rows))
    for trie, rows in roots:
        for (key, length), row in rows.items():
            trie.insert(key, length, numbers.of(row))
    return image[: (count - pool.available) * SLOTS]
