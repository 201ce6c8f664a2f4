"""What a topology costs besides time for packets: compiling, loading, memory, applying."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks import chains
from benchmarks.figures import Figure
from benchmarks.runs import Progress
from nfv.chain.topology import Topology, loads
from nfv.dataplane import state
from nfv.dataplane.change import engine
from nfv.dataplane.change.mapstore import LINK
from nfv.dataplane.kernel import bpf
from nfv.dataplane.kernel.bpf import Map
from nfv.errors import KernelError

PROGRAMS, APPLY = "programs", "apply"

_NAME = "bench-costs"
_CACHE = "NFV_CACHE_DIR"
_LOADING = "load programs"
_FIELD = re.compile(r"^(\w+):\s+(\d+)$", re.MULTILINE)


def programs(rounds: int, rule_count: int, progress: Progress) -> Iterator[Figure]:
    """Of the chain that is measured most: programs, maps, and how long they take to make."""
    declared = chains.standard(_NAME, rule_count)
    row = f"firewall of {rule_count} rules, router, NAT"
    compiled: list[float] = []
    loaded: list[float] = []
    for number in range(rounds):
        progress(f"programs: round {number + 1} of {rounds}")
        with tempfile.TemporaryDirectory() as directory, _environment(_CACHE, directory):
            cold = _apply(declared)
            engine.destroy(_NAME, None, _refuse)
            warm = _apply(declared)
        compiled.append(cold.prepared - warm.prepared)
        loaded.append(warm.loading)
        if number + 1 < rounds:
            engine.destroy(_NAME, None, _refuse)
    try:
        yield Figure(PROGRAMS, row, "compile", "s", tuple(compiled))
        yield Figure(PROGRAMS, row, "load", "s", tuple(loaded))
        yield from _sizes(row)
    finally:
        engine.destroy(_NAME, None, _refuse)


def apply(counts: Mapping[int, int], progress: Progress) -> Iterator[Figure]:
    """Seconds to apply hosts around a router, objects in the cache, and to destroy them again.

    `counts` are the repetitions by the number of hosts.
    """
    engine.apply(hosts(1), None, _refuse)  # fills the cache, also for more
    engine.destroy(_NAME, None, _refuse)
    for count, rounds in counts.items():
        applied, destroyed = [], []
        declared = hosts(count)
        for number in range(rounds):
            progress(f"apply: {count} SAPs, round {number + 1} of {rounds}")
            begun = time.perf_counter()
            engine.apply(declared, None, _refuse)
            done = time.perf_counter()
            engine.destroy(_NAME, None, _refuse)
            applied.append(done - begun)
            destroyed.append(time.perf_counter() - done)
        row = f"{count:,} SAPs"
        yield Figure(APPLY, row, "apply", "s", tuple(applied))
        yield Figure(APPLY, row, "destroy", "s", tuple(destroyed))


def hosts(count: int) -> Topology:
    """So many hosts, each at an interface of its own of one router."""
    saps, interfaces, wires = {}, {}, {}
    for number in range(count):
        net = f"10.{number >> 8}.{number & 255}"
        saps[f"h{number}"] = {"kind": "host", "ip": f"{net}.2/24", "gateway": f"{net}.1"}
        interfaces[f"i{number}"] = {"ip": f"{net}.1/24"}
        wires[f"c{number}"] = {"path": [f"h{number}", f"gw:i{number}"]}
    router = {"type": "router", "interfaces": interfaces}
    data = {"name": _NAME, "saps": saps, "vnfs": {"gw": router}, "chains": wires}
    return loads(json.dumps(data, indent=0), _NAME)


class _Times:
    """When the steps of an apply began."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self._steps: list[tuple[str, float]] = []

    def note(self, title: str, _number: int, _total: int) -> None:
        """A step begins."""
        self._steps.append((title, time.perf_counter()))

    @property
    def prepared(self) -> float:
        """Seconds until the first step."""
        return self._steps[0][1] - self._begun

    @property
    def loading(self) -> float:
        """Seconds of the step that loads all programs."""
        for (title, begun), (_, ended) in zip(self._steps, self._steps[1:], strict=False):
            if title.startswith(_LOADING):
                return ended - begun
        raise KernelError("no programs were loaded")


def _apply(declared: Topology) -> _Times:
    times = _Times()
    engine.apply(declared, times.note, _refuse)
    return times


def _sizes(row: str) -> Iterator[Figure]:
    """Of all programs together, and of all maps."""
    root = state.pins(_NAME)
    found = list(_programs(root / "jumps"))
    yield Figure(PROGRAMS, row, "programs", "", (len(found),))
    for column, unit, key in (
        ("machine code", "bytes", "jited"),
        ("instructions verified", "", "verified_insns"),
    ):
        yield Figure(PROGRAMS, row, column, unit, (sum(each[key] for each in found),))
    pins = [pin for pin in root.rglob("*") if pin.is_file() and pin.name != LINK]
    memory = sum(_description(bpf.obj_get(pin))["memlock"] for pin in pins)
    yield Figure(PROGRAMS, row, "maps", "MiB", (memory / (1 << 20),))


def _programs(jumps: Path) -> Iterator[dict[str, int]]:
    """What the kernel says of each program in the table of tail calls."""
    table = Map.open(jumps)
    try:
        for place in range(table.max_entries):
            ident = table.lookup(place.to_bytes(4, "little"))
            if ident is not None:
                program = bpf.prog_open(int.from_bytes(ident, "little"))
                jited = bpf.prog_info(program)[2]
                yield {**_description(program), "jited": jited}
    finally:
        table.close()


def _description(descriptor: int) -> dict[str, int]:
    """The numbers that the kernel tells of a BPF object; closes its descriptor."""
    try:
        text = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    finally:
        os.close(descriptor)
    return {key: int(value) for key, value in _FIELD.findall(text)}


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _refuse(holder: str) -> None:
    raise KernelError(f"the topology is being changed by {holder}", "run one benchmark at a time")
