"""How functions write their tables into maps, without knowing where the maps are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Protocol

from nfv.chain.pattern import Pattern
from nfv.ebpf import matcher
from nfv.ebpf.connections import Table
from nfv.ebpf.object import Layout
from nfv.ebpf.sources import constant
from nfv.ebpf.tries import LINE
from nfv.errors import InputError

DATAGRAMS = 4096
"""Fragmented datagrams whose first fragment is remembered, of each function or classifier."""

_ROOM = constant("match.h", "MATCH_ROOM")
_WORD = 8  # bytes of an element of the matcher's map
_TABLES = tuple(1 << bits for bits in range(18, 29, 2))
"""What the matcher's map may hold, in bytes: 256 KiB to 256 MiB."""
_PLAIN_FLAGS = constant("plain.h", "PLAIN_TCP_FLAGS")
_PORTLESS = frozenset({1, 58})  # ICMP, ICMPv6: their "port" is a type, and replies have another


class Maps(Protocol):
    """The maps of one instance, by their name without the prefix."""

    def memory(self, name: str) -> memoryview:
        """The bytes of an array map, shared with the programs that read it."""

    def table(self, name: str) -> Table:
        """A hash map."""

    def layout(self, name: str) -> Layout:
        """The struct that is a map's value."""

    def clear(self, name: str, places: Collection[int]) -> None:
        """Set some elements of an array map to zero, on every CPU."""


def matcher_defines(patterns: Sequence[Pattern], beside: int = 0) -> Mapping[str, int]:
    """The size classes of matcher.h that patterns need; `beside` are bytes for each of them.

    Raises InputError if there is none for so many.
    """
    asked = matcher.asks(patterns)
    return {
        "WORDS": matcher.size_class(len(patterns)).words,
        "TABLE": _table(tuple(patterns), beside),
        **({"ASKS": asked} if asked else {}),
    }


def matcher_sizes(patterns: Sequence[Pattern], beside: int = 0) -> Mapping[str, int]:
    """Capacities of the maps in matcher.h, for two images."""
    return {"matcher": (_table(tuple(patterns), beside) + _ROOM) // _WORD}


def publish(memory: memoryview, patterns: Sequence[Pattern], beside: Sequence[bytes] = ()) -> None:
    """Write an image into the half of the matcher's map that is not read; then name it.

    `beside` has an element for what decides when no pattern matches, and one for each pattern.
    Raises ValueError if the map was made for smaller tables.
    """
    first, second = _places(len(memory) - _ROOM)
    place = second if int.from_bytes(memory[:4], "little") == first else first
    image = _tables(tuple(patterns)).at(place) + b"".join(beside)
    if len(image) > second - first:
        raise ValueError(f"an image of {len(image)} bytes, {second - first} are free")
    memory[place : place + len(image)] = image
    memory[:4].cast("I")[0] = place


def _places(table: int) -> tuple[int, int]:
    """Where the two images begin."""
    return LINE, table // 2


def _table(patterns: tuple[Pattern, ...], beside: int) -> int:
    """How many bytes of the map are read."""
    if len(patterns) > matcher.MAX_PATTERNS:
        raise InputError(f"{len(patterns)} classifiers, the most is {matcher.MAX_PATTERNS}")
    size = len(_tables(patterns)) + beside * (len(patterns) + 1)
    for table in _TABLES:
        if size <= table // 2 - LINE:
            return table
    raise InputError(
        f"the tables of {len(patterns)} rules or classifiers take {size >> 20} MiB, "
        f"the most is {_TABLES[-1] >> 21} MiB",
        "put fewer prefixes and ports into them",
    )


@lru_cache(maxsize=4)
def _tables(patterns: tuple[Pattern, ...]) -> matcher.Tables:
    """The matcher's image; making plans and carrying them out ask for the same ones."""
    return matcher.build(patterns)


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


def asks_for_packets(pattern: Pattern) -> bool:
    """Whether packets of one flow may match it or not, by what is no part of a flow's name."""
    return bool(pattern.src_macs or pattern.dst_macs or pattern.lengths or pattern.dscps)


def asks_for_flags(pattern: Pattern) -> bool:
    """Whether packets of one established TCP connection may match it or not, by their flags."""
    return pattern.tcp_flags is not None and bool(pattern.tcp_flags[0] & ~_PLAIN_FLAGS)
