"""Runs frames through the compiled programs of a topology, with no device and no pin.

The maps and programs are those that the data plane makes; what the agent would learn from the
kernel (interfaces, routes, neighbours) is written from the topology itself. `Bench.run` gives back
what a frame became, where it left, and everything that was counted for it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scapy.packet import Packet

from nfv.chain.graph import is_service, ports
from nfv.chain.hook import Hooks, Slot
from nfv.chain.path import Attachment
from nfv.chain.sap import Hook
from nfv.chain.topology import Topology, loads
from nfv.dataplane import epoch, paths
from nfv.dataplane.change.fastpath import FastPath
from nfv.dataplane.change.mapstore import FunctionMaps
from nfv.dataplane.change.portleads import leads, packed
from nfv.dataplane.change.proglink import PROGRAM_TYPES
from nfv.dataplane.change.programs import Programs
from nfv.dataplane.kernel import bpf, headers
from nfv.dataplane.kernel.bpf import Map, MapType
from nfv.dataplane.paths import Paths
from nfv.dataplane.state import State
from nfv.dataplane.wiring import give_numbers, jump, number_ports, wire
from nfv.ebpf import sources, tables
from nfv.ebpf.compiler import Compiler
from nfv.ebpf.compose import classifier_patterns
from tests.functions.routing import RouterTables, fill_from_topology

LOOPBACK = 1  # ifindex: a port must lead to some device, but test runs send nothing
MAX_FRAME = 16384
REASONS = 64  # more than there are

_VERDICTS = {bpf.TC_ACT_SHOT: bpf.XDP_DROP, bpf.TC_ACT_REDIRECT: bpf.XDP_REDIRECT}

Count = tuple[int, int]
"""Packets and bytes."""

Counts = Mapping[tuple[str, ...], Count]
"""By what was counted: ("received", port, reason), ("sent", port), ("reason", VNF, reason), or
("rule", VNF, rule)."""


@dataclass(frozen=True)
class Outcome:
    """What became of one frame."""

    egress: str | None  # port that it left by; None: dropped
    frame: bytes  # as the program left it
    reason: str  # that ended the walk at the entry it came in by; the first one, if it was rejected
    counted: Counts


class Bench:
    """The programs of one topology, loaded."""

    def __init__(self, text: str, *, hook: Hook = Hook.XDP) -> None:
        self.topology: Topology = loads(text)
        self.hook = hook
        self.wiring = wire(
            self.topology, number_ports(self.topology, {}), every_port(self.topology, hook)
        )
        self.counters = {
            name: dict(function.counters({})) for name, function in self.topology.vnfs.items()
        }
        numbers = number_ports(self.topology, {})
        self.numbers = give_numbers(self.topology.vnfs, {})
        applied = State(self.topology.name, "", text, numbers, self.counters, self.numbers)
        self._fastpath = FastPath(
            self.topology, self.wiring, Compiler(headers.find()), None, applied
        )
        self._make_maps()
        self._fill()
        self._load()

    # Setting up ----------------------------------------------------------------------------------

    def _make_maps(self) -> None:
        path = self._fastpath
        for pin, plan in path.plans.items():
            path.maps[pin] = plan.create()

    def _fill(self) -> None:
        path = self._fastpath
        for name, function in self.topology.vnfs.items():
            if any(pin.parent == path.names.vnf(name) for pin in path.plans):
                function.fill(self.function_maps(name), self.counters[name], {})
        for (place, _hook), unit in path.units.items():
            if "c0" in unit.instances:
                maps = self._maps_in(path.names.port(place))
                tables.publish(maps.memory("matcher"), classifier_patterns(unit.walks))
        self.routers = {
            name: RouterTables(self.topology, self.wiring, name, self.function_maps(name))
            for name, function in self.topology.vnfs.items()
            if function.next_hops
        }
        for router in self.routers.values():
            fill_from_topology(router)

    def _load(self) -> None:
        path = self._fastpath
        Programs(path).load(list(self.wiring.ports))
        for (slot, program), fd in path.programs.items():
            number = self.wiring.ports[slot.place].number
            table = "tc_jumps" if slot.hook is Hook.TC else "jumps"
            if (jumps := self._shared(table)) is not None:
                ordinal = path.units[slot].programs.index(program)
                jumps[jump(number, ordinal)] = struct.pack("=I", fd)
        for name, function in self.topology.vnfs.items():
            if function.floods:
                wanted = leads(self.topology, self.wiring, name)
                whole = packed(wanted, [LOOPBACK] * len(wanted))
                self.map_of(name, "leads").memory()[: len(whole)] = whole
        for port in self.wiring.ports.values():
            if (devices := self._shared("ports")) is not None:
                devices[port.number] = struct.pack("=I", LOOPBACK)

    def close(self) -> None:
        """Forget the programs and maps."""
        for fd in self._fastpath.programs.values():
            os.close(fd)
        for found in self._fastpath.maps.values():
            found.close()

    # Maps ----------------------------------------------------------------------------------------

    def _maps_in(self, directory: Path) -> FunctionMaps:
        return FunctionMaps(directory, self._fastpath.maps, self._fastpath.plans, 0)

    def function_maps(self, vnf: str) -> FunctionMaps:
        """The maps of a function, as its Python writes them."""
        return self._maps_in(self._fastpath.names.vnf(vnf))

    def map_of(self, vnf: str, name: str) -> Map:
        """A map of a function."""
        return self._fastpath.maps[self._fastpath.names.vnf(vnf) / name]

    def _shared(self, name: str) -> Map | None:
        return self._fastpath.maps.get(self._fastpath.names.root / name)

    def shared(self, name: str) -> Map:
        """A map that all programs of the topology have: "packets", "rejects", ..."""
        found = self._shared(name)
        assert found is not None, f"no program has a map nf_{name}"
        return found

    def configure(self, vnf: str, text: str) -> None:
        """Change a function's tables to what another topology says of it; programs stay."""
        function = loads(text).vnfs[vnf]
        before = self.counters[vnf]
        self.counters[vnf] = dict(function.counters(before))
        function.fill(self.function_maps(vnf), self.counters[vnf], before)

    def clear(self) -> None:
        """Forget connections, datagrams and how many answers were given."""
        for pin, found in self._fastpath.maps.items():
            if found.type in (MapType.HASH, MapType.LRU_HASH):
                for key, _value in list(found.items()):
                    found.delete(key)
            elif pin.name == "rejects":
                found[0] = bytes(found.entry_size)
        self.forget_flows()

    def forget_flows(self) -> None:
        """Begin another epoch: every packet walks."""
        if (epochs := self._shared("epoch")) is not None:
            epoch.advance(epochs)

    # Running -------------------------------------------------------------------------------------

    def mac(self, place: str) -> str:
        """MAC address behind a port: of the SAP's host, or of the router's interface."""
        mac = self.wiring.ports[Attachment.parse(place)].mac
        assert mac is not None
        return mac

    def takes(self, frame: bytes) -> bool:
        """Whether the kernel's test run takes a frame: at TC only with a whole IP header."""
        if self.hook is Hook.XDP:
            return True
        header = {b"\x08\x00": 20, b"\x86\xdd": 40}.get(frame[12:14], 0)
        return len(frame) >= 14 + header

    def execute(self, place: str, frame: bytes, context: bytes | None = None) -> tuple[int, bytes]:
        """Run a frame; return the verdict (XDP_*, at either hook) and what the frame became."""
        at = Attachment.parse(place)
        slot = Slot(at, self.wiring.ports[at].hook)
        fd = self._fastpath.programs[slot, "nfv_entry"]
        verdict, out, _ = bpf.prog_run(fd, frame, context=context, room=MAX_FRAME)
        if slot.hook is Hook.TC:
            verdict = _VERDICTS[verdict]
        assert verdict in (bpf.XDP_DROP, bpf.XDP_REDIRECT), f"verdict {verdict}"
        return verdict, out

    def run(self, place: str, frame: Packet | bytes, context: bytes | None = None) -> Outcome:
        """Let a frame come in by a port; `context` as for `bpf.prog_run`."""
        before = dict(self._counts())
        verdict, out = self.execute(place, bytes(frame), context)
        counted = {
            key: (now[0] - before.get(key, (0, 0))[0], now[1] - before.get(key, (0, 0))[1])
            for key, now in self._counts()
            if now != before.get(key, (0, 0))
        }
        left = [key[1] for key in counted if key[0] == "sent"]
        assert len(left) == (verdict == bpf.XDP_REDIRECT), f"verdict {verdict}, sent by {left}"
        reasons = [key[2] for key in counted if key[:2] == ("received", place)]
        reason = reasons[0] if len(reasons) == 1 else "rejected"
        return Outcome(left[0] if left else None, out, reason, counted)

    def verify(self, slot: Slot, program: str) -> tuple[int, str]:
        """How many instructions a program has, and what the verifier says of them at its end."""
        path = self._fastpath
        unit = path.units[slot]
        code = path.objects[unit.text].programs[program]
        pins = {name: path.names.pin(unit, slot.place, name) for name in code.names}
        fds = {name: path.maps[pin].fd for name, pin in pins.items()}
        programs, type_ = Programs(path), PROGRAM_TYPES[slot.hook]
        bound, flags = code.bind(fds, programs.links(unit)), programs.load_flags(slot.hook)
        passed, log = bpf.verifier_log(bound, program, type_=type_, flags=flags, level=4)
        assert passed, log
        return len(code.insns) // 8, log

    def _counts(self) -> Iterator[tuple[tuple[str, ...], Count]]:
        path, known = self._fastpath, self.known()
        sent = self.shared("sent")
        for place, port in self.wiring.ports.items():
            name, received = str(place), path.maps[path.names.port(place) / "received"]
            yield ("sent", name), _plus(_sum(sent[port.number]), known.sent[port.number])
            yield from _by_reason(("received", name), received, known.received[port.number])
        for vnf, places in self.counters.items():
            own, numbered = path.names.vnf(vnf), self.numbers[vnf]
            if own / "reasons" not in path.maps:
                continue  # in no chain
            whole = known.passed[numbered] if self.topology.vnfs[vnf].interfaces else (0, 0)
            yield from _by_reason(("reason", vnf), path.maps[own / "reasons"], whole)
            for rule, index in places.items():
                counted = _sum(path.maps[own / "counters"][index])
                yield ("rule", vnf, rule), _plus(counted, known.counted[numbered, index])

    def matched(self, vnf: str) -> Mapping[str, int]:
        """How many packets each rule of a function has counted."""
        counts = dict(self._counts())
        return {rule: counts["rule", vnf, rule][0] for rule in self.counters[vnf]}

    def known(self) -> Paths:
        """What packets of known flows add to the counters."""
        if (known := self._shared("paths")) is None:
            return Paths()
        return paths.collect(known, self.shared("actions"))


def every_port(topology: Topology, hook: Hook) -> Hooks:
    """The same hook at all ports but the taps of services, which have XDP."""
    return {place: Hook.XDP if is_service(topology, place) else hook for place in ports(topology)}


def _by_reason(
    key: tuple[str, str], counters: Map, forwarded: Count
) -> Iterator[tuple[tuple[str, ...], Count]]:
    names = sources.reasons()
    for index, (_, value) in enumerate(counters.items(batch=REASONS)):
        if index in names:
            name = names[index][0]
            yield (*key, name), _plus(_sum(value), forwarded if name == "forwarded" else (0, 0))


def _plus(a: Count, b: Count) -> Count:
    return a[0] + b[0], a[1] + b[1]


def _sum(values: bytes) -> Count:
    """Of struct nf_counter on all CPUs."""
    found = list(struct.iter_unpack("=QQ", values))
    return sum(packets for packets, _ in found), sum(octets for _, octets in found)


def number(value: int | bytes) -> int:
    """A member of a struct that is a number."""
    assert isinstance(value, int)
    return value
