"""What a lookup in a table of routes costs, by itself: `benchmarks/run lookups`.

Many lookups in one BPF_PROG_TEST_RUN, without packets; what the loop costs is subtracted. Every sum
of results is compared with what the routes say.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks import routes
from nfv.dataplane.kernel import bpf, headers
from nfv.dataplane.kernel.bpf import Map
from nfv.ebpf import sources
from nfv.ebpf.compiler import Compiler
from nfv.ebpf.object import MapSpec
from nfv.ebpf.prefixbuild import Routes, build
from nfv.ebpf.prefixes import CHILD, NODE, NUMBER, POINTER
from nfv.ebpf.tableshape import LINE_WORDS, NODE_BITS, SLACK
from nfv.errors import NfvError

COUNTS = {4: (10, 1000, 100_000, 1_000_000), 6: (10, 1000, 10_000, 200_000)}
DESTINATIONS = {"64k": 1 << 16, "any": 1 << 21}
KEYS_A_RUN = 256  # as in lookups.c
TARGETS = 4096
ROUNDS = 5

_SOURCE = Path(__file__).with_name("programs") / "lookups.c"
_NONE, _FLAT, _NODES = range(3)  # METHOD of lookups.c
_NO_BUCKETS = 64  # bits, down to which there are nodes only

Keys = NDArray[np.uint64]


@dataclass(frozen=True)
class Method:
    """A way to keep routes: METHOD of the C text, link constants, and what makes its table."""

    name: str
    number: int
    bytes: int = 0
    links: tuple[int, int] = (0, 0)
    entries: int = 1
    fill: Callable[[Map], None] = lambda table: None


class Bench:
    """Compiles, loads and runs the programs."""

    def __init__(self) -> None:
        self._compiler = Compiler(headers.find())

    def cost(self, method: Method, levels: int, keys: Keys, expected: int | None) -> list[float]:
        """Nanoseconds a lookup: independent ones, and ones that wait for the result before."""
        return [self._run(method, levels, keys, expected, dependent) for dependent in (False, True)]

    def _run(
        self, method: Method, levels: int, keys: Keys, expected: int | None, dependent: bool
    ) -> float:
        text = sources.splice("prefixes.h", "", set())
        text += f"#define METHOD {method.number}\n#define LEVELS {levels}\n"
        text += "#define DEPENDENT 1\n" * dependent
        text += '#line 1 "lookups.c"\n' + _SOURCE.read_text()
        compiled = self._compiler.compile([text])[text]
        sizes = {"state": 1, "keys": len(keys) + KEYS_A_RUN, "table": method.entries}
        maps = {name: _make(spec, name, sizes.get(name, 1)) for name, spec in compiled.maps.items()}
        links = (*method.links, len(keys) - 1)
        code = compiled.programs["lookups"]
        fd = bpf.prog_load(code.bind({name: m.fd for name, m in maps.items()}, links), "lookups")
        try:
            np.frombuffer(maps["keys"].memory(), np.uint64)[: len(keys)] = keys
            if "table" in maps:
                method.fill(maps["table"])
            return _measure(fd, maps["state"], len(keys), expected)
        finally:
            os.close(fd)
            for found in maps.values():
                found.close()


def _make(spec: MapSpec, name: str, count: int) -> Map:
    size = spec.value_size * count if spec.flat else spec.value_size
    count = 1 if spec.flat else count
    return Map.create(spec.type, spec.key_size, size, count, flags=spec.flags, name=name)


def _measure(fd: int, state: Map, keys: int, expected: int | None) -> float:
    runs = keys // KEYS_A_RUN
    found = np.frombuffer(state.memory(), np.uint64)
    bpf.prog_run(fd, bytes(64), repeat=runs)
    found[:2] = 0
    samples = [bpf.prog_run(fd, bytes(64), repeat=runs)[2] / KEYS_A_RUN for _ in range(ROUNDS)]
    if expected is not None and int(found[1]) != expected * ROUNDS:
        raise NfvError(f"a lookup found something else: {found[1]} and not {expected * ROUNDS}")
    return statistics.median(samples)


def methods(version: int, table: Routes) -> Iterator[Method]:
    """The ways to keep these routes."""
    for bits in (16, 24) if version == 4 else (16,):
        yield _flat(f"nodes and buckets, root of {bits} bits", table, bits, NODE_BITS[version])
    yield _flat("nodes alone, root of 16 bits", table, 16, _NO_BUCKETS)
    yield _nodes(table)


def _flat(name: str, table: Routes, root_bits: int, node_bits: int) -> Method:
    words, _lengths = build(table, root_bits, node_bits)
    lines = len(words) // LINE_WORDS
    pool = 1 << (lines - (1 << root_bits) // LINE_WORDS).bit_length()

    def fill(found: Map) -> None:
        np.frombuffer(found.memory(), np.uint32)[: len(words)] = words

    entries = (1 << root_bits) // LINE_WORDS + pool + SLACK
    return Method(name, _FLAT, words.nbytes, (64 - root_bits, pool - 1), entries, fill)


def _nodes(table: Routes) -> Method:
    """The nodes of a table without buckets, as elements of a map; the root is 256 of them."""
    words, lengths = build(table, 16, _NO_BUCKETS)
    pointers = lengths == POINTER
    number = 256 + (words[pointers] & NUMBER) // (NODE // LINE_WORDS)
    words[pointers] = CHILD | number

    def fill(found: Map) -> None:
        np.frombuffer(found.memory(), np.uint32)[: len(words)] = words

    return Method("nodes in an array map", _NODES, words.nbytes, (0, 0), len(words) // NODE, fill)


def _sum_of_longest(table: Routes, keys: Keys) -> int:
    """What lookups of all keys find in sum, by a search in the prefixes of each length."""
    found = np.zeros(len(keys), np.uint64)
    for length in sorted(set(table.lengths.tolist())):
        mine = table.only(np.flatnonzero(table.lengths == length))
        mine = mine.only(np.argsort(mine.keys))
        shift = np.uint64(64 - length)
        at = np.minimum(np.searchsorted(mine.keys, keys >> shift << shift), len(mine) - 1)
        hit = mine.keys[at] == keys >> shift << shift
        found[hit] = mine.values[at][hit]
    return int(found.sum())


def _table(version: int, count: int) -> tuple[routes.Table, Routes]:
    found = routes.table(version, count)
    keys = found.prefixes << np.uint64(32) if version == 4 else found.prefixes
    values = (np.arange(count) % TARGETS + 1).astype(np.uint32)
    return found, Routes(keys, found.lengths, values)


def _rows(version: int, count: int) -> Iterator[Sequence[str]]:
    bench = Bench()
    listed, table = _table(version, count)
    levels = 2 if version == 4 else 6
    costs: dict[str, list[float]] = {}
    sizes: dict[str, int] = {}
    for number in DESTINATIONS.values():
        keys = routes.destinations(listed, number)
        keys = keys << np.uint64(32) if version == 4 else keys
        loop = bench.cost(Method("", _NONE), levels, keys, None)
        expected = _sum_of_longest(table, keys)
        for method in methods(version, table):
            cost = bench.cost(method, levels, keys, expected)
            costs.setdefault(method.name, []).extend(np.subtract(cost, loop).tolist())
            sizes[method.name] = method.bytes
            click.echo(f"IPv{version}, {count} routes, {number}: {method.name} {cost}", err=True)
    for name, found in costs.items():
        size = f"{sizes[name] / 2**20:.1f}" if sizes[name] else ""
        yield f"IPv{version}", f"{count:,}", name, *(f"{each:.0f}" for each in found), size


def _as_markdown(rows: Sequence[Sequence[str]]) -> str:
    head = ["IP", "routes", "method"]
    head += [f"{name}, {kind}" for name in DESTINATIONS for kind in ("apart", "in turn")]
    head.append("MiB")
    lines = [head, ["---"] * 3 + ["---:"] * (len(head) - 3), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@click.command()
@click.option("--most", type=click.IntRange(10), help="No more routes than these.")
def main(most: int | None) -> None:
    """Measure lookups in tables of routes, and print a table in Markdown."""
    counts: Mapping[int, Sequence[int]] = COUNTS
    rows = [
        row
        for version, several in counts.items()
        for count in several
        if most is None or count <= most
        for row in _rows(version, count)
    ]
    click.echo(_as_markdown(rows))


if __name__ == "__main__":
    try:
        main(prog_name="benchmarks/run lookups")
    except NfvError as failure:
        click.echo(f"error: {failure.message}", err=True)
        sys.exit(failure.exit_code)
