"""How functions write their tables into maps, without knowing where the maps are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from nfv.chain.pattern import Pattern
from nfv.ebpf import matcher, sources
from nfv.ebpf.lpm import SLOTS
from nfv.ebpf.object import Layout

WORD_BITS = 64
MAX_WORDS = 16

DATAGRAMS = 4096
"""Fragmented datagrams whose first fragment is remembered, of each function or classifier."""

_PLAIN_FLAGS = sources.constant("plain.h", "PLAIN_TCP_FLAGS")
_MIN_NODES, _MIN_ROWS = 32, 64
_NODE_BYTES = 1024
_PORTLESS = frozenset({1, 58})  # ICMP, ICMPv6: their "port" is a type, and replies have another


class Maps(Protocol):
    """The maps of one instance, by their name without the prefix."""

    def memory(self, name: str) -> memoryview:
        """The bytes of an array map, shared with the programs that read it."""

    def layout(self, name: str) -> Layout:
        """The struct that is a map's value."""

    def clear(self, name: str, index: int) -> None:
        """Set an element of an array map to zero, on every CPU."""


def words(rules: int) -> int:
    """Words of a row that has a bit for each of so many rules: a power of two."""
    return _power_of_two(max(1, -(-rules // WORD_BITS)))


def matcher_sizes(patterns: Sequence[Pattern]) -> Mapping[str, int]:
    """Capacities of the maps in matcher.h, for two halves."""
    tables = matcher.build(patterns)
    nodes = max(_MIN_NODES, _power_of_two(len(tables.nodes) // SLOTS))
    rows = max(_MIN_ROWS, _power_of_two(len(tables.rows)))
    return {"nodes": 2 * nodes, "rows": 2 * rows, "matcher": 1}


def places(patterns: Sequence[Pattern]) -> int:
    """Places of a half of a table that stands beside the matcher: the default, then the rules."""
    return words(len(patterns)) * WORD_BITS + 1


def publish(maps: Maps, patterns: Sequence[Pattern], beside: Mapping[str, Iterable[bytes]]) -> None:
    """Write patterns, and what stands beside them, into the half that is not read; then name it.

    `beside` has the elements of further maps by place, the default's first.
    """
    halves = maps.layout("matcher").unpack(bytes(maps.memory("matcher")))
    other = 1 - int.from_bytes(_raw(halves["half"]), "little")
    tables = matcher.build(patterns)
    row_size = maps.layout("rows").size
    nodes, rows = maps.memory("nodes"), maps.memory("rows")
    half_nodes = len(nodes) // _NODE_BYTES // 2
    half_rows = _elements(rows, row_size) // 2
    start = other * half_nodes * _NODE_BYTES
    image = tables.nodes.tobytes()
    nodes[start : start + len(image)] = image
    packed = matcher.row_bytes(tables, row_size // 8)
    start = other * half_rows * row_size
    rows[start : start + len(packed)] = packed
    count = places(patterns)
    for name, elements in beside.items():
        memory, size = maps.memory(name), maps.layout(name).size
        for place, element in enumerate(elements):
            start = (other * count + place) * size
            memory[start : start + size] = element
    # The lengths stay the same in the life of the maps: what changes is the half, one store.
    named = maps.layout("matcher").pack(half=other, nodes=half_nodes, rows=half_rows, rules=count)
    maps.memory("matcher")[: len(named)] = named


def turned(pattern: Pattern) -> Pattern:
    """The pattern of the return traffic: source and destination exchanged."""
    if pattern.protocols and _PORTLESS.issuperset(pattern.protocols):
        return replace(pattern, src=pattern.dst, dst=pattern.src, dports=())
    return replace(
        pattern,
        src=pattern.dst,
        dst=pattern.src,
        sports=pattern.dports,
        dports=pattern.sports,
    )


def asks_for_flags(pattern: Pattern) -> bool:
    """Whether packets of one established TCP connection may match it or not, by their flags."""
    return pattern.tcp_flags is not None and bool(pattern.tcp_flags[0] & ~_PLAIN_FLAGS)


def _elements(memory: memoryview, size: int) -> int:
    return len(memory) // size


def _raw(value: int | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.to_bytes(4, "little")


def _power_of_two(value: int) -> int:
    return 1 << (value - 1).bit_length()
