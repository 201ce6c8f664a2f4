"""Patterns whose packets all match another one before them.

For each field, a pattern that lets pass all that a later one does is a bit of a number; what the
numbers of all fields share covers the later one. So the work grows with the number of different
conditions, and pairs of patterns are never looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from operator import and_
from typing import Any, Generic, TypeVar

import numpy as np

from nfv.chain.pattern import NEVER, Direction, Fragment, Pattern, Range

Prefix = IPv4Network | IPv6Network
Bits = int
"""A set of patterns: bit i is pattern i."""

_NUMBERS: Sequence[Range] = ((0, 0xFFFF),)
_EVERYWHERE = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))

T = TypeVar("T", bound=Hashable)
Find = Callable[[T], Bits]
"""The patterns that have a value in which all of this one is."""


class _Field(Generic[T]):
    """A field of patterns: the condition on it, and what finds the wider ones."""

    def __init__(
        self,
        values: Callable[[Pattern], Sequence[T]],
        finder: Callable[[Mapping[T, Bits]], Find[T]],
    ) -> None:
        self._values = values
        self._finder = finder

    def wider(self, patterns: Sequence[Pattern]) -> list[Bits]:
        """Of each pattern those whose own condition lets pass all that its does."""
        conditions = [tuple(self._values(pattern)) for pattern in patterns]
        owners: dict[T, list[int]] = {}
        for i, condition in enumerate(conditions):
            for value in condition:
                owners.setdefault(value, []).append(i)
        find = self._finder({value: _bits(numbers) for value, numbers in owners.items()})
        anything = _bits(i for i, condition in enumerate(conditions) if not condition)
        found: dict[tuple[T, ...], Bits] = {(): anything}
        for condition in conditions:
            if condition not in found:
                each = (find(value) | anything for value in condition)
                found[condition] = reduce(and_, each)
        return [found[condition] for condition in conditions]


def first_covering(patterns: Sequence[Pattern], deciding: Sequence[bool]) -> list[int | None]:
    """Of each pattern the first before it that is `deciding` and matches all its packets.

    A pattern that matches no packet is covered by none.
    """
    plain = [_plain(pattern) for pattern in patterns]
    usable = _bits(i for i, one in enumerate(plain) if one and deciding[i])
    common = [usable & ((1 << i) - 1) if one else 0 for i, one in enumerate(plain)]
    known = [one or NEVER for one in plain]
    for field in _FIELDS:
        wider = field.wider(known)
        common = [bits and bits & more for bits, more in zip(common, wider, strict=True)]
    return [(bits & -bits).bit_length() - 1 if bits else None for bits in common]


def _bits(numbers: Iterable[int]) -> Bits:
    listed = np.fromiter(numbers, np.intp)
    if not len(listed):
        return 0
    marks = np.zeros(int(listed.max()) + 1, bool)
    marks[listed] = True
    return int.from_bytes(np.packbits(marks, bitorder="little").tobytes(), "little")


def _equal(owners: Mapping[T, Bits]) -> Find[T]:
    return lambda value: owners.get(value, 0)


def _prefixes(owners: Mapping[Prefix, Bits]) -> Find[Prefix]:
    keys = {(p.version, int(p.network_address), p.prefixlen): b for p, b in owners.items()}
    lengths = {version: sorted({k[2] for k in keys if k[0] == version}) for version in (4, 6)}

    def find(prefix: Prefix) -> Bits:
        address, width, bits = int(prefix.network_address), prefix.max_prefixlen, 0
        for length in lengths[prefix.version]:
            if length > prefix.prefixlen:
                break
            shift = width - length
            bits |= keys.get((prefix.version, address >> shift << shift, length), 0)
        return bits

    return find


def _ranges(owners: Mapping[Range, Bits]) -> Find[Range]:
    known = list(owners)
    edges = np.array(known, np.int64).reshape(-1, 2)

    def find(wanted: Range) -> Bits:
        around = (edges[:, 0] <= wanted[0]) & (edges[:, 1] >= wanted[1])
        bits = 0
        for i in np.flatnonzero(around).tolist():
            bits |= owners[known[i]]
        return bits

    return find


def _flags(owners: Mapping[Range, Bits]) -> Find[Range]:
    """Of flags, mask and value: what another examines this one does, with the same result."""

    def find(wanted: Range) -> Bits:
        bits = 0
        for (mask, value), theirs in owners.items():
            if not mask & ~wanted[0] and wanted[1] & mask == value:
                bits |= theirs
        return bits

    return find


def _merged(ranges: Sequence[Range]) -> tuple[Range, ...]:
    """The same numbers in as few ranges as can be."""
    found: list[Range] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)


def _collapsed(prefixes: Sequence[Prefix], families: Sequence[int]) -> tuple[Prefix, ...]:
    """The same addresses, as far as they are of these families, in as few prefixes as can be."""
    prefixes = prefixes or _EVERYWHERE
    if len(prefixes) == 1 and prefixes[0].version in families:
        return tuple(prefixes)
    v4 = [p for p in prefixes if isinstance(p, IPv4Network) and 4 in families]
    v6 = [p for p in prefixes if isinstance(p, IPv6Network) and 6 in families]
    return (*collapse_addresses(v4), *collapse_addresses(v6))


def _plain(pattern: Pattern) -> Pattern | None:
    """The pattern with its conditions in one form; None if nothing matches it."""
    families = set(pattern.families or (4, 6))
    for prefixes in (pattern.src, pattern.dst):
        families &= {prefix.version for prefix in prefixes} or families
    if not families or pattern == NEVER:
        return None
    ordered = tuple(sorted(families))
    with_ports = bool(pattern.sports or pattern.dports or pattern.tcp_flags)
    ports = _NUMBERS if with_ports else ()  # a later fragment has none
    return replace(
        pattern,
        src=_collapsed(pattern.src, ordered),
        dst=_collapsed(pattern.dst, ordered),
        src_macs=tuple(collapse_addresses(pattern.src_macs or _EVERYWHERE[1:])),
        dst_macs=tuple(collapse_addresses(pattern.dst_macs or _EVERYWHERE[1:])),
        sports=_merged(pattern.sports or ports),
        dports=_merged(pattern.dports or ports),
        lengths=_merged(pattern.lengths or _NUMBERS),
        families=ordered,
        directions=pattern.directions or tuple(Direction),
        dscps=pattern.dscps or tuple(range(64)),
        fragments=pattern.fragments or tuple(Fragment),
    )


_FIELDS: Sequence[_Field[Any]] = (
    _Field(lambda pattern: pattern.src, _prefixes),
    _Field(lambda pattern: pattern.dst, _prefixes),
    _Field(lambda pattern: pattern.protocols, _equal),
    _Field(lambda pattern: pattern.sports, _ranges),
    _Field(lambda pattern: pattern.dports, _ranges),
    _Field(lambda pattern: [pattern.tcp_flags] if pattern.tcp_flags else [], _flags),
    _Field(lambda pattern: pattern.directions, _equal),
    _Field(lambda pattern: pattern.families, _equal),
    _Field(lambda pattern: pattern.src_macs, _prefixes),
    _Field(lambda pattern: pattern.dst_macs, _prefixes),
    _Field(lambda pattern: pattern.lengths, _ranges),
    _Field(lambda pattern: pattern.dscps, _equal),
    _Field(lambda pattern: pattern.fragments, _equal),
    _Field(lambda pattern: [pattern.src_sets] if pattern.src_sets else [], _equal),
    _Field(lambda pattern: [pattern.dst_sets] if pattern.dst_sets else [], _equal),
)
