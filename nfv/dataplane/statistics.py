"""What the counters of an applied topology say.

Programs count in per-CPU maps; here they are only read and added up.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from nfv.chain.source import KeyPath, Source
from nfv.chain.topology import Topology
from nfv.dataplane import paths, state
from nfv.dataplane.kernel.bpf import Map
from nfv.dataplane.paths import Paths
from nfv.dataplane.state import State
from nfv.ebpf import sources
from nfv.errors import KernelError, Position

_COUNTER = struct.Struct("=QQ")  # struct nf_counter of nf.h
_MODULUS = 1 << 64
FORWARDED = "forwarded"
_NOT_DROPPED = frozenset({FORWARDED, "flooded", "answered"})


@dataclass(frozen=True)
class Count:
    """Packets, and their bytes with the Ethernet header."""

    packets: int = 0
    bytes: int = 0

    def __add__(self, other: Count) -> Count:
        packets, size = self.packets + other.packets, self.bytes + other.bytes
        return Count(packets % _MODULUS, size % _MODULUS)

    def since(self, earlier: Count) -> Count:
        """What was counted after `earlier`, a former value, unless the counter began anew."""
        if self.packets < earlier.packets:
            return self
        return Count(self.packets - earlier.packets, self.bytes - earlier.bytes)


Counts = Mapping[str, Count]


def drops(counts: Counts) -> Counts:
    """Those of packets counted by reason that were neither sent on, answered, nor handed over."""
    handed_over = {
        name for name, words in sources.reasons().values() if words.startswith("to the ")
    }
    gone = counts.keys() - _NOT_DROPPED - handed_over
    return {name: count for name, count in counts.items() if name in gone}


def dropped(counts: Counts) -> Count:
    """The sum of those."""
    return sum(drops(counts).values(), Count())


@dataclass(frozen=True)
class PortCounts:
    """A SAP or an interface of a function: what entered the chains there, and what left them."""

    attachment: str
    received: Counts  # by the reason for which their walk ended
    sent: Count

    @property
    def entered(self) -> Count:
        """All that entered, however it ended."""
        return sum(self.received.values(), Count())

    @property
    def dropped(self) -> Count:
        """All that entered and went nowhere."""
        return dropped(self.received)

    def since(self, earlier: PortCounts) -> PortCounts:
        received = _counted(_since(self.received, earlier.received))
        return PortCounts(self.attachment, received, self.sent.since(earlier.sent))


@dataclass(frozen=True)
class Rule:
    """A rule of a function as its file has it."""

    text: str  # its name, or what it says
    position: Position


@dataclass(frozen=True)
class VnfCounts:
    """A function: packets whose walk ended in it, by reason, and those of its rules."""

    name: str
    ended: Counts
    rules: Mapping[str, Rule]
    matched: Counts  # by the key of the rule

    def since(self, earlier: VnfCounts) -> VnfCounts:
        ended = _counted(_since(self.ended, earlier.ended))
        return VnfCounts(self.name, ended, self.rules, _since(self.matched, earlier.matched))


@dataclass(frozen=True)
class Statistics:
    """The counters of one topology at one moment, or what they counted between two."""

    topology: Topology
    moment: float  # seconds, of the monotonic clock
    ports: Mapping[str, PortCounts]
    vnfs: Mapping[str, VnfCounts]

    def since(self, earlier: Statistics) -> Statistics:
        """What was counted since; `moment` becomes the time between, in seconds."""
        return Statistics(
            self.topology,
            self.moment - earlier.moment,
            {
                name: port.since(earlier.ports[name]) if name in earlier.ports else port
                for name, port in self.ports.items()
            },
            {
                name: vnf.since(earlier.vnfs[name]) if name in earlier.vnfs else vnf
                for name, vnf in self.vnfs.items()
            },
        )


@runtime_checkable
class _HasRules(Protocol):
    def rule_paths(self) -> Mapping[str, KeyPath]:
        """Where each rule stands in the function's keys, by what it is counted under."""


def read(applied: State) -> Statistics:
    """Read all counters. Raises `KernelError` if they are gone."""
    topology = applied.topology()
    pins = state.pins(applied.name)
    known = paths.read(pins)
    sent = _counts(pins / "sent")
    ports = {
        name: PortCounts(
            name,
            _by_reason(pins / "port" / name / "received", known.received[number]),
            sent[number] + Count(*known.sent[number]),
        )
        for name, number in applied.ports.items()
    }
    vnfs = {name: _vnf(applied, topology, name, known) for name in applied.counters}
    return Statistics(topology, time.monotonic(), ports, vnfs)


def _vnf(applied: State, topology: Topology, name: str, known: Paths) -> VnfCounts:
    pins = state.pins(applied.name) / "vnf" / name
    if not pins.exists():  # it stands in no chain
        return VnfCounts(name, {}, {}, {})
    number, places = applied.functions[name], applied.counters[name]
    counters = _counts(pins / "counters") if places else []
    matched = {
        rule: counters[place] + Count(*known.counted[number, place])
        for rule, place in places.items()
    }
    through = known.passed[number] if topology.vnfs[name].interfaces else (0, 0)
    ended = _by_reason(pins / "reasons", through)
    return VnfCounts(name, ended, rules(topology, name), matched)


def rules(topology: Topology, vnf: str) -> dict[str, Rule]:
    """The rules of a function by what they are counted under, in their order, the default last."""
    function = topology.vnfs[vnf]
    if not isinstance(function, _HasRules):
        return {}
    return {
        name: _rule(topology.source, ("vnfs", vnf, *path), name)
        for name, path in function.rule_paths().items()
    }


def _rule(source: Source, path: KeyPath, name: str) -> Rule:
    if path[-1] == name:  # the default
        return Rule(name, source.position(path, key=True))
    written = source.data
    for part in path:
        written = written[part]
    return Rule(written.get("name") or _words(written), source.position(path))


def _words(rule: Mapping[str, object]) -> str:
    """A rule as its action and conditions: "accept proto tcp dport 80,443"."""
    conditions = [f"{key} {_word(value)}" for key, value in rule.items() if key != "action"]
    return " ".join([str(rule["action"]), *conditions])


def _word(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _since(counts: Counts, earlier: Counts) -> Counts:
    return {name: count.since(earlier.get(name, Count())) for name, count in counts.items()}


def _counted(counts: Counts) -> Counts:
    """Those that are not zero."""
    return {name: count for name, count in counts.items() if count.packets}


def _by_reason(pin: Path, known: tuple[int, int]) -> Counts:
    """What is not zero of an array by reason; the packets of known flows were all forwarded.

    The array is shorter where a version that had fewer reasons has applied the topology.
    """
    counts = dict(enumerate(_counts(pin)))
    found = {name: counts.get(number, Count()) for number, (name, _) in sources.reasons().items()}
    return _counted({**found, FORWARDED: found[FORWARDED] + Count(*known)})


def _counts(pin: Path) -> list[Count]:
    """The elements of a per-CPU array of counters, each added up."""
    if not pin.exists():
        topology = pin.relative_to(state.PINS).parts[0]
        raise KernelError(f"the counters {pin} are gone", f"`nfvctl apply {topology}` mends it")
    counters = Map.open(pin)
    try:
        return [_sum(value) for _, value in counters.items(batch=counters.max_entries)]
    finally:
        counters.close()


def _sum(value: bytes) -> Count:
    return Count(*(sum(members) for members in zip(*_COUNTER.iter_unpack(value), strict=True)))
