"""Frames sent through the observed programs of a topology, where nobody notices (test runs).

What programs only read are the tables of the running topology; what they write is private: a trace
changes nothing. Connections and the like are copied first, so that a known one is known.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nfv.chain import names
from nfv.chain.hook import Slot
from nfv.chain.path import Attachment
from nfv.chain.sap import Hook
from nfv.chain.topology import Topology
from nfv.dataplane.change import portleads
from nfv.dataplane.change.fastpath import FastPath
from nfv.dataplane.change.mapstore import MapPlan
from nfv.dataplane.kernel import bpf, headers
from nfv.dataplane.kernel.bpf import PER_CPU, Map, MapType
from nfv.dataplane.load import stations
from nfv.dataplane.observe import offline, routing
from nfv.dataplane.observe.explanation import Explainer, Explanation
from nfv.dataplane.observe.known import Flows
from nfv.dataplane.observe.notes import MAX_FRAME, Record
from nfv.dataplane.observe.observed import Observed, is_private
from nfv.dataplane.observe.routing import Explain
from nfv.dataplane.state import State
from nfv.dataplane.wiring import Wiring, give_numbers, number_ports, wire
from nfv.ebpf.compiler import Compiler
from nfv.ebpf.observed import compose_observed
from nfv.errors import InputError, KernelError
from nfv.traffic import capture, description, expression, link

_READ = frozenset(
    {"fib4", "fib6", "adjacencies", "defaults", "interfaces", "matcher", "answers", "own", "server"}
)
"""Maps of functions that their programs only read: some are too large to be copied."""

_DEVICES = frozenset({"ports", "devices"})
"""Shared maps that programs only read."""

_LOOPBACK = 1  # ifindex: a port must lead to some device, but test runs send nothing
_ROOM = 1 << 16
_COPIED = frozenset({MapType.HASH, MapType.LRU_HASH})

Live = Callable[[Path], "Map | None"]
"""Opens the map of a running topology that is pinned somewhere; None if there is none."""


@dataclass(frozen=True)
class Run:
    """What became of one frame."""

    records: Sequence[Record]
    verdict: int  # XDP_* or TC_ACT_*, as the program returned it
    frame: bytes  # as the program left it


class Tracer:
    """The observed programs of a topology, for test runs. To be closed."""

    def __init__(self, path: FastPath, live: Live | None) -> None:
        """`path` has units of `compose_observed`, and no maps yet; without `live` it is offline."""
        self.path = path
        try:
            for pin, plan in path.plans.items():
                is_read = pin.name in (_DEVICES if pin.parent == path.names.root else _READ)
                path.maps[pin] = _bound(pin, plan, live, is_read)
            if live is None:
                _connect(path)
                offline.fill(path)
            _lead_nowhere(path)
            self._observed = Observed(path)
        except BaseException:
            path.close()
            raise
        self._observed.want(range(len(self._observed.notes)), MAX_FRAME)
        self.notes = self._observed.notes

    def close(self) -> None:
        """Forget programs and private maps."""
        self._observed.close()

    def takes(self, place: Attachment, frame: bytes) -> bool:
        """Whether the kernel's test run takes a frame: at TC only with a whole IP header."""
        if self.path.wiring.ports[place].hook is Hook.XDP:
            return len(frame) >= 14
        header = {b"\x08\x00": 20, b"\x86\xdd": 40}.get(frame[12:14], 0)
        return len(frame) >= 14 + header

    def refusal(self, place: Attachment, frame: bytes | None) -> str:
        """Why the kernel's test run takes no such frames, "" if it does."""
        if frame is None:
            return "neither IPv4 nor IPv6, without a link-layer header"
        return "" if self.takes(place, frame) else "too short for their headers"

    def connections(self) -> Mapping[tuple[str, int], list[bytes]]:
        """The keys of the connections of all functions that track any, by function and version."""
        return {
            (name, version): [key for key, _ in found.items()]
            for name in self.path.topology.vnfs
            for version in (4, 6)
            if (found := self.path.maps.get(self.path.names.vnf(name) / f"connections{version}"))
        }

    def run(self, place: Attachment, frame: bytes) -> Run:
        """Let a frame come in by a port. Raises `InputError` for one that no test run takes."""
        program = self._observed.program(Slot(place, self.path.wiring.ports[place].hook))
        if not self.takes(place, frame):
            raise InputError(f"a frame of {len(frame)} bytes is too short to be traced at {place}")
        try:
            verdict, out, _ = bpf.prog_run(program, frame, room=_ROOM)
        except KernelError as error:
            raise InputError(
                f"a frame of {len(frame)} bytes cannot be traced at {place}: {error.message}"
            ) from error
        return Run(list(self._observed.ring.records()), verdict, out)


