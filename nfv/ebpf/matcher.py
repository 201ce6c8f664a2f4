"""First match among ordered patterns: bit vectors over equivalence classes, in groups.

Every pattern is a bit. Each field of a packet leads to a row, the set of patterns that its value
can match; the patterns that match the packet are the AND of the rows (Lakshman and Stiliadis,
SIGCOMM 1998). Values that the same patterns match share a row. So new fields are new rows, and what
a lookup does depends on the number of patterns alone, by its size class:

- Up to 1,024 patterns a row is 1, 4 or 16 words, in the order of the list. The first word that the
  AND leaves a bit in has the match.
- Up to 10,240 a row says first which groups of 4 words are not zero (aggregated bit vectors;
  Baboescu and Varghese, SIGCOMM 2001), and the others are not looked at. That few are left depends
  on which pattern is which bit: those with the same or neighbouring source prefixes stand together,
  and among these those with neighbouring destinations. So the order of the list holds in a group
  only, and the least of all groups' first is the match. Equal chunks of rows are stored once.

The result is an image that matcher.h reads in place: a head, the place in the list of each bit,
rows, and tries (nfv.ebpf.tries) and tables that lead to them. It grows with the number of different
conditions, times the number of patterns at worst, never with their combinations.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

import numpy as np
from numpy.typing import NDArray

from nfv.chain.pattern import Pattern, Range, SetCondition
from nfv.ebpf import vectors
from nfv.ebpf.sources import constant
from nfv.ebpf.tries import LINE, Image, ipv4_trie, ipv6_trie, port_trie
from nfv.ebpf.vectors import WORD, Rows

HEAD = struct.Struct("=15I4x")  # struct match_head, and the rest of its cache line
MACS, LENGTH, TRAITS, SRC_SETS, DST_SETS = (
    constant("match.h", f"MATCH_{name}")
    for name in ("MACS", "LENGTH", "TRAITS", "SRC_SETS", "DST_SETS")
)
NO_PLACE = 0xFFFFFFFF
NONE = -1
GROUP = 4  # words that a bit of an aggregate stands for
CHUNK = 16  # words that stand together

_PLAIN = 16
_DE_BRUIJN = 0x03F79D71B4CB0A89


@dataclass(frozen=True)
class SizeClass:
    """How many words a row has, and so its form."""

    words: int

    @property
    def patterns(self) -> int:
        """How many fit."""
        return self.words * WORD

    @property
    def plain(self) -> bool:
        """Whether rows are all words, in the order of the list."""
        return self.words <= _PLAIN


SIZE_CLASSES = (SizeClass(1), SizeClass(4), SizeClass(16), SizeClass(160))
MAX_PATTERNS = SIZE_CLASSES[-1].patterns


def size_class(patterns: int) -> SizeClass:
    """The smallest that holds so many. Raises ValueError if none does."""
    for found in SIZE_CLASSES:
        if patterns <= found.patterns:
            return found
    raise ValueError(f"{patterns} patterns, the most is {MAX_PATTERNS}")


def asks(patterns: Sequence[Pattern]) -> int:
    """What further fields patterns ask for: SELF_ASKS of matcher.h."""
    found = 0
    for pattern in patterns:
        found |= MACS if pattern.src_macs or pattern.dst_macs else 0
        found |= LENGTH if pattern.lengths else 0
        found |= TRAITS if pattern.dscps or pattern.fragments else 0
        found |= SRC_SETS if pattern.src_sets else 0
        found |= DST_SETS if pattern.dst_sets else 0
    return found


@dataclass(frozen=True)
class Tables:
    """The image of a list of patterns. What stands beside the matcher, for each, follows it."""

    head: Sequence[int]  # places in what is behind the head; NONE: there is no such table
    image: Image

    def __len__(self) -> int:
        return HEAD.size + len(self.image)

    def at(self, base: int) -> bytes:
        """The image, to stand in a map at `base`, a multiple of 64 bytes."""
        behind = base + HEAD.size
        head = [0 if place == NONE else place + behind for place in self.head]
        return HEAD.pack(*head) + self.image.at(behind)


def build(patterns: Sequence[Pattern]) -> Tables:
    """The image of a list of patterns."""
    order = _order(patterns)
    ordered = [patterns[i] for i in order]
    image = Image()
    places = image.append(_places(order), LINE)
    rows = _RowWriter(image, size_class(len(order)))
    roots = []
    for version in (4, 6):
        for conditions in ([p.src for p in ordered], [p.dst for p in ordered]):
            roots.append(_prefixes(image, rows, conditions, version))
    for ranges in ([p.sports for p in ordered], [p.dports for p in ordered]):
        roots.append(_ranges(image, rows, ranges))
    slots, sets = vectors.kind_rows(ordered)
    kinds = image.append_slots(rows.write(sets)[slots])
    further = _further(image, rows, ordered)
    beside = image.append(b"", LINE)
    return Tables((*roots, kinds, places, beside, *further), image)


def _prefixes(
    image: Image,
    rows: _RowWriter,
    conditions: Sequence[Sequence[IPv4Network | IPv6Network]],
    version: int,
) -> int:
    """The slot where lookups of addresses begin."""
    numbers, sets = vectors.address_rows(conditions, version)
    results = rows.write(sets).tolist()
    trie = ipv4_trie if version == 4 else ipv6_trie
    return trie(image, {prefix: results[i] for prefix, i in numbers.items()})


def _ranges(image: Image, rows: _RowWriter, ranges: Sequence[Sequence[Range]]) -> int:
    """The slot where lookups of 16-bit numbers begin."""
    starts, sets = vectors.port_rows(ranges)
    return port_trie(image, starts, rows.write(sets).tolist())


def _further(image: Image, rows: _RowWriter, ordered: Sequence[Pattern]) -> Sequence[int]:
    """Where the tables of the fields begin that not all patterns have; NONE if none asks."""
    asked = asks(ordered)
    src = dst = length = traits = src_sets = dst_sets = NONE
    if asked & MACS:
        src = _prefixes(image, rows, [p.src_macs for p in ordered], 6)
        dst = _prefixes(image, rows, [p.dst_macs for p in ordered], 6)
    if asked & LENGTH:
        length = _ranges(image, rows, [p.lengths for p in ordered])
    if asked & TRAITS:
        traits = image.append_slots(rows.write(vectors.trait_rows(ordered)))
    if asked & SRC_SETS:
        src_sets = _sets(image, rows, [p.src_sets for p in ordered])
    if asked & DST_SETS:
        dst_sets = _sets(image, rows, [p.dst_sets for p in ordered])
    return src, dst, length, traits, src_sets, dst_sets


def _sets(image: Image, rows: _RowWriter, conditions: Sequence[SetCondition]) -> int:
    """The table of rows by the sets that an address is in."""
    return image.append_slots(rows.write(vectors.set_rows(conditions)))


def _order(patterns: Sequence[Pattern]) -> list[int]:
    """Which pattern is which bit."""
    if size_class(len(patterns)).plain:
        return list(range(len(patterns)))
    order = sorted(range(len(patterns)), key=lambda i: _cluster(patterns[i]))
    size = GROUP * WORD
    return [i for at in range(0, len(order), size) for i in sorted(order[at : at + size])]


def _cluster(pattern: Pattern) -> tuple[object, ...]:
    """Patterns whose keys are neighbours often match the same packets, or never do."""
    return (
        pattern.families,
        [_prefix(network) for network in pattern.src],
        [_prefix(network) for network in pattern.dst],
        pattern.dports,
        pattern.protocols,
        pattern.sports,
    )


def _prefix(network: IPv4Network | IPv6Network) -> tuple[int, int, int]:
    return network.version, int(network.network_address), network.prefixlen


def _bits_by_entry() -> NDArray[np.intp]:
    """The number of the bit whose entry stands at each place of 64; see self_entry in matcher.h."""
    found = np.zeros(WORD, np.intp)
    for bit in range(WORD):
        found[((_DE_BRUIJN << bit) & (1 << 64) - 1) >> 58] = bit
    return found


_BIT_OF = _bits_by_entry()
_ENTRY_OF = np.argsort(_BIT_OF)


def _places(order: Sequence[int]) -> bytes:
    """The place in the list of each bit, words of 64 in the order of entries."""
    places = np.full(vectors.words(len(order)) * WORD, NO_PLACE, np.uint32)
    places[: len(order)] = order
    return places.reshape(-1, WORD)[:, _BIT_OF].tobytes()


class _RowWriter:
    """Puts rows into an image; equal ones, and equal chunks of rows, have one place."""

    def __init__(self, image: Image, size: SizeClass) -> None:
        self._image = image
        self._size = size
        self._rows: dict[bytes, int] = {}
        self._chunks: dict[bytes, int] = {}

    def write(self, rows: Rows) -> NDArray[np.uint32]:
        """Places of rows."""
        whole = np.zeros((len(rows), self._size.words), np.uint64)
        whole[:, : rows.shape[1]] = rows
        keys = [row.tobytes() for row in whole]
        fresh = {key: i for i, key in enumerate(keys) if key not in self._rows}
        if self._size.plain:
            self._rows |= {key: self._image.append(key, 8) for key in fresh}
        else:
            places = self._packed(whole[list(fresh.values())])
            self._rows.update(zip(fresh, places, strict=True))
        return np.array([self._rows[key] for key in keys], np.uint32)

    def _packed(self, rows: Rows) -> list[int]:
        """Of each row which groups are not zero, and the places of chunks: struct self_row."""
        words = self._size.words
        groups = np.zeros((len(rows), WORD), bool)
        groups[:, : words // GROUP] = rows.reshape(len(rows), words // GROUP, GROUP).any(axis=2)
        bits = np.packbits(groups[:, _ENTRY_OF], axis=1, bitorder="little")
        used = rows.reshape(len(rows), words // CHUNK, CHUNK)
        zero = self._chunk(bytes(8 * CHUNK))
        chunks = np.full(used.shape[:2], zero, np.uint32)
        for row, chunk in np.argwhere(used.any(axis=2)).tolist():
            chunks[row, chunk] = self._chunk(used[row, chunk].tobytes())
        places = []
        for group, chunk_places in zip(bits, chunks, strict=True):
            places.append(self._image.append(group.tobytes(), 8))
            self._image.append_slots(chunk_places)
        return places

    def _chunk(self, chunk: bytes) -> int:
        if chunk not in self._chunks:
            self._chunks[chunk] = self._image.append(chunk, LINE)
        return self._chunks[chunk]
