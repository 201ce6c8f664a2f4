"""Longest prefix match: multibit tries over a flat array of 32-bit slots that BPF reads in place.

The array is a BPF array map seen through mmap; one map element is a node of 256 slots. A slot
with bit 31 set points at a child node, by element number in its low 31 bits; any other slot holds
the value of the longest prefix that covers it, 0 where there is none. Prefixes that end between
two levels are expanded over the slots they cover, and values are pushed down to the leaves, so a
reader only follows pointers: one load for each 8 bits of the key (for 16 bits in a wide root).

Readers run at any moment and take no lock. Every step is one aligned 4-byte store that takes a
key from its old result to its new one; a child is complete before its pointer is stored; a node
that was cut off keeps its content until `NodePool.recycle`. This counts on stores becoming
visible in program order, as they do on x86.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from functools import cache

SLOTS = 256  # of one node
STRIDE = 8  # key bits that select a slot of a node
POINTER = 1 << 31
MAX_VALUE = POINTER - 1

_CHILD = 255  # stands for "pointer" among the prefix lengths, which end at 128


class PoolFull(Exception):
    """Too few free nodes; nothing was changed. Nodes that were freed count after `recycle`."""

    def __init__(self, capacity: int) -> None:
        super().__init__(f"all {capacity} nodes of the table are in use")
        self.capacity = capacity


class NodePool:
    """The nodes first .. first + count - 1 of an array of slots, handed out to tries.

    A map that another process filled is taken over by building into a part that it does not use.
    """

    def __init__(self, slots: memoryview, first: int, count: int) -> None:
        """Take `slots` of format "I", all of the map; nothing is read or cleared yet."""
        if (first + count) * SLOTS > len(slots):
            raise ValueError(f"nodes {first} to {first + count - 1} exceed the array of slots")
        self.slots = slots
        self.capacity = count
        self.available = count
        self._first = first
        self._taken = bytearray(count)  # 1: in use, or freed and not recycled yet
        self._lowest = 0  # no node below is free
        self._freed: list[int] = []

    def alloc(self, count: int = 1) -> int:
        """Return the first of `count` consecutive nodes of undefined content.

        Raises PoolFull where no run of free nodes is that long.
        """
        at = self._taken.find(bytes(count), self._lowest)
        if at < 0:
            raise PoolFull(self.capacity)
        self._taken[at : at + count] = b"\1" * count
        self.available -= count
        if count == 1:
            self._lowest = at + 1
        return self._first + at

    def alloc_each(self, count: int) -> list[int]:
        """Return `count` single nodes of undefined content, or raise PoolFull and take none."""
        if count > self.available:
            raise PoolFull(self.capacity)
        return [self.alloc() for _ in range(count)]

    def free(self, node: int) -> None:
        """Give back a node that no pointer leads to; a reader may still be in it."""
        self._freed.append(node - self._first)

    def recycle(self) -> None:
        """Make freed nodes available; call it when every reader that saw them has ended."""
        for at in self._freed:
            self._taken[at] = 0
            self._lowest = min(self._lowest, at)
        self.available += len(self._freed)
        self._freed.clear()


class Trie:
    """A table of prefixes of `width`-bit keys; keys and prefixes are integers, prefixes aligned.

    `root` is its entry: the first node of one (8 root bits) or of 256 consecutive ones (16).
    """

    def __init__(self, pool: NodePool, width: int, root_bits: int = STRIDE) -> None:
        """Allocate an empty root, or raise PoolFull; `width` is a multiple of 8 up to 128."""
        if root_bits not in (8, 16) or width not in range(root_bits, 129, STRIDE):
            raise ValueError(f"no trie of {width}-bit keys with {root_bits} root bits")
        size = 1 << root_bits
        self.root = pool.alloc(size // SLOTS)
        self._pool = pool
        self._slots = pool.slots
        self._width = width
        self._root_bits = root_bits
        self._values: list[dict[int, int]] = [{} for _ in range(width + 1)]  # by prefix length
        self._lengths = {self.root: bytearray(size)}  # by node: whose value is in each slot
        self._slots[self.root * SLOTS : self.root * SLOTS + size] = _words(0, size)

    def __len__(self) -> int:
        return sum(map(len, self._values))

    def items(self) -> Iterator[tuple[int, int, int]]:
        """Yield (key, length, value) of every prefix, the shortest first."""
        for length, values in enumerate(self._values):
            for key, value in values.items():
                yield key, length, value

    def exact(self, key: int, length: int) -> int | None:
        """Return the value of this very prefix."""
        return self._values[length].get(key)

    def lookup(self, key: int) -> int:
        """Return the value of the longest prefix of `key`, 0 if there is none; as BPF does it."""
        node, end = self.root, self._root_bits
        while (word := self._slots[node * SLOTS + self._slot(node, end, key)]) & POINTER:
            node, end = word ^ POINTER, end + STRIDE
        return word

    def insert(self, key: int, length: int, value: int) -> None:
        """Add a prefix or replace its value, 1 to MAX_VALUE.

        Raises PoolFull, with nothing changed, when nodes are missing, and ValueError for a value
        out of range or a key with bits set behind its length.
        """
        if not 1 <= value <= MAX_VALUE:
            raise ValueError(f"value {value} is not in 1 to {MAX_VALUE}")
        if not 0 <= length <= self._width or key != self._aligned(key, length):
            raise ValueError(f"{key:#x}/{length} is no prefix of {self._width} bits")
        node, end = self._path(key, length)[-1]
        if length > end:
            self._grow(node, end, key, length, value)
        else:
            low, high = self._covered(node, end, key, length)
            self._paint(node, low, high, length, (value, length))
        self._values[length][key] = value

    def remove(self, key: int, length: int) -> None:
        """Take out a prefix, or raise KeyError; its keys fall back to the next shorter one."""
        del self._values[length][key]
        path = self._path(key, length)
        node, end = path[-1]
        low, high = self._covered(node, end, key, length)
        self._paint(node, low, high, length, self._next_shorter(key, length))
        self._collapse(path, key)

    def _aligned(self, key: int, length: int) -> int:
        """Return the key with only its first `length` bits kept."""
        shift = self._width - length
        return (key & ((1 << self._width) - 1)) >> shift << shift

    def _slot(self, node: int, end: int, key: int) -> int:
        """Return the slot of a node whose slots are selected by the key bits up to `end`."""
        return (key >> (self._width - end)) & (len(self._lengths[node]) - 1)

    def _covered(self, node: int, end: int, key: int, length: int) -> tuple[int, int]:
        """Return the range of slots that a prefix ending in this node covers, end excluded."""
        low = self._slot(node, end, key)
        return low, low + (1 << (end - length))

    def _path(self, key: int, length: int) -> list[tuple[int, int]]:
        """Return (node, end bit) from the root to where the prefix ends, or as far as it exists."""
        node, end = self.root, self._root_bits
        path = [(node, end)]
        while end < length:
            word = self._slots[node * SLOTS + self._slot(node, end, key)]
            if not word & POINTER:
                break
            node, end = word ^ POINTER, end + STRIDE
            path.append((node, end))
        return path

    def _next_shorter(self, key: int, length: int) -> tuple[int, int]:
        """Return (value, length) of the longest prefix that covers this one."""
        for shorter in range(length - 1, -1, -1):
            values = self._values[shorter]
            if values and (value := values.get(self._aligned(key, shorter))):
                return value, shorter
        return 0, 0

    def _paint(
        self, node: int, low: int, high: int, longest: int, content: tuple[int, int]
    ) -> None:
        """Give slots low .. high - 1, and all below them, the (value, length) `content`.

        Slots that belong to a prefix longer than `longest` stay as they are.
        """
        lengths = self._lengths[node]
        base = node * SLOTS
        for run in _runs(longest).finditer(lengths, low, high):
            start, stop = run.span()
            self._slots[base + start : base + stop] = _words(content[0], stop - start)
            lengths[start:stop] = bytes((content[1],)) * (stop - start)
        slot = lengths.find(_CHILD, low, high)
        while slot >= 0:
            child = self._slots[base + slot] ^ POINTER
            self._paint(child, 0, SLOTS, longest, content)
            slot = lengths.find(_CHILD, slot + 1, high)

    def _grow(self, node: int, end: int, key: int, length: int, value: int) -> None:
        """Hang a chain of children, complete down to the prefix's last bit, into a value slot."""
        slot = self._slot(node, end, key)
        inherited = self._slots[node * SLOTS + slot], self._lengths[node][slot]
        content = value, length
        ends = range(end + STRIDE, length + STRIDE, STRIDE)
        for child, child_end in zip(self._pool.alloc_each(len(ends)), reversed(ends), strict=True):
            self._fill(child, child_end, key, length, inherited, content)
            content = POINTER | child, _CHILD
        self._slots[node * SLOTS + slot], self._lengths[node][slot] = content

    def _fill(
        self,
        node: int,
        end: int,
        key: int,
        length: int,
        inherited: tuple[int, int],
        content: tuple[int, int],
    ) -> None:
        """Write an unlinked node: (slot, length) `content` under the prefix, `inherited` around."""
        words = _words(inherited[0], SLOTS)
        lengths = bytearray((inherited[1],)) * SLOTS
        self._lengths[node] = lengths
        low, high = self._covered(node, end, key, min(length, end))
        words[low:high] = _words(content[0], high - low)
        lengths[low:high] = bytes((content[1],)) * (high - low)
        self._slots[node * SLOTS : (node + 1) * SLOTS] = words

    def _collapse(self, path: list[tuple[int, int]], key: int) -> None:
        """Replace nodes at the end of the path that hold no prefix of their own by their value."""
        node, _ = path.pop()
        while path:
            parent, end = path.pop()
            lengths = self._lengths[node]
            if lengths[0] > end or lengths.count(lengths[0]) < SLOTS:
                return
            slot = self._slot(parent, end, key)
            self._slots[parent * SLOTS + slot] = self._slots[node * SLOTS]
            self._lengths[parent][slot] = lengths[0]
            del self._lengths[node]
            self._pool.free(node)
            node = parent


def _words(value: int, count: int) -> array[int]:
    return array("I", (value,)) * count


@cache
def _runs(longest: int) -> re.Pattern[bytes]:
    """Return what finds, among prefix lengths, runs of those up to the longest."""
    return re.compile(rb"[\x00-\x%02x]+" % longest)
