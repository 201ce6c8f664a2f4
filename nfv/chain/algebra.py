"""Patterns taken together, and one without another: per field, on sorted disjoint ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, summarize_address_range
from typing import TypeVar

from nfv.chain.pattern import Fragment, Pattern, Range

Prefix = IPv4Network | IPv6Network
T = TypeVar("T", bound=int)

_WIDTHS = {4: 32, 6: 128}
_PORTS = ((0, 0xFFFF),)


def both(first: Pattern, second: Pattern) -> Pattern | None:
    """What matches both; None if nothing can."""
    try:
        return Pattern(
            src=_common(first.src, second.src),
            dst=_common(first.dst, second.dst),
            protocols=_shared(first.protocols, second.protocols),
            sports=_meeting(first.sports, second.sports),
            dports=_meeting(first.dports, second.dports),
            tcp_flags=_flags(first.tcp_flags, second.tcp_flags),
            directions=_shared(first.directions, second.directions),
            families=_shared(first.families, second.families),
            src_macs=_macs(_common(first.src_macs, second.src_macs)),
            dst_macs=_macs(_common(first.dst_macs, second.dst_macs)),
            lengths=_meeting(first.lengths, second.lengths),
            dscps=_shared(first.dscps, second.dscps),
            fragments=_shared(first.fragments, second.fragments),
            src_sets=first.src_sets + second.src_sets,
            dst_sets=first.dst_sets + second.dst_sets,
        )
    except _NothingLeft:
        return None


def without(pattern: Pattern, excluded: Pattern) -> Pattern | None:
    """What matches a pattern and no condition of `excluded`; None if nothing can.

    TCP flags, directions and families are not excluded.
    """
    try:
        return replace(
            pattern,
            src=_outside(pattern.src, excluded.src, (4, 6)),
            dst=_outside(pattern.dst, excluded.dst, (4, 6)),
            src_macs=_macs(_outside(pattern.src_macs, excluded.src_macs, (6,))),
            dst_macs=_macs(_outside(pattern.dst_macs, excluded.dst_macs, (6,))),
            protocols=_others(pattern.protocols, excluded.protocols, range(256)),
            sports=_left(pattern.sports, excluded.sports),
            dports=_left(pattern.dports, excluded.dports),
            lengths=_left(pattern.lengths, excluded.lengths),
            dscps=_others(pattern.dscps, excluded.dscps, range(64)),
            fragments=_others(pattern.fragments, excluded.fragments, tuple(Fragment)),
        )
    except _NothingLeft:
        return None


class _NothingLeft(Exception):
    """No value of a field is left: an empty condition would hold for all of them."""


def _kept(values: tuple[T, ...]) -> tuple[T, ...]:
    if not values:
        raise _NothingLeft
    return values


def _shared(first: tuple[T, ...], second: tuple[T, ...]) -> tuple[T, ...]:
    if not first or not second:
        return first or second
    return _kept(tuple(value for value in first if value in second))


def _others(values: tuple[T, ...], excluded: Sequence[T], every: Sequence[T]) -> tuple[T, ...]:
    if not excluded:
        return values
    return _kept(tuple(value for value in values or every if value not in excluded))


def _flags(first: Range | None, second: Range | None) -> Range | None:
    """Mask and value of both."""
    if first is None or second is None:
        return first or second
    if (first[1] ^ second[1]) & first[0] & second[0]:
        raise _NothingLeft
    return first[0] | second[0], first[1] | second[1]


def _meeting(first: tuple[Range, ...], second: tuple[Range, ...]) -> tuple[Range, ...]:
    if not first or not second:
        return first or second
    return _ranges(meet(merged(first), merged(second)))


def _left(ranges: tuple[Range, ...], excluded: tuple[Range, ...]) -> tuple[Range, ...]:
    if not excluded:
        return ranges
    return _ranges(rest(merged(ranges or _PORTS), merged(excluded)))


def _ranges(found: Sequence[Range]) -> tuple[Range, ...]:
    if not found:
        raise _NothingLeft
    return tuple(found)


def _common(first: Sequence[Prefix], second: Sequence[Prefix]) -> tuple[Prefix, ...]:
    if not first or not second:
        return tuple(first or second)
    found = [
        prefix
        for version in _WIDTHS
        for prefix in _prefixes(meet(_spans(first, version), _spans(second, version)), version)
    ]
    if not found:
        raise _NothingLeft
    return tuple(found)


def _outside(
    prefixes: Sequence[Prefix], excluded: Sequence[Prefix], versions: Sequence[int]
) -> tuple[Prefix, ...]:
    if not excluded:
        return tuple(prefixes)
    found: list[Prefix] = []
    for version in versions:
        whole = [(0, (1 << _WIDTHS[version]) - 1)]
        given = _spans(prefixes, version) if prefixes else whole
        found += _prefixes(rest(given, _spans(excluded, version)), version)
    if not found:
        raise _NothingLeft
    return tuple(found)


def _macs(prefixes: Sequence[Prefix]) -> tuple[IPv6Network, ...]:
    return tuple(prefix for prefix in prefixes if isinstance(prefix, IPv6Network))


def _spans(prefixes: Sequence[Prefix], version: int) -> list[Range]:
    return merged(
        [
            (int(prefix.network_address), int(prefix.broadcast_address))
            for prefix in prefixes
            if prefix.version == version
        ]
    )


def _prefixes(spans: Sequence[Range], version: int) -> list[Prefix]:
    found: list[Prefix] = []
    for low, high in spans:
        if version == 4:
            found += summarize_address_range(IPv4Address(low), IPv4Address(high))
        else:
            found += summarize_address_range(IPv6Address(low), IPv6Address(high))
    return found


def merged(ranges: Sequence[Range]) -> list[Range]:
    """The same values as disjoint ranges, in order."""
    found: list[Range] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(high, found[-1][1])
        else:
            found.append((low, high))
    return found


def meet(first: Sequence[Range], second: Sequence[Range]) -> list[Range]:
    """The values in both, of ranges that are disjoint and in order."""
    found: list[Range] = []
    i = j = 0
    while i < len(first) and j < len(second):
        low, high = max(first[i][0], second[j][0]), min(first[i][1], second[j][1])
        if low <= high:
            found.append((low, high))
        if first[i][1] < second[j][1]:
            i += 1
        else:
            j += 1
    return found


def rest(ranges: Sequence[Range], excluded: Sequence[Range]) -> list[Range]:
    """The values that are not excluded, of ranges that are disjoint and in order."""
    if not ranges:
        return []
    least, most = ranges[0][0], ranges[-1][1]
    edges = [least - 1, *(edge for low, high in excluded for edge in (low, high)), most + 1]
    gaps = [(low + 1, high - 1) for low, high in zip(edges[::2], edges[1::2], strict=True)]
    return meet(ranges, [(low, high) for low, high in gaps if low <= high])
