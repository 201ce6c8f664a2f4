"""Programs of a topology's ports: loaded, and put in the places of those that run."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from nfv.chain.path import Attachment
from nfv.dataplane import bpf, netns, paths, xdplink
from nfv.dataplane.bpf import Map
from nfv.dataplane.mapstore import aside, unpin
from nfv.dataplane.plan import Change, Element, Phase, Symbol
from nfv.dataplane.rtnl import Link
from nfv.dataplane.transaction import Step
from nfv.dataplane.wiring import MAX_PROGRAMS, Port, jump
from nfv.ebpf.compose import Unit, has_frags
from nfv.ebpf.walks import MAIN

if TYPE_CHECKING:
    from nfv.dataplane.fastpath import FastPath

PROGRAM_PREFIX = "nfv_"


class Programs:
    """How the ports and programs of a fast path differ from what runs."""

    def __init__(self, path: FastPath) -> None:
        self.path = path

    def changes(self, devices: Mapping[Attachment, Link]) -> Iterator[Change]:
        """Connect the ports, and exchange the programs that are not as they must be."""
        for place, port in self.path.wiring.ports.items():
            yield from self._connect(place, port, devices.get(place))
        yield from self._exchange_all(devices)

    def _connect(self, place: Attachment, port: Port, device: Link | None) -> Iterator[Change]:
        """Where a port's number leads to."""
        ports = self.path.maps.get(self.path.names.root / "ports")
        key = struct.pack("=I", port.number)
        former = ports.lookup(key) if ports else None
        if device is not None and former == struct.pack("=I", device.index):
            return

        known = self.path.before is not None and str(place) in self.path.before.ports

        def do() -> None:
            if not known:  # the number may have been another port's
                root = self.path.names.root
                counted = paths.read(root).sent[port.number]
                self.path.maps[root / "sent"][port.number] = paths.deduct(counted)
            with netns.entered(port.outer.netns):  # where the kernel looks the index up
                index = struct.pack("=I", xdplink.ifindex(port))
                self.path.maps[self.path.names.root / "ports"].update(key, index)

        def undo() -> None:
            found = self.path.maps[self.path.names.root / "ports"]
            if former is None:
                found.delete(key)
                return
            with netns.entered(self._former_netns(place, port)):
                found.update(key, former)

        yield Change(
            self.path.element(place),
            Symbol.CHANGE if known else Symbol.ADD,
            f"port {place} leads nowhere" if known and former is None else "",
            steps=[(Phase.PROGRAM, Step(f"connect port {place}", do, undo))],
        )

    def _former_netns(self, place: Attachment, port: Port) -> str | None:
        """Where the device of a port was, which its ifindex counts in."""
        former = self.path.old_wiring.ports.get(place) if self.path.old_wiring else None
        return (former or port).outer.netns

    def _exchange_all(self, devices: Mapping[Attachment, Link]) -> Iterator[Change]:
        reasons = {
            place: self._misfit(place, port, devices.get(place))
            for place, port in self.path.wiring.ports.items()
        }
        stale = [place for place, reason in reasons.items() if reason]
        if not stale:
            return
        title = f"load programs of {len(stale)} ports"
        load = Step(title, lambda: self.load(stale), self.path.forget_flows)
        yield Change(
            Element("topology", self.path.topology.name),
            Symbol.CHANGE if self.path.before else Symbol.ADD,
            steps=[(Phase.PROGRAM, load)],
        )
        forget = Step("forget flows", self.path.forget_flows)
        for place in stale:
            steps = [
                (Phase.PROGRAM, step)
                for step in self._exchange(place, self.path.wiring.ports[place])
            ]
            if self.path.before is None or str(place) not in self.path.before.ports:
                yield Change(self.path.element(place), Symbol.ADD, steps=steps)
            else:
                reason = reasons[place]
                steps.append((Phase.PURGE, self._forget_former(place)))
                yield Change(
                    self.path.element(place), Symbol.CHANGE, reason, reload=True, steps=steps
                )
        yield Change(
            Element("topology", self.path.topology.name),
            Symbol.CHANGE if self.path.before else Symbol.ADD,
            steps=[(Phase.PROGRAM, forget)],
        )

    def _fingerprint(self, place: Attachment, program: str) -> str | None:
        """Names a program by its code, constants and maps; None if a map is not there yet."""
        unit = self.path.units[place]
        code = self.path.objects[unit.text].programs[program]
        idents = {}
        for name in sorted(code.names):
            found = self.path.maps.get(self.path.names.pin(unit, place, name))
            if found is None:
                return None
            idents[name] = found.id
        whole = code.bind(idents, self.links(unit))
        return PROGRAM_PREFIX + hashlib.sha256(whole).hexdigest()[:11]

    def links(self, unit: Unit) -> list[int]:
        """Values of a unit's link constants."""
        values = []
        for link in unit.links:
            node, interface = link.attachment.node, link.attachment.interface
            if link.kind in self.path.constants:
                values.append(self.path.constants[link.kind])
            elif link.kind == "function":
                values.append(self.path.numbers[node])
            elif link.kind == "interface":
                values.append(list(self.path.topology.vnfs[node].interfaces).index(str(interface)))
            elif link.kind == "stage":
                values.append(link.stage)
            elif link.kind == "constant":
                values.append(self.path.function_constants(node)[link.program])
            else:
                number = self.path.wiring.ports[link.attachment].number
                ordinal = unit.programs.index(link.program) if link.program in unit.programs else 0
                values.append(jump(number, ordinal) if link.kind == "program" else number)
        return values

    def _misfit(self, place: Attachment, port: Port, device: Link | None) -> str:
        """Why the programs of a port are not those that must run; nothing if they are."""
        pin = self.path.names.link(place)
        if device is None or not pin.exists():
            return "program is not attached"
        link = bpf.obj_get(pin)
        try:
            ident, index = bpf.link_info(link)
        finally:
            os.close(link)
        if index != device.index or device.xdp_prog_id != ident:
            return "program is not attached"
        jumps = self.path.maps.get(self.path.names.root / "jumps")
        for ordinal, program in enumerate(self.path.units[place].programs):
            found = _jump_target(jumps, jump(port.number, ordinal))
            if found is None or _program_name(found) != self._fingerprint(place, program):
                return "program"
        return "" if _jump_target(jumps, jump(port.number)) == ident else "program"

    def load(self, places: Sequence[Attachment]) -> None:
        """Load all programs, several at once; nothing is attached yet."""

        def load(wanted: tuple[Attachment, str]) -> int:
            place, program = wanted
            unit = self.path.units[place]
            code = self.path.objects[unit.text].programs[program]
            fds = {
                name: self.path.maps[self.path.names.pin(unit, place, name)].fd
                for name in code.names
            }
            name = self._fingerprint(place, program)
            assert name is not None
            flags = bpf.F_XDP_HAS_FRAGS if has_frags(self.path.topology) else 0
            try:
                return bpf.prog_load(code.bind(fds, self.links(unit)), name, flags=flags)
            except bpf.VerifierError as error:
                if not error.log:  # refused before it was looked at
                    raise
                raise self.path.compiler.explain(unit.text, program, error.log) from error

        wanted = [
            (place, program) for place in places for program in self.path.units[place].programs
        ]
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            self.path.programs.update(zip(wanted, pool.map(load, wanted), strict=True))

    def _exchange(self, place: Attachment, port: Port) -> Iterator[Step]:
        """Put a port's programs in the places of those that run; first what it may jump to."""
        for program in reversed(self.path.units[place].programs):
            yield self._exchange_jump(place, port, program)
        pin = self.path.names.link(place)
        exchanged: list[int] = []  # the program that ran before, where the link stays

        def do() -> None:
            with netns.entered(port.outer.netns):
                index = xdplink.ifindex(port)
                former = xdplink.running(pin, index)
                if former is not None:
                    self.path.held.append(former)
                    xdplink.update(pin, self.path.programs[place, MAIN])
                    exchanged.append(former)
                    return
                xdplink.detach(aside(pin))  # of a change that was killed; maybe from this device
                if pin.exists():
                    os.replace(pin, aside(pin))
                xdplink.attach(self.path.programs[place, MAIN], index, pin)

        def undo() -> None:
            if exchanged:
                xdplink.update(pin, exchanged[0])
                return
            if aside(pin).exists():
                os.replace(aside(pin), pin)
            else:
                unpin(pin)

        yield Step(f"run program of {place}", do, undo)

    def _exchange_jump(self, place: Attachment, port: Port, program: str) -> Step:
        target = jump(port.number, self.path.units[place].programs.index(program))
        key = struct.pack("=I", target)
        former: list[int] = []

        def jumps() -> Map:
            return self.path.maps[self.path.names.root / "jumps"]

        def do() -> None:
            ident = _jump_target(jumps(), target)
            if ident is not None:
                former.append(bpf.prog_open(ident))
                self.path.held += former
            jumps().update(key, struct.pack("=I", self.path.programs[place, program]))

        def undo() -> None:
            if former:
                jumps().update(key, struct.pack("=I", former[0]))
            else:
                jumps().delete(key)

        return Step(f"prepare program of {place}", do, undo)

    def _forget_former(self, place: Attachment) -> Step:
        """Of a port whose walk has become shorter, free the programs that went on for it."""
        number, count = self.path.wiring.ports[place].number, len(self.path.units[place].programs)
        title = f"forget former programs of {place}"
        return Step(title, lambda: self._forget_programs(number, count))

    def _forget_programs(self, number: int, first: int) -> None:
        """Clear the places of a port's programs from some ordinal on."""
        jumps = self.path.maps[self.path.names.root / "jumps"]
        for ordinal in range(first, MAX_PROGRAMS):
            jumps.delete(struct.pack("=I", jump(number, ordinal)))

    def forget_port(self, number: int) -> None:
        """Nothing leads to the number any more."""
        self._forget_programs(number, 0)
        self.path.maps[self.path.names.root / "ports"].delete(struct.pack("=I", number))


def _jump_target(jumps: Map | None, place: int) -> int | None:
    value = jumps.lookup(struct.pack("=I", place)) if jumps else None
    return struct.unpack("=I", value)[0] if value is not None else None


def _program_name(ident: int) -> str:
    fd = bpf.prog_open(ident)
    try:
        return bpf.prog_info(fd)[1]
    finally:
        os.close(fd)
