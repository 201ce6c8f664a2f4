"""Tries against a dictionary of prefixes, and what a reader sees between any two stores."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfv.ebpf.lpm import MAX_VALUE, POINTER, SLOTS, NodePool, PoolFull, Trie

FIRST = 3  # node of the pool in its array, so that relative indices would be noticed
CHILDREN = 200

Prefix = tuple[int, int]


@dataclass(frozen=True)
class Shape:
    """A kind of key, and bit patterns and lengths to draw prefixes from that nest and collide."""

    width: int
    root_bits: int
    lengths: tuple[int, ...]
    seeds: tuple[int, ...]

    @property
    def nodes(self) -> int:
        return (1 << self.root_bits) // SLOTS + CHILDREN

    def align(self, key: int, length: int) -> Prefix:
        shift = self.width - length
        return key >> shift << shift, length

    def prefixes(self) -> st.SearchStrategy[Prefix]:
        return st.builds(self.align, st.sampled_from(self.seeds), st.sampled_from(self.lengths))

    def neighbours(self, prefixes: Iterable[Prefix]) -> set[int]:
        """Return the first and last key of every prefix, and the keys just outside."""
        last_key = (1 << self.width) - 1
        keys = {0, last_key}
        for key, length in prefixes:
            last = key + (1 << (self.width - length)) - 1
            keys |= {max(key - 1, 0), key, last, min(last + 1, last_key)}
        return keys


IPV4 = Shape(
    32,
    16,
    (0, 1, 7, 8, 15, 16, 17, 20, 23, 24, 25, 31, 32),
    (0x0A000001, 0x0A00FFFE, 0x0A000101, 0x0A010000, 0xC0000201, 0xFFFFFFFF),
)
IPV4_NARROW = Shape(32, 8, IPV4.lengths, IPV4.seeds)
IPV6 = Shape(
    128,
    16,
    (0, 3, 16, 32, 47, 48, 64, 65, 127, 128),
    (0x20010DB8 << 96 | 1, 0x20010DB8_0001 << 80 | 0xFF, 0x20010DB9 << 96, 0xFE80 << 112),
)
PORT = Shape(16, 8, tuple(range(17)), (0, 80, 443, 1023, 1024, 0x8000, 0xFFFF))
SHAPES = pytest.mark.parametrize(
    "shape", [IPV4, IPV4_NARROW, IPV6, PORT], ids=["ipv4", "ipv4-narrow", "ipv6", "port"]
)


@dataclass
class Table:
    """A trie over memory of its own, next to the dictionary that says what it must answer."""

    shape: Shape
    nodes: int
    reference: dict[Prefix, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.memory = memoryview(array("I", [0xDEADBEEF]) * ((FIRST + self.nodes) * SLOTS))
        self.slots = ObservedSlots(self.memory)
        self.pool = NodePool(cast("memoryview", self.slots), FIRST, self.nodes)
        self.trie = Trie(self.pool, self.shape.width, self.shape.root_bits)
        self.available = self.pool.available

    def step(self, prefix: Prefix, value: int) -> None:
        """Insert the prefix, or remove it where the value is 0."""
        if value:
            self.trie.insert(*prefix, value)
            self.reference[prefix] = value
        elif prefix in self.reference:
            self.trie.remove(*prefix)
            del self.reference[prefix]

    def expected(self, key: int) -> int:
        matches = [p for p in self.reference if self.shape.align(key, p[1])[0] == p[0]]
        return self.reference[max(matches, key=lambda p: p[1])] if matches else 0

    def read(self, key: int) -> int:
        """Look a key up as the C code does, from nothing but the slots and the root."""
        shift = self.shape.width - self.shape.root_bits
        word = self.memory[self.trie.root * SLOTS + (key >> shift)]
        while word & POINTER:
            shift -= 8
            word = self.memory[(word - POINTER) * SLOTS + (key >> shift) % SLOTS]
        return word


class ObservedSlots:
    """Slots that, while observed, take a slice word by word and tell after each single store."""

    def __init__(self, memory: memoryview) -> None:
        self.memory = memory
        self.after_store: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self.memory)

    def __getitem__(self, index: int) -> int:
        return self.memory[index]

    def __setitem__(self, index: int | slice, value: int | array[int]) -> None:
        if self.after_store is None:
            self.memory[index] = value  # type: ignore[index, assignment]
            return
        places = range(*index.indices(len(self.memory))) if isinstance(index, slice) else [index]
        words = [value] if isinstance(value, int) else value
        for place, word in zip(places, words, strict=True):
            self.memory[place] = word
            self.after_store()


def steps(shape: Shape) -> st.SearchStrategy[list[tuple[Prefix, int]]]:
    """Return lists of (prefix, value); value 0 removes, a prefix drawn again is replaced."""
    values = st.one_of(st.just(0), st.integers(1, 5), st.just(MAX_VALUE))
    return st.lists(st.tuples(shape.prefixes(), values), max_size=25)


@SHAPES
@settings(deadline=None)
@given(data=st.data())
def test_answers_like_a_dictionary_of_prefixes(shape: Shape, data: st.DataObject) -> None:
    table = Table(shape, shape.nodes)
    for prefix, value in data.draw(steps(shape)):
        table.step(prefix, value)
        table.pool.recycle()
        for key in shape.neighbours([prefix, *table.reference]):
            assert table.read(key) == table.trie.lookup(key) == table.expected(key)
    assert len(table.trie) == len(table.reference)
    assert {(k, n): value for k, n, value in table.trie.items()} == table.reference
    drawn = data.draw(shape.prefixes())
    assert table.trie.exact(*drawn) == table.reference.get(drawn)


@SHAPES
@settings(deadline=None)
@given(data=st.data())
def test_an_empty_trie_holds_no_node_but_its_root(shape: Shape, data: st.DataObject) -> None:
    table = Table(shape, shape.nodes)
    for prefix, value in data.draw(steps(shape)):
        table.step(prefix, value or 1)
    for prefix in data.draw(st.permutations(list(table.reference))):
        table.step(prefix, 0)
    table.pool.recycle()
    assert table.pool.available == table.available
    root = table.memory[table.trie.root * SLOTS :][: 1 << shape.root_bits]
    assert not any(root)


@pytest.mark.parametrize(
    "shape",
    [  # a short prefix is up to 65536 stores in a wide root
        replace(IPV4, lengths=IPV4.lengths[4:]),
        IPV4_NARROW,
        replace(IPV6, lengths=IPV6.lengths[2:]),
        PORT,
    ],
    ids=["ipv4", "ipv4-narrow", "ipv6", "port"],
)
@settings(deadline=None)
@given(data=st.data())
def test_every_store_takes_a_reader_from_old_to_new(shape: Shape, data: st.DataObject) -> None:
    table = Table(shape, shape.nodes)
    for prefix, value in data.draw(steps(shape)):
        keys = shape.neighbours([prefix])
        keys |= {seed for seed in shape.seeds if shape.align(seed, prefix[1]) == prefix}
        before = {key: table.read(key) for key in keys}
        seen: dict[int, list[int]] = {key: [] for key in keys}

        def observe(seen: dict[int, list[int]] = seen) -> None:
            for key, values in seen.items():
                values.append(table.read(key))

        table.slots.after_store = observe
        table.step(prefix, value)
        for key, values in seen.items():
            allowed = {before[key], table.expected(key)}
            assert set(values) <= allowed, f"{key:#x} read {values} in {prefix}"
            changes = [a for a, b in zip([before[key], *values], values, strict=False) if a != b]
            assert len(changes) <= 1, f"{key:#x} went back and forth in {prefix}"


@SHAPES
@settings(deadline=None)
@given(data=st.data(), children=st.integers(0, 16))
def test_a_full_pool_changes_nothing(shape: Shape, data: st.DataObject, children: int) -> None:
    table = Table(shape, shape.nodes - CHILDREN + children)
    for prefix, value in data.draw(steps(shape)):
        image, available = table.memory.tobytes(), table.pool.available
        try:
            table.step(prefix, value)
        except PoolFull:
            full = True
        else:
            full = False
        if full:
            assert (table.memory.tobytes(), table.pool.available) == (image, available)
            assert len(table.trie) == len(table.reference)
            assert table.trie.exact(*prefix) is None
        assert table.read(prefix[0]) == table.expected(prefix[0])


def test_a_full_pool_is_reached_and_left() -> None:
    table = Table(PORT, 2)
    table.step((0x1234, 16), 1)
    with pytest.raises(PoolFull, match="all 2 nodes"):
        table.step((0x5678, 16), 2)
    table.step((0x1234, 16), 0)
    with pytest.raises(PoolFull):
        table.step((0x5678, 16), 2)  # the freed node may still be read
    table.pool.recycle()
    table.step((0x5678, 16), 2)
    assert table.read(0x5678) == 2


def test_a_node_that_was_cut_off_keeps_its_content_until_recycled() -> None:
    table = Table(PORT, 3)
    table.step((0x1200, 8), 7)
    table.step((0x1234, 16), 1)
    child = table.memory[table.trie.root * SLOTS + 0x12] ^ POINTER
    table.step((0x1234, 16), 0)
    content = table.memory[child * SLOTS : (child + 1) * SLOTS].tobytes()
    table.step((0x5678, 16), 2)
    assert table.memory[child * SLOTS : (child + 1) * SLOTS].tobytes() == content
    assert set(array("I", content)) == {7}


def test_a_node_full_of_children_stays() -> None:
    table = Table(Shape(24, 8, (), ()), 258)
    table.step((0x010000, 8), 7)
    table.step((0x010000, 9), 8)
    for slot in range(SLOTS):
        table.step((0x010000 | slot << 8, 24), slot + 1)
    table.step((0x010000, 9), 0)
    assert [table.read(0x010000 | slot << 8) for slot in range(SLOTS)] == list(range(1, SLOTS + 1))
    assert {table.read(0x010001 | slot << 8) for slot in range(SLOTS)} == {7}


def test_tries_share_a_pool_and_leave_the_rest_of_the_array_alone() -> None:
    memory = memoryview(array("I", [9]) * (600 * SLOTS))
    pool = NodePool(memory, 100, 300)
    narrow = Trie(pool, 16)
    wide = Trie(pool, 32, root_bits=16)
    narrow.insert(80, 16, 1)
    wide.insert(0x0A000000, 24, 2)
    assert (narrow.lookup(80), wide.lookup(0x0A0000FF)) == (1, 2)
    assert set(memory[: 100 * SLOTS]) == set(memory[400 * SLOTS :]) == {9}


def test_consecutive_nodes_come_from_a_gap_that_is_long_enough() -> None:
    pool = NodePool(memoryview(array("I", bytes(4 * 8 * SLOTS))), 0, 8)
    nodes = pool.alloc_each(8)
    for node in (nodes[1], nodes[4], nodes[5]):
        pool.free(node)
    with pytest.raises(PoolFull):
        pool.alloc(2)
    pool.recycle()
    assert pool.alloc(2) == 4
    assert pool.alloc() == 1
    with pytest.raises(PoolFull):
        pool.alloc()


def test_a_pool_must_fit_in_its_array() -> None:
    with pytest.raises(ValueError, match="nodes 1 to 2"):
        NodePool(memoryview(array("I", bytes(4 * 2 * SLOTS))), 1, 2)


@pytest.mark.parametrize(("width", "root_bits"), [(12, 8), (136, 8), (8, 16), (32, 12), (0, 8)])
def test_only_whole_strides_make_a_trie(width: int, root_bits: int) -> None:
    pool = NodePool(memoryview(array("I", bytes(4 * SLOTS))), 0, 1)
    with pytest.raises(ValueError, match=f"{width}-bit keys with {root_bits} root bits"):
        Trie(pool, width, root_bits)
    assert pool.available == 1


@pytest.mark.parametrize(
    ("key", "length", "value"),
    [(1, 15, 1), (1 << 16, 16, 1), (0, 17, 1), (0, -1, 1), (0, 8, 0), (0, 8, POINTER), (-1, 16, 1)],
)
def test_what_no_slot_could_hold_is_refused(key: int, length: int, value: int) -> None:
    table = Table(PORT, 2)
    with pytest.raises(ValueError, match=r"is no prefix|is not in 1 to"):
        table.trie.insert(key, length, value)
    assert len(table.trie) == 0


def test_removing_what_is_not_there_says_so() -> None:
    table = Table(PORT, 2)
    table.step((0, 8), 1)
    with pytest.raises(KeyError):
        table.trie.remove(0, 9)
    assert table.read(0) == 1
