"""What a topology has counted between two moments, quickly enough to ask after every packet."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterator

from nfv.dataplane import bpf, paths
from nfv.dataplane.bpf import Command, Map, possible_cpus
from nfv.dataplane.paths import Paths, Total
from nfv.ebpf import sources
from tests.functions.bench import Bench
from tests.property.model.verdicts import Key

_CPUS = possible_cpus()
_PATHS = sources.constant("flow.h", "FLOW_PATHS")
_FORWARDED = "forwarded"

Naming = Callable[[int], Key | None]
"""What the element of an array counts; None: nothing that has a name."""


class _Array:
    """Elements of a per-CPU array map, each a struct nf_counter, read in one system call."""

    def __init__(self, found: Map, count: int, first: int = 0) -> None:
        self._map = found
        self.count = count
        self._values = ctypes.create_string_buffer(found.entry_size * count)
        self._keys = ctypes.create_string_buffer(4 * count)
        self._before = ctypes.create_string_buffer(struct.pack("=I", max(first - 1, 0)), 8)
        self._from_start = first == 0
        self._after = ctypes.create_string_buffer(8)
        self._stride = found.entry_size
        self.known = self._read()

    def _read(self) -> bytes:
        attr = struct.pack(
            "=QQQQIIQQ",
            0 if self._from_start else ctypes.addressof(self._before),
            ctypes.addressof(self._after),
            ctypes.addressof(self._keys),
            ctypes.addressof(self._values),
            self.count,
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
        for index in range(self.count):
            start = index * stride
            if now[start : start + stride] != before[start : start + stride]:
                new, old = (paths.total(values[start : start + stride]) for values in (now, before))
                yield index, (new[0] - old[0], new[1] - old[1])


class Counters:
    """All counters of a topology that is loaded."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.hits = 0
        """Packets that the flow cache sent on."""
        fastpath = bench._fastpath
        self._has_cache = fastpath.names.root / "numbers" in fastpath.maps
        self._arrays = list(self._named_arrays())
        self._walked: dict[int, _Array] = {}
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
        for number, total in self._walks():
            found = Paths()
            found.add(self._path(number), total)
            for port, value in found.received.items():
                yield ("received", self._ports[port], _FORWARDED), value
            for port, value in found.sent.items():
                yield ("sent", self._ports[port]), value
            for (function, place), value in found.counted.items():
                vnf = self._functions[function]
                if place == paths.WALK:
                    yield ("reason", vnf, _FORWARDED), value
                    continue
                key = self._rules(vnf)(place)
                if key:
                    yield key, value

    def _walks(self) -> Iterator[tuple[int, Total]]:
        """The paths that were taken without a walk."""
        if not self._has_cache:
            return
        handed_out = struct.iter_unpack("=II", self._bench.shared("numbers")[0])
        for cpu, (count, _) in enumerate(handed_out):
            array = self._walked.get(cpu)
            if array is not None:
                for index, total in array.changes():
                    self.hits += total[0]
                    yield cpu * _PATHS + index, total
            if count and (array is None or count != array.count):
                walked = self._bench.shared("walked")
                self._walked[cpu] = _Array(walked, count, cpu * _PATHS)

    def _path(self, number: int) -> bytes:
        if number not in self._paths:
            items = self._bench.shared("paths").items()
            self._paths = {int.from_bytes(value, "little"): path for path, value in items}
        return self._paths[number]


def _plus(one: Total | None, other: Total) -> Total:
    return (one[0] + other[0], one[1] + other[1]) if one else other
