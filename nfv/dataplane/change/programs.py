"""Programs of a topology's ports: loaded, and put in the places of those that run."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

from nfv.chain.hook import Slot
from nfv.chain.path import Attachment
from nfv.chain.sap import Hook
from nfv.dataplane.change import observers, proglink
from nfv.dataplane.change.fastpath import FastPath
from nfv.dataplane.change.mapstore import aside, unpin
from nfv.dataplane.change.plan import Change, Element, Phase, Symbol
from nfv.dataplane.change.transaction import Step
from nfv.dataplane.kernel import bpf, netns
from nfv.dataplane.kernel.bpf import Map
from nfv.dataplane.kernel.rtnl import Link
from nfv.dataplane.wiring import MAX_PROGRAMS, Port, jump
from nfv.ebpf.compose import Unit, has_frags
from nfv.ebpf.object import Code
from nfv.ebpf.walks import MAIN
from nfv.ebpf.walks import Link as Constant

PROGRAM_PREFIX = "nfv_"

JUMPS = {Hook.XDP: "jumps", Hook.TC: "tc_jumps"}
"""Tables of tail calls: one holds programs of one type."""


class Programs:
    """How the programs of a fast path differ from those that run."""

    prefix: ClassVar[str] = PROGRAM_PREFIX
    """What the programs' names begin with."""

    def __init__(self, path: FastPath) -> None:
        self.path = path

    def changes(self, devices: Mapping[Attachment, Link]) -> Iterator[Change]:
        """Exchange the programs that are not as they must be."""
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

    def _fingerprint(self, slot: Slot, program: str) -> str | None:
        """Names a program by its code, constants and maps; None if a map is not there yet."""
        unit = self.path.units[slot]
        code = self.path.objects[unit.text].programs[program]
        idents = {}
        for name in sorted(code.names):
            found = self.path.maps.get(self.path.names.pin(unit, slot.place, name))
            if found is None:
                return None
            idents[name] = found.id
        whole = self.bound(unit, code, idents)
        return self.prefix + hashlib.sha256(whole).hexdigest()[:11]

    def bound(self, unit: Unit, code: Code, maps: Mapping[str, int]) -> bytes:
        """A program's instructions, with maps and link constants."""
        return code.bind(maps, self.links(unit))

    def links(self, unit: Unit) -> list[int]:
        """Values of a unit's link constants."""
        return [self.value(unit, link) for link in unit.links]

    def value(self, unit: Unit, link: Constant) -> int:
        """What a link constant of a unit stands for."""
        node, interface = link.attachment.node, link.attachment.interface
        if link.kind in self.path.constants:
            return self.path.constants[link.kind]
        if link.kind == "function":
            return self.path.numbers[node]
        if link.kind == "interface":
            return list(self.path.topology.vnfs[node].interfaces).index(str(interface))
        if link.kind == "stage":
            return link.stage
        if link.kind == "constant":
            return self.path.function_constants(node)[link.program]
        number = self.path.wiring.ports[link.attachment].number
        ordinal = unit.programs.index(link.program) if link.program in unit.programs else 0
        return jump(number, ordinal) if link.kind == "program" else number

    def _misfit(self, place: Attachment, port: Port, device: Link | None) -> str:
        """Why the programs of a port are not those that must run; nothing if they are."""
        pin = self.path.names.link(place)
        if device is None or not pin.exists():
            return "program is not attached"
        hook = proglink.hook_of(pin)
        if hook is not port.hook:
            return f"hook {hook.value} -> {port.hook.value}" if hook else "hook"
        link = bpf.obj_get(pin)
        try:
            ident, index = bpf.link_info(link)
        finally:
            os.close(link)
        if index != device.index or (hook is Hook.XDP and device.xdp_prog_id != ident):
            return "program is not attached"
        if jump_target(self._jumps(hook), jump(port.number)) != ident:
            return "program"
        return "" if all(self._fits(Slot(place, each), port.number) for each in Hook) else "program"

    def _fits(self, slot: Slot, number: int) -> bool:
        """Whether the programs that others jump to are those that a port must have for a hook."""
        jumps = self._jumps(slot.hook)
        if slot not in self.path.units:
            return jump_target(jumps, jump(number)) is None
        for ordinal, program in enumerate(self.path.units[slot].programs):
            found = jump_target(jumps, jump(number, ordinal))
            if found is None or self._name(slot.hook, number, found) != self._fingerprint(
                slot, program
            ):
                return False
        return True

    def _name(self, hook: Hook, number: int, ident: int) -> str | None:
        """The name of a program of a port; of an observed one, that of the one it stands for."""
        found = program_name(ident)
        if not found.startswith(observers.PREFIX):
            return found
        return observers.stands_for(self.path.topology.name, hook, number)

    def _jumps(self, hook: Hook) -> Map | None:
        """The table of tail calls for a hook, if any program is for it."""
        return self.path.maps.get(self.path.names.root / JUMPS[hook])

    def _slots(self, place: Attachment) -> list[Slot]:
        return [slot for slot in self.path.units if slot.place == place]

    def load(self, places: Sequence[Attachment]) -> None:
        """Load all programs, several at once; nothing is attached yet."""

        def load(wanted: tuple[Slot, str]) -> int:
            slot, program = wanted
            unit = self.path.units[slot]
            code = self.path.objects[unit.text].programs[program]
            fds = {
                name: self.path.maps[self.path.names.pin(unit, slot.place, name)].fd
                for name in code.names
            }
            name = self._fingerprint(slot, program)
            assert name is not None
            whole = self.bound(unit, code, fds)
            type_, flags = proglink.PROGRAM_TYPES[slot.hook], self.load_flags(slot.hook)
            try:
                return bpf.prog_load(whole, name, type_=type_, flags=flags)
            except bpf.VerifierError as error:
                if not error.log:  # refused before it was looked at
                    raise
                raise self.path.compiler.explain(unit.text, program, error.log) from error

        wanted = [
            (slot, program)
            for place in places
            for slot in self._slots(place)
            for program in self.path.units[slot].programs
        ]
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            self.path.programs.update(zip(wanted, pool.map(load, wanted), strict=True))

    def load_flags(self, hook: Hook) -> int:
        """What the kernel is told of a program when it is loaded."""
        return bpf.F_XDP_HAS_FRAGS if hook is Hook.XDP and has_frags(self.path.topology) else 0

    def _exchange(self, place: Attachment, port: Port) -> Iterator[Step]:
        """Put a port's programs in the places of those that run; first what it may jump to."""
        for slot in self._slots(place):
            for program in reversed(self.path.units[slot].programs):
                yield self._exchange_jump(slot, port, program)
        pin = self.path.names.link(place)
        main = Slot(place, port.hook), MAIN
        exchanged: list[int] = []  # the program that ran before, where the link stays
        moved: list[tuple[Hook, int]] = []  # the one that ran at the device's other hook

        def do() -> None:
            with netns.entered(port.outer.netns):
                index = proglink.ifindex(port.outer)
                former = proglink.running(pin, index, port.hook)
                if former is not None:
                    self.path.held.append(former)
                    proglink.update(pin, self.path.programs[main])
                    exchanged.append(former)
                    return
                moved.extend(self._elsewhere(pin, index))
                proglink.detach(aside(pin))  # of a change that was killed; maybe from this device
                if pin.exists():
                    os.replace(pin, aside(pin))
                proglink.attach(self.path.programs[main], index, port.hook, pin)
                if moved:
                    proglink.detach(aside(pin))

        def undo() -> None:
            if exchanged:
                proglink.update(pin, exchanged[0])
            elif moved:
                os.replace(pin, aside(pin))
                with netns.entered(port.outer.netns):
                    hook, former = moved[0]
                    proglink.attach(former, proglink.ifindex(port.outer), hook, pin)
                proglink.detach(aside(pin))
            elif aside(pin).exists():
                os.replace(aside(pin), pin)
            else:
                unpin(pin)

        yield Step(f"run program of {place}", do, undo)

    def _elsewhere(self, pin: Path, index: int) -> Iterator[tuple[Hook, int]]:
        """What runs at another hook of a device, by ifindex of this namespace."""
        hook = proglink.hook_of(pin)
        former = proglink.running(pin, index, hook) if hook else None
        if hook is not None and former is not None:
            self.path.held.append(former)
            yield hook, former

    def _exchange_jump(self, slot: Slot, port: Port, program: str) -> Step:
        target = jump(port.number, self.path.units[slot].programs.index(program))
        key = struct.pack("=I", target)
        former: list[int] = []

        def jumps() -> Map:
            return self.path.maps[self.path.names.root / JUMPS[slot.hook]]

        def do() -> None:
            ident = jump_target(jumps(), target)
            if ident is not None:
                former.append(bpf.prog_open(ident))
                self.path.held += former
            jumps().update(key, struct.pack("=I", self.path.programs[slot, program]))

        def undo() -> None:
            if former:
                jumps().update(key, struct.pack("=I", former[0]))
            else:
                jumps().delete(key)

        return Step(f"prepare program of {slot.place}", do, undo)

    def _forget_former(self, place: Attachment) -> Step:
        """Of a port whose walk has become shorter, free the programs that went on for it."""
        number, title = self.path.wiring.ports[place].number, f"forget former programs of {place}"
        counts = {slot.hook: len(self.path.units[slot].programs) for slot in self._slots(place)}

        def do() -> None:
            for hook in Hook:
                self._forget_programs(hook, number, counts.get(hook, 0))

        return Step(title, do)

    def _forget_programs(self, hook: Hook, number: int, first: int) -> None:
        """Clear the places of a port's programs from some ordinal on."""
        jumps = self._jumps(hook)
        if jumps is not None:
            for ordinal in range(first, MAX_PROGRAMS):
                jumps.delete(struct.pack("=I", jump(number, ordinal)))

    def forget_port(self, number: int) -> None:
        """Nothing leads to the walks of the number any more."""
        for hook in Hook:
            self._forget_programs(hook, number, 0)


def jump_target(jumps: Map | None, place: int) -> int | None:
    """The kernel's number of the program at a place in a table of tail calls."""
    value = jumps.lookup(struct.pack("=I", place)) if jumps else None
    return struct.unpack("=I", value)[0] if value is not None else None


def program_name(ident: int) -> str:
    """The name of a program, by the kernel's number for it."""
    fd = bpf.prog_open(ident)
    try:
        return bpf.prog_info(fd)[1]
    finally:
        os.close(fd)
