"""The pinned maps of a topology: which there must be, and how they are bound to programs."""

from __future__ import annotations

import operator
import struct
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nfv.chain.hook import Slot
from nfv.chain.path import Attachment
from nfv.chain.topology import Topology
from nfv.dataplane import paths, state
from nfv.dataplane.kernel import bpf
from nfv.dataplane.kernel.bpf import Map, MapType, possible_cpus
from nfv.dataplane.wiring import MAX_PORTS, MAX_PROGRAMS
from nfv.ebpf.compose import Unit, classifier_patterns, has_frags
from nfv.ebpf.object import Layout, MapSpec, Object
from nfv.ebpf.sources import constant, reason_count
from nfv.ebpf.tables import DATAGRAMS, matcher_sizes
from nfv.errors import KernelError

CPUS = 1 << (possible_cpus() - 1).bit_length()
"""CPUs that have tables, a power of two."""

ACTIONS = CPUS * constant("action.h", "ACTION_PATHS")
"""Actions of all CPUs."""

_WAYS = constant("flow.h", "FLOW_WAYS")
_FLOW_SET = 128  # bytes, of IPv6
MAX_FLOW_SETS = (1 << 29) // _FLOW_SET
"""Of all CPUs: so far (BPF_MAX_VAR_OFF) the verifier lets a program reach into a value."""

MAX_NOTES = 1 << 16
"""Places in the programs of a topology where notes can be taken."""

LINK = "link"
ASIDE = "_old"  # what a pin's name ends with while another has its place

_SHARED_SIZES = {
    "nf_ports": MAX_PORTS,
    "nf_devices": MAX_PORTS,
    "nf_jumps": MAX_PROGRAMS * MAX_PORTS,
    "nf_tc_jumps": MAX_PROGRAMS * MAX_PORTS,
    "nf_sent": MAX_PORTS,
    "nf_packets": 1,
    "nf_rejects": 1,
    "nf_epoch": 1,
    "nf_paths": ACTIONS,
    "nf_actions": ACTIONS,
    "nf_numbers": CPUS,
    "nf_hops": CPUS * constant("hop.h", "HOP_PLACES"),
    "nf_observe_cpus": 1,
    "nf_observe_record": 1,
    "nf_observe_wanted": MAX_NOTES,
    "nf_observe_egress": MAX_PORTS,
    "nf_observe_notes": 1 << 24,  # bytes
}
_OF_ONE_KIND = frozenset({"nf_ports", "nf_jumps"})
"""Maps that the kernel lets serve either programs for frames of several parts or others, for good.

Their sizes, odd for the former, tell them apart.
"""

_FLOWS = frozenset({"nf_flows4", "nf_flows6"})

_HASHES = frozenset({MapType.HASH, MapType.LRU_HASH})
_NOEXIST = 1  # BPF_NOEXIST

Carried = Mapping[bytes, bytes]
"""The counters of a map at one moment, of all CPUs, by key."""


@dataclass(frozen=True)
class MapPlan:
    """A map that must be there: where it is pinned, what it is, how much it holds."""

    pin: Path
    spec: MapSpec
    capacity: int
    keep: bool  # its content outlives a change of capacity

    @property
    def identity(self) -> tuple[int, int, int, int, int]:
        """What a map that is there must be like to be used."""
        spec = self.spec
        size, count = spec.value_size, self.capacity
        if spec.flat:
            size, count = size * count, 1
        return spec.type, spec.key_size, size, count, spec.flags

    def create(self) -> Map:
        """Make the map, without a pin."""
        type_, key_size, value_size, count, flags = self.identity
        return Map.create(type_, key_size, value_size, count, flags=flags, name=self.pin.name)


