"""Sets of patterns as rows of bits, by the values of each field that packets and patterns have.

A row is a vector of words of 64 bits; pattern i is bit i % 64 of word i // 64. Each function
returns a matrix of rows, and what leads to them by their number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nfv.chain.pattern import Direction, Pattern, Range, SetCondition
from nfv.ebpf.sources import constant
from nfv.ebpf.tries import SLOTS, Prefix

TCP = 6
PORT_PROTOCOLS = frozenset({1, 6, 17, 33, 58, 132, 136})
"""ICMP, TCP, UDP, DCCP, ICMPv6, SCTP, UDP-Lite: their packets have ports, or type and code."""

WORD = 64
PORTS = 1 << 16

Rows: TypeAlias = "NDArray[np.uint64]"
"""Rows by words."""

_DSCPS = 1 << 6
_SET_ROWS = constant("match.h", "MATCH_SET_ROWS")

_HAS_PORTS = np.isin(np.arange(SLOTS), list(PORT_PROTOCOLS))

KINDS = 12
"""Tables of `kind_rows`: for each direction and family (4, 6) one for packets without ports to read
and one for those with ports, by protocol, and one for TCP, by flags."""


def words(patterns: int) -> int:
    """Words of a row."""
    return max(1, -(-patterns // WORD))


def address_rows(
    conditions: Sequence[Sequence[IPv4Network | IPv6Network]], version: int
) -> tuple[dict[Prefix, int], Rows]:
    """The number of the row of each prefix of one family: those of it and of all around it.

    That of length 0 is always there. A pattern without condition is in all rows.
    """
    own: defaultdict[Prefix, list[int]] = defaultdict(list)
    own[0, 0] = [pattern for pattern, networks in enumerate(conditions) if not networks]
    for pattern, networks in enumerate(conditions):
        for network in networks:
            if network.version == version:
                own[int(network.network_address), network.prefixlen].append(pattern)
    width = 32 if version == 4 else 128
    rows = [np.zeros(words(len(conditions)), np.uint64)]
    numbers: dict[Prefix, int] = {}
    known: dict[tuple[int, ...], int] = {}
    around = [(1 << width, 0)]  # last address and row of the prefixes that enclose this one
    for prefix in sorted(own):
        key, length = prefix
        while around[-1][0] < key:
            around.pop()
        outer, members = around[-1][1], own[prefix]
        number = known.setdefault((outer, *members), len(rows))
        if number == len(rows):
            row = rows[outer].copy()
            for pattern in members:
                row[pattern // WORD] |= np.uint64(1 << pattern % WORD)
            rows.append(row)
        around.append((key + (1 << (width - length)) - 1, number))
        numbers[prefix] = number
    return numbers, np.array(rows)


def port_rows(conditions: Sequence[Sequence[Range]]) -> tuple[list[int], Rows]:
    """Lowest ports of stretches that the same patterns match, in order; rows are in theirs."""
    edges, members = [0], [-1]
    for pattern, ranges in enumerate(conditions):
        for low, high in _disjoint(ranges or [(0, PORTS - 1)]):
            edges += (low, high + 1)
            members += (pattern, pattern)
    starts, at = np.unique(np.array(edges), return_inverse=True)
    rows = np.zeros((len(starts), words(len(conditions))), np.uint64)
    word, bit = _bits(members[1:])
    np.bitwise_xor.at(rows, (at[1:], word), bit)
    rows = np.bitwise_xor.accumulate(rows, axis=0)
    inside = int(np.searchsorted(starts, PORTS))
    return starts[:inside].tolist(), rows[:inside]


def trait_rows(patterns: Sequence[Pattern]) -> Rows:
    """The row of each DSCP and place in the datagram: slot MATCH_TRAIT of match.h."""
    members = np.zeros((SLOTS, words(len(patterns)) * WORD), bool)
    slots = np.arange(SLOTS)
    for index, pattern in enumerate(patterns):
        dscps = np.isin(slots % _DSCPS, pattern.dscps) if pattern.dscps else True
        places = np.isin(slots // _DSCPS, pattern.fragments) if pattern.fragments else True
        members[:, index] = dscps & places
    return np.packbits(members, axis=1, bitorder="little").view(np.uint64)


def set_rows(conditions: Sequence[SetCondition]) -> Rows:
    """The row of each choice of sets: slot i is of an address that is in those of i's bits."""
    members = np.zeros((_SET_ROWS, words(len(conditions)) * WORD), bool)
    choices = np.arange(_SET_ROWS)
    for index, condition in enumerate(conditions):
        admitted = np.ones(_SET_ROWS, bool)
        for some in condition:
            admitted &= (choices & sum(1 << number for number in set(some))) != 0
        members[:, index] = admitted
    return np.packbits(members, axis=1, bitorder="little").view(np.uint64)


def kind_rows(patterns: Sequence[Pattern]) -> tuple[NDArray[np.intp], Rows]:
    """The number of the row of each slot of KINDS, and the rows."""
    numbers: dict[object, int] = {}
    kinds = []
    slots = []
    for pattern in patterns or [Pattern()]:
        ports = bool(pattern.sports or pattern.dports)
        key = pattern.protocols, pattern.tcp_flags, pattern.directions, pattern.families, ports
        if key not in numbers:
            numbers[key] = len(numbers)
            slots.append(_admitted(pattern))
        kinds.append(numbers[key])
    found, which = np.unique(np.packbits(np.array(slots).T, axis=1), axis=0, return_inverse=True)
    of_kind = np.unpackbits(found, axis=1, count=len(slots)).astype(bool)
    members = np.zeros((len(found), words(len(patterns)) * WORD), bool)
    members[:, : len(patterns)] = of_kind[:, kinds[: len(patterns)]]
    return which.ravel(), np.packbits(members, axis=1, bitorder="little").view(np.uint64)


def _admitted(pattern: Pattern) -> NDArray[np.bool_]:
    """The slots of KINDS that a pattern is in."""
    ports = bool(pattern.sports or pattern.dports)
    protocols = np.zeros(SLOTS, bool)
    protocols[list(pattern.protocols) or slice(None)] = True
    flags = np.full(SLOTS, protocols[TCP])
    if pattern.tcp_flags is not None:
        mask, value = pattern.tcp_flags
        flags &= (np.arange(SLOTS) & mask) == value
        protocols[:] = False
    with_ports = protocols & _HAS_PORTS if ports else protocols
    without = np.zeros(SLOTS, bool) if ports else protocols
    here = [
        (not pattern.directions or direction in pattern.directions)
        and (not pattern.families or family in pattern.families)
        for direction in Direction
        for family in (4, 6)
    ]
    transports = np.stack((without, with_ports, flags))
    admitted: NDArray[np.bool_] = np.array(here)[:, None, None] & transports
    return admitted.ravel()


def _disjoint(ranges: Sequence[Range]) -> Sequence[Range]:
    """Return the same set of values with overlaps merged."""
    if len(ranges) == 1:
        return ranges
    merged: list[Range] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1]:
            low, high = merged[-1][0], max(high, merged[-1][1])
            merged.pop()
        merged.append((low, high))
    return merged


def _bits(patterns: Sequence[int]) -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
    """Word and bit of each."""
    numbers = np.array(patterns, np.intp)
    return numbers // WORD, np.uint64(1) << (numbers % WORD).astype(np.uint64)
