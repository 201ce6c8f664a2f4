"""First match among ordered patterns: bit vectors over equivalence classes, aggregated.

Every pattern is a bit. Each field of a packet leads to a row, the set of patterns that its value
can match; the patterns that match the packet are the AND of the rows (Lakshman and Stiliadis,
SIGCOMM 1998). Values that the same patterns match share a row. In front of a row of several words
stands its aggregate, with a bit for each word that is not zero, so that only words are looked at
which all fields have (Baboescu and Varghese, SIGCOMM 2001).

That these are few depends on which pattern is which bit: patterns with the same or neighbouring
source prefixes stand together, and among these those with neighbouring destinations. So the order of
bits is not that of the list: `places` says for each bit its place in the list. The lowest bit of a
word stands for the first of its patterns, and the first of all words' is the match.

The result is an image that matcher.h reads in place: a head, tables of rows by protocol and by TCP
flags, the places of bits, rows, and the nodes of tries (nfv.ebpf.prefixes). Rows are nodes as well.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

import numpy as np
from numpy.typing import NDArray

from nfv.chain.pattern import Pattern
from nfv.ebpf import vectors
from nfv.ebpf.tries import Image, ipv4_trie, ipv6_trie, port_trie
from nfv.ebpf.vectors import WORD, Rows

HEAD = struct.Struct("=9I28x")  # struct match_head
LINE = 64  # bytes of a cache line
NO_PLACE = 0xFFFFFFFF
_PLAIN = 16
GROUP = 4  # words that a bit of an aggregate stands for
CHUNK = 16  # words that stand together

_DE_BRUIJN = 0x03F79D71B4CB0A89
_ENDS = ("src", "dst")


@dataclass(frozen=True)
class SizeClass:
    """The form of rows: a word, or aggregates and the places of chunks of words."""

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


def build(patterns: Sequence[Pattern], base: int = 0) -> bytes:
    """The image of a list of patterns, to stand in a map at `base`, a multiple of 64 bytes.

    What stands beside the matcher, for each pattern, follows it.
    """
    order = _order(patterns)
    ordered = [patterns[i] for i in order]
    image = Image(base + HEAD.size)
    places = image.append(_places(order), LINE)
    rows = _RowWriter(image, size_class(len(order)))
    numbers, kinds = vectors.kind_rows(ordered)
    tables = image.append(rows.write(kinds)[numbers].tobytes())
    roots = []
    for version, trie in ((4, ipv4_trie), (6, ipv6_trie)):
        for end in _ENDS:
            prefixes, sets = vectors.address_rows([getattr(p, end) for p in ordered], version)
            results = dict(zip(prefixes, rows.write(sets).tolist(), strict=True))
            roots.append(trie(image, results))
    for end in ("sports", "dports"):
        starts, sets = vectors.port_rows([getattr(p, end) for p in ordered])
        roots.append(port_trie(image, starts, rows.write(sets).tolist()))
    beside = image.append(b"", LINE)
    return HEAD.pack(*roots, tables, places, beside) + bytes(image)


def _order(patterns: Sequence[Pattern]) -> list[int]:
    """Which pattern is which bit."""
    if size_class(len(patterns)).plain:
        return list(range(len(patterns)))
    order = sorted(range(len(patterns)), key=lambda i: _cluster(patterns[i]))
    return [i for at in range(0, len(order), GROUP * WORD) for i in sorted(order[at : at + GROUP * WORD])]


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


def _bit_at() -> NDArray[np.intp]:
    """The number of the bit whose entry stands at each place of 64; see self_entry."""
    found = np.zeros(WORD, np.intp)
    for bit in range(WORD):
        found[((_DE_BRUIJN << bit) & (1 << 64) - 1) >> 58] = bit
    return found


_BIT_AT = _bit_at()
_ENTRY_OF = np.argsort(_BIT_AT)


def _places(order: Sequence[int]) -> bytes:
    """The place in the list of each bit, words of 64 in the order of entries."""
    places = np.full(vectors.words(len(order)) * WORD, NO_PLACE, np.uint32)
    places[: len(order)] = order
    return places.reshape(-1, WORD)[:, _BIT_AT].tobytes()


class _RowWriter:
    """Puts rows into an image; equal ones, and equal chunks of rows, have one place."""

    def __init__(self, image: Image, size: SizeClass) -> None:
        self._image = image
        self._size = size
        self._rows: dict[bytes, int] = {}
        self._chunks: dict[bytes, int] = {}

    def write(self, rows: Rows) -> NDArray[np.uint32]:
        """Places of rows."""
        return np.array([self._row(row) for row in rows], np.uint32)

    def _row(self, row: NDArray[np.uint64]) -> int:
        key = row.tobytes()
        if key not in self._rows:
            data = key.ljust(8 * self._size.words, b"\0") if self._size.plain else self._packed(row)
            self._rows[key] = self._image.append(data, 8)
        return self._rows[key]

    def _packed(self, row: NDArray[np.uint64]) -> bytes:
        """Aggregates, and the places of chunks."""
        words = np.zeros(self._size.words, np.uint64)
        words[: len(row)] = row
        groups = np.zeros(WORD, bool)
        groups[: self._size.words // GROUP] = words.reshape(-1, GROUP).any(axis=1)
        aggregate = np.packbits(groups[_ENTRY_OF], bitorder="little")
        places = [self._chunk(chunk.tobytes()) for chunk in words.reshape(-1, CHUNK)]
        return aggregate.tobytes() + struct.pack(f"={len(places)}I", *places)

    def _chunk(self, chunk: bytes) -> int:
        if chunk not in self._chunks:
            self._chunks[chunk] = self._image.append(chunk, LINE)
        return self._chunks[chunk]
