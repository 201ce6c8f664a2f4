"""Tables of prefixes against a dictionary, and what a reader sees between any two stores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nfv.ebpf.prefixbuild import Routes, build
from nfv.ebpf.prefixes import MAX_VALUE, RESERVE, Content, Prefixes, TableFull
from nfv.ebpf.tableshape import LINE_WORDS, NODE_BITS, SHAPES, SLACK, Shape, fitting, shape_of

LINES = 4096
GARBAGE = 0xDEADBEEF

Prefix = tuple[int, int]


@dataclass(frozen=True)
class Kind:
    """A kind of key, and bit patterns and lengths to draw prefixes from that nest and collide."""

    version: int
    width: int
    lengths: tuple[int, ...]
    seeds: tuple[int, ...]

    def align(self, key: int, length: int) -> Prefix:
        shift = self.width - length
        return key >> shift << shift, length

    def prefixes(self) -> st.SearchStrategy[Prefix]:
        """Near the seeds: some differ from them in their last bits."""
        bits = st.integers(0, 2047)
        keys = st.builds(lambda seed, low: seed ^ low, st.sampled_from(self.seeds), bits)
        return st.builds(self.align, keys, st.sampled_from(self.lengths))

    def neighbours(self, prefixes: Iterable[Prefix]) -> list[int]:
        """The first and last key of every prefix, and the keys just outside."""
        last_key = (1 << self.width) - 1
        keys = {0, last_key}
        for key, length in prefixes:
            last = key + (1 << (self.width - length)) - 1
            keys |= {max(key - 1, 0), key, last, min(last + 1, last_key)}
        return sorted(keys)


IPV4 = Kind(
    4,
    32,
    (0, 1, 8, 15, 16, 17, 20, 23, 24, 25, 27, 28, 30, 31, 32),
    (0x0A000001, 0x0A00FFFE, 0x0A010000, 0xC0000201, 0xFFFFFFFF),
)
SUBNET = 0x20010DB8_00010000 << 64
IPV6 = Kind(
    6,
    128,
    (0, 3, 16, 32, 47, 48, 57, 63, 64, 65, 72, 117, 120, 124, 126, 127, 128),
    (SUBNET | 1, SUBNET | 1 << 63, SUBNET | 0x0200FF << 40, SUBNET | 1 << 64 | 1, 0xFE80 << 112),
)
KINDS = pytest.mark.parametrize("kind", [IPV4, IPV6], ids=["ipv4", "ipv6"])


def empty(kind: Kind, root_bits: int = 16, lines: int = LINES) -> Prefixes:
    words = np.full((1 << root_bits) + (lines + SLACK) * LINE_WORDS, GARBAGE, np.uint32)
    return Prefixes(words, kind.width, root_bits, NODE_BITS[kind.version])


def best(kind: Kind, routes: dict[Prefix, int], key: int) -> int:
    """The value of the longest prefix that a key is in."""
    for length in range(kind.width, -1, -1):
        found = routes.get(kind.align(key, length))
        if found is not None:
            return found
    return 0


def change(table: Prefixes, routes: dict[Prefix, int], prefix: Prefix, value: int) -> None:
    """Set a prefix, or remove it where the value is 0."""
    if value:
        table.set(*prefix, value)
        routes[prefix] = value
    elif prefix in routes:
        table.remove(*prefix)
        del routes[prefix]


def steps(kind: Kind) -> st.SearchStrategy[list[tuple[Prefix, int]]]:
    value = st.sampled_from([0, 0, 1, 2, 3, MAX_VALUE])
    return st.lists(st.tuples(kind.prefixes(), value), max_size=40)


@KINDS
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_changes_one_by_one(kind: Kind, data: st.DataObject) -> None:
    table = empty(kind)
    routes: dict[Prefix, int] = {}
    for prefix, value in data.draw(steps(kind)):
        change(table, routes, prefix, value)
    for key in kind.neighbours(routes):
        assert table.lookup(key) == best(kind, routes, key), hex(key)
    assert {(key, length): value for key, length, value in table.items()} == routes
    for prefix in list(routes):
        table.remove(*prefix)
    table.recycle()
    assert table.lines.used == 0
    assert not table.words[: 1 << 16].any()


@KINDS
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_table_built_at_once_is_one_changed_step_by_step(kind: Kind, data: st.DataObject) -> None:
    root_bits = data.draw(st.sampled_from([16, 18])) if kind is IPV4 else 16
    routes = data.draw(st.dictionaries(kind.prefixes(), st.integers(1, MAX_VALUE), max_size=60))
    routes = {prefix: value for prefix, value in routes.items() if prefix[1] <= 64}
    table = empty(kind, root_bits)
    words, lengths = build(as_arrays(kind, routes), root_bits, NODE_BITS[kind.version])
    values = {key << 8 | length: value for (key, length), value in routes.items()}
    table.adopt(words, lengths, values, Counter(length for _, length in routes))

    for prefix, value in data.draw(steps(kind)):
        change(table, routes, prefix, value)
    for key in kind.neighbours(routes):
        assert table.lookup(key) == best(kind, routes, key), hex(key)
    for prefix in list(routes):
        table.remove(*prefix)
    table.recycle()
    assert table.lines.used == 0


def as_arrays(kind: Kind, routes: dict[Prefix, int]) -> Routes:
    tops = [key << 128 - kind.width >> 64 for key, _ in routes]
    return Routes(
        np.array(tops, np.uint64),
        np.array([length for _, length in routes], np.int64),
        np.array(list(routes.values()), np.uint32),
    )


class Observed(Prefixes):
    """Makes its stores one by one, and tells after each."""

    observer: Callable[[], None] | None = None

    def _put(self, at: int, content: Content) -> None:
        super()._put(at, content)
        if self.observer:
            self.observer()

    def _put_all(self, places: NDArray[np.int64], content: Content) -> None:
        for place in places.tolist():
            self._put(place, content)


@KINDS
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_reader_sees_the_old_result_or_the_new_one(kind: Kind, data: st.DataObject) -> None:
    inner = empty(kind)
    table = Observed(inner.words, kind.width, 16, NODE_BITS[kind.version])
    routes: dict[Prefix, int] = {}
    lengths = [length for length in kind.lengths if length > 8]  # fewer stores
    course = [step for step in data.draw(steps(kind)) if step[0][1] in lengths]
    for prefix, value in course:
        keys = kind.neighbours([*routes, prefix])
        former = {key: best(kind, routes, key) for key in keys}
        after = (
            {**routes, prefix: value}
            if value
            else {other: found for other, found in routes.items() if other != prefix}
        )
        wanted = {key: best(kind, after, key) for key in keys}
        arrived: set[int] = set()

        def observe(
            former: dict[int, int] = former,
            wanted: dict[int, int] = wanted,
            arrived: set[int] = arrived,
        ) -> None:
            for key, new in wanted.items():
                found = table.lookup(key)
                assert found == new or (found == former[key] and key not in arrived), hex(key)
                if found == new:
                    arrived.add(key)

        table.observer = observe
        change(table, routes, prefix, value)
        table.observer = None


@KINDS
def test_a_full_table_stays_as_it_was_and_prefixes_can_go(kind: Kind) -> None:
    table = empty(kind, lines=RESERVE + 64)
    routes: dict[Prefix, int] = {}
    prefixes = [
        kind.align(
            (kind.seeds[0] >> 16 << 16) + (n << 84 if kind is IPV6 else n << 8), kind.width - 3
        )
        for n in range(200)
    ]
    full = None
    for number, prefix in enumerate(prefixes, 1):
        try:
            change(table, routes, prefix, number)
        except TableFull:
            full = prefix
            table.recycle()
            with pytest.raises(TableFull):
                table.set(*prefix, number)
            break
    assert full is not None
    assert table.exact(*full) is None
    for key in kind.neighbours([*routes, full]):
        assert table.lookup(key) == best(kind, routes, key)
    for prefix in list(routes):
        change(table, routes, prefix, 0)
        table.recycle()
        for key in kind.neighbours(prefixes[:5]):
            assert table.lookup(key) == best(kind, routes, key)
    assert table.lines.used == 0


@pytest.mark.parametrize(
    ("key", "length", "value"),
    [(0, 8, 0), (0, 8, MAX_VALUE + 1), (1, 8, 1), (0, 33, 1), (0, -1, 1)],
)
def test_what_is_no_prefix_or_value_is_refused(key: int, length: int, value: int) -> None:
    with pytest.raises(ValueError, match=r"is not in|is no prefix"):
        empty(IPV4).set(key, length, value)


def test_removing_what_is_not_there() -> None:
    with pytest.raises(KeyError):
        empty(IPV4).remove(0, 8)


def test_capacities_tell_shapes_apart() -> None:
    for version, shapes in SHAPES.items():
        assert [shape_of(version, shape.capacity) for shape in shapes] == list(shapes)
        capacities = [shape.capacity for shape in shapes]
        assert capacities == sorted(capacities)
    with pytest.raises(ValueError, match="no table for IPv4 has 4711 lines"):
        shape_of(4, 4711)


def test_a_table_that_grows_gets_room_to_spare_or_none() -> None:
    assert fitting(6, lambda root_bits: 10_000) == Shape(16, 14)
    assert fitting(6, lambda root_bits: 15_000) == Shape(16, 18)
    assert fitting(4, lambda root_bits: 800_000 if root_bits == 16 else 50_000) == Shape(24, 16)
    assert fitting(4, lambda root_bits: 1 << 22) is None
