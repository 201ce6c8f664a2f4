"""What a topology has counted between two moments, quickly enough to ask after every packet."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterator

from nfv.dataplane import paths
from nfv.dataplane.kernel import bpf
from nfv.dataplane.kernel.bpf import Command, Map, possible_cpus
from nfv.dataplane.paths import Paths, Total
from nfv.ebpf import sources
from tests.functions.bench import Bench
from tests.property.model.verdicts import Key

_CPUS = possible_cpus()
_ACTIONS = sources.constant("action.h", "ACTION_PATHS")  # of each CPU
_ACTION = struct.Struct("=QQ48x")  # struct action of action.h, which begins with its counter
_FORWARDED = "forwarded"

Naming = Callable[[int], Key | None]
"""What the element of an array counts; None: nothing that has a name."""


class _Array:
    """Elements of a per-CPU array map, each a struct nf_counter, read in one system call."""

    def __init__(self, found: Map, count: int) -> None:
        self._map = found
        self._count = count
        self._values = ctypes.create_string_buffer(found.entry_size * count)
        self._keys = ctypes.create_string_buffer(4 * count)
        self._after = ctypes.create_string_buffer(8)
        self._stride = found.entry_size
        self.known = self._read()

    def _read(self) -> bytes:
        attr = struct.pack(
            "=QQQQIIQQ",
            0,
            ctypes.addressof(self._after),
            ctypes.addressof(self._keys),
            ctypes.addressof(self._values),
            self._count,
            self._map.fd,
            0,
            0,
        )
        bpf._bpf(Command.MAP_LOOKUP_BATCH, attr, "read counters")
        return self._values.raw

    def changes(self) -> Iterator[tuple[int, Total]]:
        """What was counted since the last time, by the element's place among those read."""
        now, before, stride = self._read(), self.known, self._stride
        if now == before:
            return
        self.known = now
        for index in range(self._count):
            start = index * stride
            if now[start : start + stride] != before[start : start + stride]:
                new, old = (paths.total(values[start : start + stride]) for values in (now, before))
                yield index, (new[0] - old[0], new[1] - old[1])


class _Actions:
    """The counters of the flow cache's actions, which programs share with user space."""

    def __init__(self, actions: Map, numbers: Map) -> None:
        self._actions = actions.memory()
        self._numbers = numbers.memory()
        self._known: dict[int, bytes] = {}
        list(self.changes())  # what was counted before

    def changes(self) -> Iterator[tuple[int, Total]]:
        """What was counted since the last time, by the place of the action."""
        for cpu in range(_CPUS):
            count = int.from_bytes(self._numbers[cpu * 8 : cpu * 8 + 8], "little")
            first = cpu * _ACTIONS
            now = self._actions[first * _ACTION.size : (first + count) * _ACTION.size]
            before = self._known.get(cpu, b"")
            if now != before:
                self._known[cpu] = now
                yield from _grown(first, now, before.ljust(len(now), b"\0"))


def _grown(first: int, now: bytes, before: bytes) -> Iterator[tuple[int, Total]]:
    pairs = zip(_ACTION.iter_unpack(now), _ACTION.iter_unpack(before), strict=True)
    for place, (new, old) in enumerate(pairs, first):
        if new != old:
            yield place, (new[0] - old[0], new[1] - old[1])


class Counters:
    """All counters of a topology that is loaded."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.hits = 0
        """Packets that the flow cache sent on."""
        fastpath = bench._fastpath
        self._actions: _Actions | None = None
        if fastpath.names.root / "actions" in fastpath.maps:
            self._actions = _Actions(bench.shared("actions"), bench.shared("numbers"))
        self._arrays = list(self._named_arrays())
        self._paths: dict[int, bytes] = {}
        self._ports = {port.number: str(place) for place, port in bench.wiring.ports.items()}
        self._functions = {number: name for name, number in bench.numbers.items()}

    def _named_arrays(self) -> Iterator[tuple[_Array, Naming]]:
        bench, reasons = self._bench, sources.reasons()
        ports = {port.number: str(place) for place, port in bench.wiring.ports.items()}
        fastpath = bench._fastpath
        names, maps = fastpath.names, fastpath.maps

        def by_reason(kind: str, name: str) -> Naming:
            return lambda index: (kind, name, reasons[index][0]) if index in reasons else None

        yield (
            _Array(bench.shared("sent"), max(ports) + 1),
            lambda index: ("sent", ports[index]) if index in ports else None,
        )
        for place in bench.wiring.ports:
            received = maps[names.port(place) / "received"]
            yield _Array(received, received.max_entries), by_reason("received", str(place))
        for vnf in bench.topology.vnfs:
            if names.vnf(vnf) / "reasons" not in maps:
                continue  # in no chain
            ended = bench.map_of(vnf, "reasons")
            yield _Array(ended, ended.max_entries), by_reason("reason", vnf)
            if bench.counters[vnf]:
                counters = bench.map_of(vnf, "counters")
                yield _Array(counters, counters.max_entries), self._rules(vnf)

    def _rules(self, vnf: str) -> Naming:
        def name(index: int) -> Key | None:
            for rule, place in self._bench.counters[vnf].items():
                if place == index:
                    return ("rule", vnf, rule)
            return None

        return name

    def changes(self) -> dict[Key, Total]:
        """What was counted since the last time."""
        counted: dict[Key, Total] = {}
        for array, name in self._arrays:
            for index, total in array.changes():
                key = name(index)
                if key:
                    counted[key] = _plus(counted.get(key), total)
        for key, total in self._remembered():
            counted[key] = _plus(counted.get(key), total)
        return counted

    def _remembered(self) -> Iterator[tuple[Key, Total]]:
        """What packets of known flows add."""
        for place, total in self._actions.changes() if self._actions else ():
            self.hits += total[0]
            found = Paths()
            found.add(self._path(place), total)
            for port, value in found.received.items():
                yield ("received", self._ports[port], _FORWARDED), value
            for port, value in found.sent.items():
                yield ("sent", self._ports[port]), value
            for (function, index), value in found.counted.items():
                vnf = self._functions[function]
                if self._bench.topology.vnfs[vnf].interfaces:
                    yield ("reason", vnf, _FORWARDED), value
                    continue
                key = self._rules(vnf)(index)
                if key:
                    yield key, value

    def _path(self, place: int) -> bytes:
        if place not in self._paths:
            items = self._bench.shared("paths").items()
            self._paths = {int.from_bytes(value, "little"): path for path, value in items}
        return self._paths[place]


def _plus(one: Total | None, other: Total) -> Total:
    return (one[0] + other[0], one[1] + other[1]) if one else other
