"""Building a table of prefixes (nfv.ebpf.prefixes) from all of its routes at once, by numpy.

Level by level: the prefixes that end in a level are painted into its words, the shortest first;
those that are longer are grouped by the word that leads to them, and what is behind those words is
the next level. A million prefixes take about a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nfv.ebpf.prefixes import (
    BUCKET,
    CHILD,
    DEFAULT_AT,
    HALF,
    NODE,
    PLACES,
    POINTER,
    SHIFT_AT,
    STRIDE,
    WORDS_AT,
    Lengths,
    Words,
)
from nfv.ebpf.tableshape import LINE_WORDS, SLACK

_PAINT_AT_ONCE = 1 << 12  # words of one prefix, above which each is painted by itself

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Routes:
    """Prefixes up to 64 bits: their keys from the top of 64 bits on, their lengths and values."""

    keys: NDArray[np.uint64]
    lengths: Numbers
    values: Words

    def __len__(self) -> int:
        return len(self.keys)

    def only(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Routes:
        """Those of them, in this order."""
        return Routes(self.keys[which], self.lengths[which], self.values[which])


@dataclass(frozen=True)
class Level:
    """Words that prefixes end in, and whose value each word has."""

    words: Words
    lengths: Lengths

    def paint(self, at: Numbers, routes: Routes, end: int) -> None:
        """Write prefixes that end in this level, whose first words are `at`."""
        for length in np.unique(routes.lengths).tolist():
            those = routes.lengths == length
            count = 1 << end - length
            if count >= _PAINT_AT_ONCE:
                for low, value in zip(at[those].tolist(), routes.values[those], strict=True):
                    self.words[low : low + count] = value
                    self.lengths[low : low + count] = length
                continue
            places = (at[those][:, None] + np.arange(count)).ravel()
            self.words[places] = np.repeat(routes.values[those], count)
            self.lengths[places] = length


def build(routes: Routes, root_bits: int, node_bits: int) -> tuple[Words, Lengths]:
    """The words of a table, and whose value each has; as large as needed, however large that is."""
    levels = list(_levels(routes, root_bits, node_bits))
    words = np.concatenate([level.words for level in levels])
    return words, np.concatenate([level.lengths for level in levels])


def _levels(routes: Routes, root_bits: int, node_bits: int) -> Iterator[Level]:
    size = 1 << root_bits
    level = Level(np.zeros(size, np.uint32), np.zeros(size, np.uint8))
    yield level
    at = (routes.keys >> np.uint64(HALF - root_bits)).astype(np.int64)
    ends = routes.lengths <= root_bits
    level.paint(at[ends], routes.only(ends), root_bits)
    at, routes = at[~ends], routes.only(~ends)
    bits, line = root_bits, 0
    while len(routes):
        places, group, sizes = np.unique(at, return_inverse=True, return_counts=True)
        few = (sizes <= PLACES) & (bits >= node_bits)
        inside = few[group]
        yield _buckets(level, places[few], _ranks(few)[group[inside]], routes.only(inside), line)
        line += int(few.sum())
        routes, group = routes.only(~inside), _ranks(~few)[group[~inside]]
        nodes = _nodes(level, places[~few], line)
        yield nodes
        line += SLACK * int((~few).sum())
        bits += STRIDE
        selected = (routes.keys >> np.uint64(HALF - bits)).astype(np.int64) % NODE
        at = group * NODE + selected
        ends = routes.lengths <= bits
        nodes.paint(at[ends], routes.only(ends), bits)
        level, at, routes = nodes, at[~ends], routes.only(~ends)


def _ranks(chosen: NDArray[np.bool_]) -> Numbers:
    """For each place that is chosen, how many are before it."""
    return np.cumsum(chosen) - 1


def _link(level: Level, places: Numbers, entries: Numbers) -> None:
    level.words[places] = entries
    level.lengths[places] = POINTER


def _nodes(level: Level, places: Numbers, line: int) -> Level:
    """Nodes behind some words, with what they inherit, from a line on."""
    nodes = Level(np.repeat(level.words[places], NODE), np.repeat(level.lengths[places], NODE))
    _link(level, places, CHILD | line + SLACK * np.arange(len(places)))
    return nodes


def _buckets(level: Level, places: Numbers, group: Numbers, routes: Routes, line: int) -> Level:
    """Buckets behind some words, from a line on; `group` is the bucket of each prefix."""
    count = len(places)
    order = np.lexsort((routes.lengths, group))
    group, routes = group[order], routes.only(order)
    first = np.searchsorted(group, np.arange(count))
    size = np.diff(np.append(first, len(group)))
    shifted = routes.values | ((HALF - routes.lengths) << SHIFT_AT).astype(np.uint32)
    keys = np.repeat(routes.keys[first], PLACES).reshape(count, PLACES)
    parts = np.repeat(shifted[first], PLACES).reshape(count, PLACES)
    place = PLACES - size[group] + np.arange(len(group)) - first[group]
    keys[group, place], parts[group, place] = routes.keys, shifted
    words = np.zeros((count, LINE_WORDS), np.uint32)
    words[:, : 2 * PLACES] = keys.view(np.uint32)
    words[:, DEFAULT_AT] = level.words[places]
    words[:, WORDS_AT:] = parts
    lengths = np.zeros((count, LINE_WORDS), np.uint8)
    lengths[:, DEFAULT_AT] = level.lengths[places]
    _link(level, places, CHILD | BUCKET | line + np.arange(count))
    return Level(words.ravel(), lengths.ravel())
