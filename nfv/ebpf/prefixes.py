"""Longest prefix match: the tables of a router's routes, which BPF reads in place.

The reader is nfv/ebpf/include/prefixes.h.

A table is one array of 32-bit words. It begins with the root, a word for every value of the key's
first bits; lines of 16 words (64 bytes, a cache line) follow. A word leads to

- a value, that of the longest prefix that covers the place, 0 where there is none;
- a *node* of 16 lines: 256 words, selected by the next 8 bits of the key;
- a *bucket*, one line: up to five prefixes which are compared with the key, the shortest first, and
  what holds where none of them matches.

Where few prefixes are, a bucket takes the place of up to six levels of nodes. Keys are read in
halves of 64 bits. Prefixes that end between two levels of nodes are expanded over the words they
cover, and values are pushed down, so a reader only follows pointers. The second half of IPv6
addresses has a tree of its own for each /64 with longer prefixes.

Readers run at any moment and take no lock. A key goes from its old result to its new one by one
aligned store, of a word or of a pointer to what was made before; what was cut off keeps its content
until `recycle`. This counts on stores becoming visible in program order, as they do on x86.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nfv.ebpf.tableshape import LINE_WORDS, SLACK

NODE = 256  # words
PLACES = 5  # prefixes of a bucket
STRIDE = 8  # key bits that select a word of a node
HALF = 64  # key bits that are read at once

CHILD = 1 << 25  # the word leads to a node or a bucket
BUCKET = 1 << 24  # and it is a bucket
NUMBER = BUCKET - 1  # of a line, counted from behind the root
ENTRY = (CHILD << 1) - 1  # above: how far a prefix of a bucket is from the end of its half
SHIFT_AT = 26
MAX_VALUE = CHILD - 1
DEFAULT_AT, WORDS_AT = 2 * PLACES, 2 * PLACES + 1  # in a bucket, behind the keys
RESERVE = 64
"""Lines kept for removing prefixes from a full table."""
_REMOVAL = 2
"""Lines that removing a prefix may take: a bucket without it, and one without a pointer to that."""

POINTER = 255  # stands for "leads on" among the prefix lengths, which end at 128

Words = NDArray[np.uint32]
Lengths = NDArray[np.uint8]


class Content(NamedTuple):
    """What a word says: a value or a pointer, and the length of the prefix that the value is of."""

    entry: int
    length: int


class Item(NamedTuple):
    """A prefix in a bucket, within one half of the key; one of 64 bits may be a pointer."""

    key: int
    length: int
    entry: int


class Step(NamedTuple):
    """A word on the way to a prefix: where it is, and how many bits of which half lead to it."""

    at: int
    half: int
    bits: int
    base: int  # of the node or bucket that has the word; -1 for the root
    in_bucket: bool


class TableFull(Exception):
    """Too few free lines; nothing was changed. Lines that were freed count after `recycle`."""


class Lines:
    """Lines 0 .. count - 1, handed out one by one or 16 in a row."""

    def __init__(self, count: int, used: int = 0) -> None:
        self.count = count
        self._next = used
        self._nodes: list[int] = []
        self._single: list[int] = []
        self._freed: list[tuple[int, bool]] = []

    @property
    def used(self) -> int:
        """Lines in use, or not recycled yet."""
        return self._next - len(self._nodes) * SLACK - len(self._single)

    def alloc(self, node: bool, reserve: int = 0) -> int:
        """The first line of a node, or a single line, of undefined content."""
        size = SLACK if node else 1
        if self.count - self.used < size + reserve:
            raise TableFull
        if node:
            if self._nodes:
                return self._nodes.pop()
        elif self._single:
            return self._single.pop()
        if self.count - self._next >= size:
            self._next += size
            return self._next - size
        if node or not self._nodes:
            raise TableFull
        first = self._nodes.pop()
        self._single += range(first + 1, first + SLACK)
        return first

    def free(self, line: int, node: bool) -> None:
        """Give back what no pointer leads to; a reader may still be in it."""
        self._freed.append((line, node))

    def put_back(self, line: int, node: bool) -> None:
        """Give back what no reader can have seen."""
        (self._nodes if node else self._single).append(line)

    def recycle(self) -> None:
        """Make freed lines available; call it when every reader that saw them has ended."""
        for line, node in self._freed:
            self.put_back(line, node)
        self._freed.clear()


class Prefixes:
    """A table of prefixes of `width`-bit keys, 32 or 128; keys are integers, prefixes aligned.

    The root is selected by `root_bits` bits; above `node_bits` bits there are nodes and no buckets.
    """

    def __init__(self, words: Words, width: int, root_bits: int, node_bits: int) -> None:
        """Take `words`, all of the map, and empty it; no reader may be in it."""
        self.width = width
        self.root_bits = root_bits
        self.node_bits = node_bits
        self.words = words
        self.start = 1 << root_bits  # of the lines
        self.lines = Lines((len(words) - self.start) // LINE_WORDS - SLACK)
        self.lengths: Lengths = np.zeros(len(words), np.uint8)  # by word: whose value it has
        self._values: dict[int, int] = {}
        self._in_use: Counter[int] = Counter()  # prefixes by length
        self._made: list[tuple[int, bool]] = []  # not linked yet
        self.words[: self.start] = 0

    def __len__(self) -> int:
        return len(self._values)

    def items(self) -> Iterator[tuple[int, int, int]]:
        """Yield (key, length, value) of every prefix."""
        for packed, value in self._values.items():
            yield packed >> 8, packed & 0xFF, value

    def exact(self, key: int, length: int) -> int | None:
        """Return the value of this very prefix."""
        return self._values.get(key << 8 | length)

    def adopt(
        self, words: Words, lengths: Lengths, values: dict[int, int], in_use: Counter[int]
    ) -> None:
        """Take a table that was built elsewhere; no reader may be in this one.

        `words` and `lengths` are the root and the lines in use, `values` those of all prefixes by
        key * 256 + length, `in_use` the number of prefixes by length.
        """
        self.lines = Lines(self.lines.count, (len(words) - self.start) // LINE_WORDS)
        self.words[: len(words)] = words
        self.lengths[: len(words)] = lengths
        self._values = values
        self._in_use = in_use

    def set(self, key: int, length: int, value: int) -> None:
        """Add a prefix or replace its value, 1 to MAX_VALUE.

        Raises TableFull, with nothing changed, when lines are missing, and ValueError for a value
        out of range or a key with bits set behind its length.
        """
        if not 1 <= value <= MAX_VALUE:
            raise ValueError(f"value {value} is not in 1 to {MAX_VALUE}")
        if not 0 <= length <= self.width or key != self._aligned(key, length):
            raise ValueError(f"{key:#x}/{length} is no prefix of {self.width} bits")
        self._change(key, length, Content(value, length), present=True)
        packed = key << 8 | length
        self._in_use[length] += packed not in self._values
        self._values[packed] = value

    def remove(self, key: int, length: int) -> None:
        """Take out a prefix, or raise KeyError; its keys fall back to the next shorter one.

        Raises TableFull, with nothing changed, when too many were removed since `recycle`.
        """
        packed = key << 8 | length
        if packed not in self._values:
            raise KeyError(packed)
        if self.lines.count - self.lines.used < _REMOVAL:
            raise TableFull
        del self._values[packed]
        self._in_use[length] -= 1
        self._change(key, length, self._shorter(key, length), present=False)

    def lookup(self, key: int) -> int:
        """Return the value of the longest prefix of `key`, 0 if there is none; as BPF does it."""
        halves = self._halves(key)
        entry = int(self.words[halves[0] >> HALF - self.root_bits])
        bits = self.root_bits
        for half in halves:
            while entry & (CHILD | BUCKET) == CHILD and bits < HALF:
                bits += STRIDE
                entry = int(self.words[self._base(entry) + (half >> HALF - bits) % NODE])
            if entry & CHILD and bits < HALF:
                entry = self._match(self._base(entry), half)
            if not entry & CHILD:
                break
            bits = 0
        return entry

    def recycle(self) -> None:
        """Use lines again that were freed; call it when no reader can be in one."""
        self.lines.recycle()

    # Keys

    def _aligned(self, key: int, length: int) -> int:
        """Return the key with only its first `length` bits kept."""
        shift = self.width - length
        return (key & ((1 << self.width) - 1)) >> shift << shift

    def _halves(self, key: int) -> tuple[int, int]:
        """The key's bits in two numbers of 64 bits, from the top of the first on."""
        wide = key << 2 * HALF - self.width
        return wide >> HALF, wide & (1 << HALF) - 1

    def _shorter(self, key: int, length: int) -> Content:
        """The longest prefix that covers this one and is not it."""
        for shorter in sorted(self._in_use, reverse=True):
            if shorter < length and self._in_use[shorter]:
                value = self._values.get(self._aligned(key, shorter) << 8 | shorter)
                if value is not None:
                    return Content(value, shorter)
        return Content(0, 0)

    # Reading

    def _base(self, entry: int) -> int:
        """The first word of the node or bucket that a pointer leads to."""
        return self.start + (entry & NUMBER) * LINE_WORDS

    def _items(self, base: int) -> list[Item]:
        """The prefixes of a bucket. Repeated ones fill places; the last counts."""
        words = self.words[base : base + LINE_WORDS].tolist()
        found: dict[tuple[int, int], Item] = {}
        for place in range(PLACES):
            word = words[WORDS_AT + place]
            key, length = words[2 * place] | words[2 * place + 1] << 32, HALF - (word >> SHIFT_AT)
            found[key, length] = Item(key, length, word & ENTRY)
        return list(found.values())

    def _default(self, base: int) -> Content:
        at = base + DEFAULT_AT
        return Content(int(self.words[at]), int(self.lengths[at]))

    def _match(self, base: int, half: int) -> int:
        """What a bucket says of a half of a key."""
        entry = int(self.words[base + DEFAULT_AT])
        for item in self._items(base):
            if _covers(item, half):
                entry = item.entry
        return entry

    def _way(self, halves: Sequence[int], length: int) -> list[Step]:
        """The words that lead to a prefix longer than the root's bits, as far as there are any.

        The last one is a value, or leads to the bucket or node where the prefix ends.
        """
        half, bits = 0, self.root_bits
        way = [Step(halves[0] >> HALF - bits, half, bits, -1, False)]
        while True:
            entry = int(self.words[way[-1].at]) & ENTRY
            if not entry & CHILD:
                return way
            base = self._base(entry)
            if entry & BUCKET:
                at = self._pointer(base, halves[0]) if length > HALF and not half else None
                if at is None:
                    return way
                half, bits = 1, 0
                way.append(Step(at, half, bits, base, True))
                continue
            if length - HALF * half <= bits + STRIDE:
                return way
            bits += STRIDE
            at = base + (halves[half] >> HALF - bits) % NODE
            if bits == HALF:
                half, bits = 1, 0
            way.append(Step(at, half, bits, base, False))

    def _pointer(self, base: int, key: int) -> int | None:
        """The word of a bucket that leads on to the second half of keys."""
        words = self.words[base : base + LINE_WORDS].tolist()
        for place in reversed(range(PLACES)):
            word = words[WORDS_AT + place]
            if word >> SHIFT_AT == 0 and words[2 * place] | words[2 * place + 1] << 32 == key:
                return base + WORDS_AT + place if word & CHILD else None
        return None

    # Changing

    def _change(self, key: int, length: int, content: Content, *, present: bool) -> None:
        """Give what a prefix covers, but for longer ones, this content; note its presence."""
        halves = self._halves(key)
        if length <= self.root_bits:
            low = halves[0] >> HALF - self.root_bits
            self._paint(low, low + (1 << self.root_bits - length), length, content)
            return
        way = self._way(halves, length)
        last = way[-1]
        entry = int(self.words[last.at]) & ENTRY
        if entry & (CHILD | BUCKET) == CHILD:
            self._change_node(way, halves[last.half], length, content)
        else:
            self._change_bucket(way, halves, length, content if present else None, content)

    def _change_node(self, way: list[Step], half: int, length: int, content: Content) -> None:
        last = way[-1]
        base = self._base(int(self.words[last.at]))
        end = last.bits + STRIDE
        low = base + (half >> HALF - end) % NODE
        count = 1 << end - (length - HALF * last.half)
        self._paint(low, low + count, length, content)
        self._collapse(way)

    def _change_bucket(
        self,
        way: list[Step],
        halves: Sequence[int],
        length: int,
        mine: Content | None,
        content: Content,
    ) -> None:
        """Rebuild a bucket, or what takes its place, with `mine` as the prefix's or without it."""
        last = way[-1]
        former = int(self.words[last.at]) & ENTRY
        key, local = halves[last.half], length - HALF * last.half
        items: list[Item] = []
        default = Content(former, int(self.lengths[last.at]))
        if former & CHILD:
            base = self._base(former)
            items, default = self._items(base), self._default(base)
        try:
            items = self._edited(items, key, local, halves[1], mine, default, last.half)
            built = self._build(last.half, last.bits, default, items, bool(mine) * RESERVE)
        except TableFull:
            for line, node in self._made:
                self.lines.put_back(line, node)
            raise
        finally:
            self._made.clear()
        if local <= HALF:
            self._paint_covered(items, Item(key, local, 0), length, content)
        if former & CHILD:
            self.lines.free(former & NUMBER, node=False)
        self._replace(way, built)

    def _edited(
        self,
        items: list[Item],
        key: int,
        local: int,
        second: int,
        mine: Content | None,
        default: Content,
        half: int,
    ) -> list[Item]:
        """The items of a bucket with a prefix put in or taken out."""
        if local > HALF:  # the first of its /64 that is longer
            assert mine is not None
            covering = default
            for item in items:
                if _covers(item, key):
                    covering = Content(item.entry, item.length)
            low = [Item(second, local - HALF, mine.entry)]
            local, entry = HALF, self._build(1, 0, covering, low, RESERVE).entry
        else:
            held = next((item for item in items if item[:2] == (key, local)), None)
            if held is not None and held.entry & CHILD:
                return items  # its own value is the default of what is behind
            entry = mine.entry if mine else 0
        others = [item for item in items if item[:2] != (key, local)]
        return [*others, Item(key, local, entry)] if mine else others

    def _paint_covered(
        self, items: Iterable[Item], prefix: Item, length: int, content: Content
    ) -> None:
        """Push a prefix's content down behind the pointers of its bucket."""
        for item in items:
            if item.entry & CHILD and _covers(prefix, item.key):
                self._paint_behind(np.array([item.entry], np.int64), length, content)

    def _paint(self, low: int, high: int, longest: int, content: Content) -> None:
        """Give words low .. high - 1 of the root or a node, and all behind them, this content.

        What belongs to a prefix longer than `longest` stays as it is.
        """
        lengths = self.lengths[low:high]
        self._put_all(low + np.flatnonzero(lengths <= longest), content)
        pointers = low + np.flatnonzero(lengths == POINTER)
        self._paint_behind((self.words[pointers] & ENTRY).astype(np.int64), longest, content)

    def _paint_behind(self, entries: NDArray[np.int64], longest: int, content: Content) -> None:
        """Paint all that these pointers lead to."""
        bases = self.start + (entries & NUMBER) * LINE_WORDS
        are_buckets = entries & BUCKET != 0
        buckets = bases[are_buckets]
        defaults = buckets + DEFAULT_AT
        self._put_all(defaults[self.lengths[defaults] <= longest], content)
        places = self.words[buckets[:, None] + np.arange(WORDS_AT, LINE_WORDS)]
        for base in buckets[np.any(places & CHILD, axis=1)].tolist():
            behind = [item.entry for item in self._items(base) if item.entry & CHILD]
            self._paint_behind(np.array(behind, np.int64), longest, content)
        for base in bases[~are_buckets].tolist():
            self._paint(base, base + NODE, longest, content)

    def _replace(self, way: list[Step], content: Content) -> None:
        """Let the last word of a way lead to something else."""
        last = way[-1]
        if last.in_bucket and not content.entry & CHILD and content.length != HALF:
            self._drop_pointer(way)
            return
        self._put(last.at, content)
        if not content.entry & CHILD and not last.in_bucket and last.base >= 0:
            self._collapse(way[:-1])

    def _drop_pointer(self, way: list[Step]) -> None:
        """Take a pointer out of a bucket, behind which there are no prefixes any more."""
        last, before = way[-1], way[-2]
        gone = int(self.words[last.at]) & ENTRY
        items = [item for item in self._items(last.base) if item.entry != gone]
        built = self._build(before.half, before.bits, self._default(last.base), items, 0)
        self._made.clear()
        self.lines.free((last.base - self.start) // LINE_WORDS, node=False)
        self._replace(way[:-1], built)

    def _collapse(self, way: list[Step]) -> None:
        """Replace a node that holds no prefix of its own by its value."""
        last = way[-1]
        entry = int(self.words[last.at]) & ENTRY
        base = self._base(entry)
        length = int(self.lengths[base])
        if length > HALF * last.half + last.bits:
            return
        if np.any(self.lengths[base : base + NODE] != length):
            return
        self.lines.free(entry & NUMBER, node=True)
        self._replace(way, Content(int(self.words[base]), length))

    # Building what no reader sees yet

    def _build(
        self, half: int, bits: int, default: Content, items: list[Item], reserve: int
    ) -> Content:
        """Make what holds these prefixes behind `bits` bits of a half of the key."""
        if not items:
            return default
        if len(items) > PLACES or HALF * half + bits < self.node_bits:
            return self._build_node(half, bits, default, items, reserve)
        base = self._make(False, reserve)
        items.sort(key=lambda item: item.length)
        filled = items[:1] * (PLACES - len(items)) + items
        self.words[base : base + LINE_WORDS] = [
            *(part for item in filled for part in (item.key & 0xFFFFFFFF, item.key >> 32)),
            default.entry,
            *(item.entry | HALF - item.length << SHIFT_AT for item in filled),
        ]
        self.lengths[base + DEFAULT_AT] = default.length
        return Content(CHILD | BUCKET | (base - self.start) // LINE_WORDS, POINTER)

    def _build_node(
        self, half: int, bits: int, default: Content, items: list[Item], reserve: int
    ) -> Content:
        base = self._make(True, reserve)
        end = bits + STRIDE
        self.words[base : base + NODE] = default.entry
        self.lengths[base : base + NODE] = default.length
        deeper: dict[int, list[Item]] = {}
        for item in sorted(items, key=lambda item: item.length):
            at = base + (item.key >> HALF - end) % NODE
            if item.length > end:
                deeper.setdefault(at, []).append(item)
                continue
            length = POINTER if item.entry & CHILD else HALF * half + item.length
            self.words[at : at + (1 << end - item.length)] = item.entry
            self.lengths[at : at + (1 << end - item.length)] = length
        for at, below in deeper.items():
            inherited = Content(int(self.words[at]), int(self.lengths[at]))
            built = self._build(half, end, inherited, below, reserve)
            self.words[at], self.lengths[at] = built
        return Content(CHILD | (base - self.start) // LINE_WORDS, POINTER)

    def _make(self, node: bool, reserve: int) -> int:
        line = self.lines.alloc(node, reserve)
        self._made.append((line, node))
        return self.start + line * LINE_WORDS

    # Stores that readers see

    def _put(self, at: int, content: Content) -> None:
        self.words[at] = int(self.words[at]) & ~ENTRY | content.entry
        self.lengths[at] = content.length

    def _put_all(self, places: NDArray[np.int64], content: Content) -> None:
        self.words[places] = content.entry
        self.lengths[places] = content.length


def _covers(item: Item, half: int) -> bool:
    return not (item.key ^ half) >> HALF - item.length
