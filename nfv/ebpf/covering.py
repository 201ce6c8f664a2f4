"""Which patterns of an ordered list no packet reaches, as an earlier one takes all of theirs.

The rows of nfv.ebpf.vectors answer it: the patterns that hold for every value of a field that one
pattern admits are the AND of the rows of these values, and what all fields' share is around it.
What only several earlier patterns take together is not found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network

import numpy as np
from numpy.typing import NDArray

from nfv.chain.pattern import Pattern, Range
from nfv.ebpf import vectors
from nfv.ebpf.vectors import WORD, Rows

Row = NDArray[np.uint64]
Networks = Sequence[IPv4Network | IPv6Network]
_Around = Callable[[int], Row]
"""The patterns that hold for all values of a field that a pattern, by its number, admits."""


def covered(patterns: Sequence[Pattern], decisive: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Each pattern that is not reached, and the first that takes all its packets.

    Patterns that are not decisive let packets go on to later ones.
    """
    patterns = [replace(pattern, families=_families(pattern)) for pattern in patterns]
    fields = list(_fields(patterns))
    deciding = _row(np.array(decisive, bool))
    for index in range(1, len(patterns)):
        around = deciding.copy()
        for field in fields:
            around &= field(index)
        first = _lowest(around)
        if first < index:
            yield index, first


def _fields(patterns: Sequence[Pattern]) -> Iterator[_Around]:
    for key in ("src", "dst"):
        for version in (4, 6):
            conditions: Sequence[Networks] = [getattr(pattern, key) for pattern in patterns]
            relevant = [version in pattern.families for pattern in patterns]
            yield _prefixes(conditions, version, relevant)
    for key in ("src_macs", "dst_macs"):
        yield _prefixes([getattr(one, key) for one in patterns], 6, [True] * len(patterns))
    for key in ("sports", "dports", "lengths"):
        yield _ranges([getattr(pattern, key) for pattern in patterns])
    which, rows = vectors.kind_rows(patterns)
    yield _slots(rows[which])
    yield _slots(vectors.trait_rows(patterns))


def _prefixes(conditions: Sequence[Networks], version: int, relevant: Sequence[bool]) -> _Around:
    numbers, rows = vectors.address_rows(conditions, version)
    every = ~np.zeros(rows.shape[1], np.uint64)

    def around(index: int) -> Row:
        if not relevant[index]:
            return every
        given = [
            (int(network.network_address), network.prefixlen)
            for network in conditions[index]
            if network.version == version
        ]
        return _common(rows, [numbers[prefix] for prefix in given or [(0, 0)]])

    return around


def _ranges(conditions: Sequence[Sequence[Range]]) -> _Around:
    starts, rows = vectors.port_rows(conditions)
    places = np.array(starts)

    def around(index: int) -> Row:
        found: list[int] = []
        for low, high in conditions[index] or [(0, vectors.PORTS - 1)]:
            first, last = np.searchsorted(places, (low, high), side="right") - 1
            found += range(int(first), int(last) + 1)
        return _common(rows, found)

    return around


def _slots(rows: Rows) -> _Around:
    """Of a table of rows: those that a pattern is in."""
    rows = np.unique(rows, axis=0)

    def around(index: int) -> Row:
        inside = rows[:, index // WORD] >> np.uint64(index % WORD) & np.uint64(1)
        return _common(rows, np.flatnonzero(inside).tolist())

    return around


def _common(rows: Rows, numbers: Sequence[int]) -> Row:
    found: Row = np.bitwise_and.reduce(rows[numbers], axis=0)
    return found


def _families(pattern: Pattern) -> tuple[int, ...]:
    """The IP versions of which packets may match; all of them if none can."""
    found = [
        version
        for version in pattern.families or (4, 6)
        if all(
            not given or version in {network.version for network in given}
            for given in (pattern.src, pattern.dst)
        )
    ]
    return tuple(found) or (4, 6)


def _row(members: NDArray[np.bool_]) -> Row:
    whole = np.zeros(vectors.words(len(members)) * WORD, bool)
    whole[: len(members)] = members
    return np.packbits(whole, bitorder="little").view(np.uint64)


def _lowest(row: Row) -> int:
    """The lowest bit that is set; there is one, of the pattern itself, if it is decisive."""
    words = np.flatnonzero(row)
    if not len(words):
        return len(row) * WORD
    bits = int(row[words[0]])
    return int(words[0]) * WORD + (bits & -bits).bit_length() - 1