def flow_bits(topology: Topology) -> int:
    """Of the sets of flows in a CPU's table of one IP version, which are a power of two."""
    return (topology.flow_cache // _WAYS - 1).bit_length()


def flow_limit() -> int:
    """The most flows that a CPU of this machine can remember."""
    return MAX_FLOW_SETS // CPUS * _WAYS


class MapNames:
    """From the names of maps in C texts to pins: by topology, by port, or by function."""

    def __init__(self, topology: Topology, grown: Mapping[str, Mapping[str, int]]) -> None:
        """`grown` are capacities by function and map, where they are not what it says."""
        self.topology = topology
        self.root = state.pins(topology.name)
        self._grown = grown
        self._sizes: dict[str, Mapping[str, int]] = {}  # of maps, by function; dear to work out

    def port(self, place: Attachment) -> Path:
        """Directory of what belongs to one port."""
        return self.root / "port" / str(place)

    def link(self, place: Attachment) -> Path:
        """The pin of what attaches a port's program to its device."""
        return self.port(place) / LINK

    def vnf(self, name: str) -> Path:
        """Directory of the maps of a function."""
        return self.root / "vnf" / name

    def pin(self, unit: Unit, place: Attachment, name: str) -> Path:
        """Where the map that a text calls `name` is pinned."""
        prefix, _, rest = name.partition("_")
        if name == "nf_received":
            return self.port(place) / rest
        if prefix == "nf":
            return self.root / rest
        vnf = unit.instances[prefix]
        return (self.vnf(vnf) if vnf else self.port(place)) / rest

    def plans(
        self, units: Mapping[Slot, Unit], objects: Mapping[str, Object]
    ) -> dict[Path, MapPlan]:
        """All maps that the units need, by pin."""
        found: dict[Path, MapPlan] = {}
        for (place, _hook), unit in units.items():
            for name, spec in objects[unit.text].maps.items():
                pin = self.pin(unit, place, name)
                if pin not in found:
                    capacity, keep = self._capacity(unit, place, name)
                    found[pin] = MapPlan(pin, spec, capacity, keep)
        return found

    def _capacity(self, unit: Unit, place: Attachment, name: str) -> tuple[int, bool]:
        prefix, _, rest = name.partition("_")
        if name == "nf_received" or rest == "reasons":
            return reason_count(), True
        if prefix == "nf":
            if name in _FLOWS:
                return CPUS << flow_bits(self.topology), True
            odd = name in _OF_ONE_KIND and has_frags(self.topology)
            return _SHARED_SIZES[name] + odd, True
        vnf = unit.instances[prefix]
        if not vnf:
            sizes = {**matcher_sizes(classifier_patterns(unit.walks)), "datagrams": DATAGRAMS}
            return sizes[rest], False
        function = self.topology.vnfs[vnf]
        if vnf not in self._sizes:
            self._sizes[vnf] = {**function.map_sizes(), **self._grown.get(vnf, {})}
        odd = rest == "floods" and has_frags(self.topology)
        return self._sizes[vnf][rest] + odd, rest in function.kept


class FunctionMaps:
    """The open maps of one instance, as its Python writes them (nfv.ebpf.tables.Maps)."""

    def __init__(
        self, directory: Path, maps: Mapping[Path, Map], plans: Mapping[Path, MapPlan], number: int
    ) -> None:
        """`number` is the function's in counted paths, 0 if it has none."""
        self._directory = directory
        self._maps = maps
        self._plans = plans
        self._number = number

    def memory(self, name: str) -> memoryview:
        found = self._maps[self._directory / name]
        return memoryview(found.memory())[: found.value_size * found.max_entries]

    def table(self, name: str) -> Map:
        return self._maps[self._directory / name]

    def layout(self, name: str) -> Layout:
        layout = self._plans[self._directory / name].spec.value
        assert layout is not None, f"{name} holds plain numbers"
        return layout

    def clear(self, name: str, places: Collection[int]) -> None:
        if not places:
            return
        counted = paths.read(self._directory.parent.parent).counted
        counters = self._maps[self._directory / name]
        for place in places:
            counters[place] = paths.deduct(counted[self._number, place])


def aside(pin: Path) -> Path:
    """Where a pin is kept while another has its place."""
    return pin.with_name(pin.name + ASIDE)


def unpin(pin: Path) -> None:
    """Take a pin back, and the directories made for it."""
    pin.unlink()
    with suppress(OSError):  # others are in them
        for directory in list(pin.parents)[: len(pin.relative_to(state.PINS).parts) - 1]:
            directory.rmdir()


def open_map(pin: Path) -> Map | None:
    """The map pinned there, or None."""
    return Map.open(pin) if pin.exists() else None


def matches(found: Map, plan: MapPlan) -> bool:
    """Whether a map is what the plan wants. The kernel adds flags of its own to some types."""
    there = (found.type, found.key_size, found.value_size, found.max_entries)
    return there == plan.identity[:4] and found.flags & bpf.F_MMAPABLE == (
        plan.spec.flags & bpf.F_MMAPABLE
    )


def carry(old: Map, new: Map) -> Carried:
    """Copy what a map holds to the one that takes its place; return the counters as they were.

    What does not fit, or is of another layout, stays behind.
    """
    if not _is_alike(old, new):
        return {}
    if old.type in _HASHES:
        _copy(old, new)
        return {}
    counted = {key: value for key, value in old.items() if _index(key) < new.max_entries}
    for key, value in counted.items():
        new.update(key, value)
    return counted


def carry_rest(old: Map, new: Map, carried: Carried) -> None:
    """Copy what came into a map between `carry` and the moment when programs left it."""
    if not _is_alike(old, new):
        return
    if old.type in _HASHES:
        _copy(old, new)
        return
    for key, value in old.items():
        if key in carried and value != carried[key]:
            late = _difference(value, carried[key])
            present = new.lookup(key)
            assert present is not None
            new.update(key, _sum(present, late))


def _is_alike(old: Map, new: Map) -> bool:
    """Whether the content of one map is such that the other can hold it."""
    layouts = {(found.type, found.key_size, found.value_size) for found in (old, new)}
    return len(layouts) == 1 and old.type in {*_HASHES, MapType.PERCPU_ARRAY}


def _copy(old: Map, new: Map) -> None:
    """Add the entries that the other has not; its own are newer."""
    for key, value in old.items():
        with suppress(KernelError):  # it has the entry, or is full
            new.update(key, value, _NOEXIST)


def _index(key: bytes) -> int:
    return int(struct.unpack("=I", key)[0])


def _counters(value: bytes) -> tuple[int, ...]:
    return struct.unpack(f"={len(value) // 8}Q", value)


def _difference(value: bytes, former: bytes) -> tuple[int, ...]:
    return tuple(map(operator.sub, _counters(value), _counters(former)))


def _sum(value: bytes, late: tuple[int, ...]) -> bytes:
    return struct.pack(f"={len(late)}Q", *map(operator.add, _counters(value), late))