class Trace:
    """Frames traced through a topology and explained. To be closed."""

    def __init__(self, tracer: Tracer, known: State, route: Explain) -> None:
        topology = tracer.path.topology
        self.tracer = tracer
        self.known = known
        self.topology = topology
        self._explainer = Explainer(
            topology, known, tracer.notes, route, Flows(tracer.connections())
        )

    def frame(self, sap: str, text: str) -> bytes:
        """The frame that a text describes, as whoever is behind a SAP would send it."""
        place = Attachment(sap)
        return description.frame(text, stations.ends(self.topology, self.tracer.path.wiring, place))

    def expression(self, sap: str, text: str) -> Iterator[bytes]:
        """The frames of a Scapy expression; those without Ethernet header get the host's."""
        ends = stations.ends(self.topology, self.tracer.path.wiring, Attachment(sap))
        try:
            packets = expression.packets(text)
        except ValueError as error:
            raise InputError(f"'{text}': {error}") from error
        for packet in packets:
            yield description.complete(packet, ends)

    def capture(self, sap: str, path: Path) -> Iterator[tuple[bytes, str]]:
        """The frames of a capture; those without Ethernet header get the host's.

        Each comes with why it cannot be traced, "" if it can.
        """
        place = Attachment(sap)
        ends = stations.ends(self.topology, self.tracer.path.wiring, place)
        for packet in capture.read(path):
            if packet.link not in link.KNOWN:
                yield packet.data, f"of link type {packet.link}, which are no frames"
                continue
            frame = description.framed(packet.link, packet.data, ends)
            yield frame or packet.data, self.tracer.refusal(place, frame)

    def run(self, sap: str, frame: bytes) -> Explanation:
        """Let a frame come in by a SAP."""
        return self._explainer.explain(self.tracer.run(Attachment(sap), frame).records)

    def close(self) -> None:
        """Forget programs and private maps."""
        self.tracer.close()


def trace_of(applied: State) -> Trace:
    """For a topology that is applied, with its tables as they are."""
    topology = applied.topology()
    path = _path(topology, wire(topology, applied.ports), applied)
    tracer = Tracer(path, lambda pin: Map.open(pin) if pin.exists() else None)
    netns = partial(names.node_netns, topology.name)
    return Trace(tracer, applied, routing.running(topology, netns))


def trace_for(topology: Topology) -> Trace:
    """For a topology that is only declared."""
    ports = number_ports(topology, {})
    counters = {name: function.counters({}) for name, function in topology.vnfs.items()}
    functions = give_numbers(topology.vnfs, {})
    declared = State(topology.name, "", topology.source.text, ports, counters, functions)
    tracer = Tracer(_path(topology, wire(topology, ports), declared), None)
    return Trace(tracer, declared, routing.declared(topology))


def _path(topology: Topology, wiring: Wiring, known: State) -> FastPath:
    compiler = Compiler(headers.find())
    return FastPath(topology, wiring, compiler, None, known, composer=compose_observed)


def _bound(pin: Path, plan: MapPlan, live: Live | None, is_read: bool) -> Map:
    """The map itself where programs only read it, or one of our own with what it holds."""
    found = None if live is None or is_private(pin) else live(pin)
    if found is None:
        return plan.create()
    if is_read:
        return found
    with_content = plan.create()
    try:
        _copy(found, with_content)
    finally:
        found.close()
    return with_content


def _copy(old: Map, new: Map) -> None:
    """Let a map begin with what another holds; counters begin at 0."""
    if old.type in _COPIED:
        for key, value in old.items():
            with suppress(KernelError):  # it has become full
                new.update(key, value)
    elif old.type not in PER_CPU and old.flags & bpf.F_MMAPABLE:
        source, target = old.memory(), new.memory()
        size = min(len(source), len(target))
        target[:size] = source[:size]
        source.close()
        target.close()


def _lead_nowhere(path: FastPath) -> None:
    """Of a frame that is flooded no copies are made: those would leave also in a test run."""
    for name, function in path.topology.vnfs.items():
        found = path.maps.get(path.names.vnf(name) / "leads")
        if function.floods and found is not None:
            wanted = portleads.leads(path.topology, path.wiring, name)
            whole = portleads.packed(wanted, [0] * len(wanted))
            found.memory()[: len(whole)] = whole


def _connect(path: FastPath) -> None:
    """Have ports lead to a device, since a redirect to none is no redirect."""
    for port in path.wiring.ports.values():
        if (ports := path.maps.get(path.names.root / "ports")) is not None:
            ports[port.number] = struct.pack("=I", _LOOPBACK)
        if (devices := path.maps.get(path.names.root / "devices")) is not None:
            devices[port.number] = struct.pack("=IH6s", _LOOPBACK, 0, bytes(6))
