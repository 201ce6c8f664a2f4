"""Tries over fixed sets of keys, in an image that matcher.h reads in place.

A lookup follows *slots*: a slot is the place, in bytes, of what comes next. What it ends at is a
*result*, the place of something else. Two kinds:

- Of keys of 2 or 4 bytes, ports and IPv4 addresses, every lookup takes one step a byte, so that
  no branch depends on the key. A slot with SELECT leads to 256 slots, by the next byte; one without
  to a single slot, which stands for 256 equal ones.
- IPv6 addresses would take too many. A slot with NODE leads to a struct match_node, at a multiple
  of 64: a prefix that stands for the whole chain down to where prefixes part, or to a lone prefix;
  where keys go that are not in it; and for the others 256 slots, by the byte of the key that bits 1
  to 4 of the slot name, or one. So a lookup takes a few steps, and the image grows with the number
  of prefixes, not with their length.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

SLOTS = 256
SELECT = 1
NODE = 1 << 31
LINE = 64  # bytes of a cache line

_NODE = struct.Struct("=16s16s")  # struct match_node before its slots: key, mask
_SLOT = 4  # bytes of a slot
_BYTE = 8

Prefix = tuple[int, int]
"""Key, aligned, and length in bits."""


class Image:
    """Bytes that are to stand in a map: places in it are from its beginning, or wherever it is."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._single: dict[int, int] = {}
        self._starts: list[int] = []  # of slots that stand one behind the other
        self._counts: list[int] = []

    def __len__(self) -> int:
        return len(self._bytes)

    def at(self, base: int) -> bytes:
        """The bytes, to stand at `base`, a multiple of 64."""
        counts = np.array(self._counts, np.intp)
        ends = np.cumsum(counts)
        firsts = np.array(self._starts, np.intp) // _SLOT
        slots = np.arange(ends[-1] if len(ends) else 0) + np.repeat(firsts + counts - ends, counts)
        moved = self._bytes + bytes(-len(self) % _SLOT)
        np.frombuffer(moved, np.uint32)[slots] += np.uint32(base)
        return bytes(moved[: len(self)])

    def append(self, data: bytes | memoryview, align: int = _SLOT) -> int:
        """The place where the bytes stand."""
        self._bytes += bytes(-len(self._bytes) % align)
        place = len(self._bytes)
        self._bytes += data
        return place

    def append_slots(self, slots: Sequence[int] | NDArray[np.uint32]) -> int:
        """The place where these slots or results stand, which move with the image."""
        self._counts.append(len(slots))
        self._starts.append(self.append(np.asarray(slots, np.uint32).tobytes()))
        return self._starts[-1]

    def delayed(self, slot: int, steps: int) -> int:
        """A slot that leads to another in so many steps whatever the key."""
        for _ in range(steps):
            if slot not in self._single:
                self._single[slot] = self.append_slots([slot])
            slot = self._single[slot]
        return slot

    def select(self, slots: Sequence[int] | NDArray[np.uint32]) -> int:
        """A slot that leads to these 256."""
        return self.append_slots(slots) | SELECT


def port_trie(image: Image, starts: Sequence[int], results: Sequence[int]) -> int:
    """The slot where lookups of ports begin; results are of stretches, by their lowest ports."""
    if len(starts) == 1:
        return image.delayed(results[0], 2)
    ports = np.repeat(np.array(results, np.uint32), np.diff([*starts, SLOTS * SLOTS]))
    highs = ports.reshape(SLOTS, SLOTS)
    uniform = (highs == highs[:, :1]).all(axis=1)
    return image.select(
        [
            image.delayed(int(slots[0]), 1) if same else image.select(slots)
            for slots, same in zip(highs, uniform, strict=True)
        ]
    )


def ipv4_trie(image: Image, results: Mapping[Prefix, int]) -> int:
    """The slot where lookups begin, of prefixes that include that of length 0."""
    return _ipv4_slot(image, sorted(results), results, 0, results[0, 0])


def _ipv4_slot(
    image: Image,
    prefixes: Sequence[Prefix],
    results: Mapping[Prefix, int],
    depth: int,
    inherited: int,
) -> int:
    """The slot for keys that share `depth` bytes, of prefixes in order that share them too."""
    prefixes, inherited = _entered(prefixes, results, depth, inherited)
    if not prefixes:
        return image.delayed(inherited, 4 - depth)
    slots, below = _painted(prefixes, results, depth, 32, inherited)
    delayed = {slot: image.delayed(slot, 3 - depth) for slot in dict.fromkeys(slots)}
    found = [delayed[slot] for slot in slots]
    for byte, group in below.items():
        found[byte] = _ipv4_slot(image, group, results, depth + 1, slots[byte])
    return image.select(found)


def ipv6_trie(image: Image, results: Mapping[Prefix, int]) -> int:
    """The slot where lookups begin, of prefixes that include that of length 0."""
    return _ipv6_slot(image, sorted(results), results, 0, results[0, 0])


def _ipv6_slot(
    image: Image,
    prefixes: Sequence[Prefix],
    results: Mapping[Prefix, int],
    depth: int,
    inherited: int,
) -> int:
    """The slot for keys that share `depth` bytes, of prefixes in order that share them too."""
    prefixes, inherited = _entered(prefixes, results, depth, inherited)
    if not prefixes:
        return inherited
    key, length = prefixes[0]
    if len(prefixes) == 1:
        return _node(image, key, length, inherited, [results[prefixes[0]]])
    shared = 128 - (key ^ prefixes[-1][0]).bit_length()
    at = min(shared, min(length for _, length in prefixes)) // _BYTE
    if length == at * _BYTE:  # it is around all the others
        inside = _ipv6_slot(image, prefixes, results, at, inherited)
        return _node(image, key, length, inherited, [inside])
    slots, below = _painted(prefixes, results, at, 128, inherited)
    for byte, group in below.items():
        slots[byte] = _ipv6_slot(image, group, results, at + 1, slots[byte])
    return _node(image, key, at * _BYTE, inherited, slots) | at << 1 | SELECT


def _node(image: Image, key: int, length: int, other: int, slots: Sequence[int]) -> int:
    """A slot to a node for keys that begin with `length` bits of `key`."""
    mask = (1 << length) - 1 << (128 - length)
    header = _NODE.pack((key & mask).to_bytes(16, "big"), mask.to_bytes(16, "big"))
    place = image.append(header, LINE)
    image.append_slots([other, *slots])
    return place | NODE


def _entered(
    prefixes: Sequence[Prefix], results: Mapping[Prefix, int], depth: int, inherited: int
) -> tuple[Sequence[Prefix], int]:
    """The prefixes that are longer than `depth` bytes, and the result of all keys not in them."""
    if prefixes and prefixes[0][1] <= depth * _BYTE:
        return prefixes[1:], results[prefixes[0]]
    return prefixes, inherited


def _painted(
    prefixes: Iterable[Prefix],
    results: Mapping[Prefix, int],
    at: int,
    width: int,
    inherited: int,
) -> tuple[list[int], Mapping[int, Sequence[Prefix]]]:
    """Results by byte `at` of keys, and in order the prefixes that go on behind a byte."""
    end = (at + 1) * _BYTE
    shift = width - end
    slots = [inherited] * SLOTS
    below: dict[int, list[Prefix]] = {}
    for prefix in prefixes:  # what is around another comes before it
        key, length = prefix
        low = key >> shift & 0xFF
        if length < end:
            count = 1 << (end - length)
            slots[low : low + count] = [results[prefix]] * count
        elif length == end:
            slots[low] = results[prefix]
        else:
            below.setdefault(low, []).append(prefix)
    return slots, below
