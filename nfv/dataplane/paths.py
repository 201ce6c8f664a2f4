"""Counted paths: what the flow cache has sent on, spread over the counters that a walk would count.

A flow that is known does not walk; its packets are counted once, under the number of a path. A path
says where the walk began and ended and where each function on the way has counted, so what every
counter would say is its own value and that of all paths through it.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from nfv.dataplane.kernel.bpf import Map, possible_cpus
from nfv.ebpf.sources import constant

_LENGTH = constant("nf.h", "NF_PATH_LENGTH")
_PATH = struct.Struct(f"=I2H{_LENGTH}II20x")  # struct action_path of action.h
_COUNTER = struct.Struct("=QQ")  # struct nf_counter of nf.h, the beginning of struct action
_ACTION_SIZE = 64

Total = tuple[int, int]  # packets, bytes


class Paths:
    """The totals of all paths of a topology at one moment."""

    def __init__(self) -> None:
        self.received: dict[int, Total] = defaultdict(_zero)  # by port
        self.sent: dict[int, Total] = defaultdict(_zero)  # by port
        self.counted: dict[tuple[int, int], Total] = defaultdict(_zero)  # by function, place
        self.passed: dict[int, Total] = defaultdict(_zero)  # by function

    def add(self, path: bytes, total: Total) -> None:
        """Spread one path's total."""
        _cpu, port, _mtu, *counted, egress = _PATH.unpack(path)
        self.received[port] = _sum(self.received[port], total)
        self.sent[egress] = _sum(self.sent[egress], total)
        for entry in filter(None, counted):
            key = (entry >> 16, entry & 0xFFFF)
            self.counted[key] = _sum(self.counted[key], total)
            self.passed[entry >> 16] = _sum(self.passed[entry >> 16], total)


def read(pins: Path) -> Paths:
    """Read the paths of the topology pinned there; none if it has no flow cache."""
    if not (pins / "paths").exists():
        return Paths()
    known, actions = Map.open(pins / "paths"), Map.open(pins / "actions")
    try:
        return collect(known, actions)
    finally:
        known.close()
        actions.close()


def collect(known: Map, actions: Map) -> Paths:
    """Add up the paths of open maps."""
    paths = Paths()
    memory = actions.memory()
    for path, place_ in known.items():
        place = int.from_bytes(place_, "little")
        paths.add(path, _COUNTER.unpack_from(memory, place * _ACTION_SIZE))
    memory.close()
    return paths


def total(values: bytes) -> Total:
    """The sum of a counter's values on all CPUs."""
    pairs = list(_pairs(values))
    return sum(packets for packets, _ in pairs), sum(size for _, size in pairs)


def deduct(value: Total) -> bytes:
    """A counter's values on all CPUs that make its sum and `value` zero, modulo 2^64."""
    first = _COUNTER.pack(-value[0] % (1 << 64), -value[1] % (1 << 64))
    return first + bytes(_COUNTER.size * (possible_cpus() - 1))


def _pairs(values: bytes) -> Iterator[Total]:
    yield from _COUNTER.iter_unpack(values)


def _zero() -> Total:
    return 0, 0


def _sum(a: Total, b: Total) -> Total:
    return a[0] + b[0], a[1] + b[1]
