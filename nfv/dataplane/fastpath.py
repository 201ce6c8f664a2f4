"""Programs and maps of a topology: how they differ from what runs, and how to exchange them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nfv.chain.graph import Entry, entries
from nfv.chain.path import Attachment
from nfv.chain.topology import Topology
from nfv.dataplane import bpf, epoch, netns, paths
from nfv.dataplane.bpf import Map
from nfv.dataplane.mapstore import (
    LINK,
    Carried,
    FunctionMaps,
    MapNames,
    MapPlan,
    carry,
    carry_rest,
    matches,
    open_map,
)
from nfv.dataplane.plan import Change, Element, Phase, Symbol
from nfv.dataplane.rtnl import Link
from nfv.dataplane.state import State
from nfv.dataplane.transaction import Step
from nfv.dataplane.wiring import MAX_PROGRAMS, Port, Wiring, jump
from nfv.ebpf import tables
from nfv.ebpf.compiler import Compiler
from nfv.ebpf.compose import Unit, classifier_patterns, compose, has_frags
from nfv.ebpf.object import Object
from nfv.ebpf.walks import MAIN
from nfv.errors import KernelError

PROGRAM_PREFIX = "nfv_"
_ASIDE = "_old"  # what a pin's name ends with while another has its place


class FastPath:
    """What the chains of one topology need in the kernel, and what of it is there."""

    def __init__(
        self,
        topology: Topology,
        wiring: Wiring,
        compiler: Compiler,
        before: State | None,
        after: State,
        old_wiring: Wiring | None = None,
    ) -> None:
        self.topology = topology
        self.wiring = wiring
        self.compiler = compiler
        self.before = before
        self.former = before.topology() if before else None
        self.counters = after.counters
        self.numbers = after.functions
        self.old_wiring = old_wiring
        self.unsure = before is not None and before.changing
        self.names = MapNames(topology)
        self.graph: Mapping[Attachment, Entry] = entries(topology)
        self.units: dict[Attachment, Unit] = {
            place: compose(topology, self.graph, entry) for place, entry in self.graph.items()
        }
        self.objects: dict[str, Object] = compiler.compile(
            unit.text for unit in self.units.values()
        )
        self.plans: dict[Path, MapPlan] = self.names.plans(self.units, self.objects)
        self.maps: dict[Path, Map] = {}
        self.programs: dict[tuple[Attachment, str], int] = {}
        self.replaced: dict[Path, Map] = {}  # what was pinned where another map must be
        self._carried: dict[Path, Carried] = {}
        self._held: list[int] = []  # programs that run, for undoing

    def close(self) -> None:
        """Give all descriptors back; what is pinned or attached stays."""
        for found in [*self.maps.values(), *self.replaced.values()]:
            found.close()
        for descriptor in [*self.programs.values(), *self._held]:
            os.close(descriptor)
        self.programs, self._held = {}, []

    # Differences ---------------------------------------------------------------------------------

    def changes(self, devices: Mapping[Attachment, Link]) -> Iterator[Change]:
        """Everything about maps, their content and programs that is not as declared.

        `devices` are those of the ports that are there and stay.
        """
        yield from self._map_changes()
        yield from self._table_changes()
        for place, port in self.wiring.ports.items():
            yield from self._port_changes(place, port, devices.get(place))
        yield from self._program_changes(devices)
        yield from self._surplus()

    def _map_changes(self) -> Iterator[Change]:
        found = {pin: open_map(pin) for pin in self.plans}
        unfit = {
            pin: _misfit(there, self.plans[pin])
            for pin, there in found.items()
            if there is None or not matches(there, self.plans[pin])
        }
        # The tables of one instance refer to each other: all are replaced, or none.
        torn = {pin.parent for pin in unfit if not self.plans[pin].keep}
        for pin, plan in self.plans.items():
            there = found[pin]
            if pin not in unfit and (plan.keep or pin.parent not in torn):
                assert there is not None
                self.maps[pin] = there
                continue
            if there is not None:
                self.replaced[pin] = there
            element = self._element_of(pin)
            steps = [(Phase.MAP, self._make_map(plan))]
            if plan.keep and there is not None:
                steps.append((Phase.SETTLE, self._carry_rest(plan)))
            symbol = Symbol.CHANGE if self._is_known(element) else Symbol.ADD
            reason = unfit.get(pin, "") if symbol is Symbol.CHANGE else ""
            yield Change(element, symbol, reason, steps=steps)

    def _is_known(self, element: Element) -> bool:
        """Whether the element was there before the change."""
        if self.former is None:
            return False
        names = {"sap": self.former.saps, "vnf": self.former.vnfs, "topology": {self.former.name}}
        return element.name in names[element.kind]

    def _element_of(self, pin: Path) -> Element:
        parent = pin.parent
        if parent.parent.name == "vnf":
            return Element("vnf", parent.name)
        if parent.parent.name == "port":
            return self._element(Attachment.parse(parent.name))
        return Element("topology", self.topology.name)

    def _element(self, place: Attachment) -> Element:
        return Element("sap" if place.node in self.topology.saps else "vnf", place.node)

    def _make_map(self, plan: MapPlan) -> Step:
        pin, aside = plan.pin, _aside(plan.pin)

        def do() -> None:
            pin.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = plan.create()
            old = self.replaced.get(pin)
            if old is not None:
                if plan.keep:
                    self._carried[pin] = carry(old, fresh)
                os.replace(pin, aside)
            fresh.pin(pin)
            self.maps[pin] = fresh

        def undo() -> None:
            fresh = self.maps.pop(pin)
            pin.unlink()
            old = self.replaced.get(pin)
            if old is not None:
                os.replace(aside, pin)
                if plan.keep:
                    carry_rest(fresh, old, {})
            fresh.close()

        return Step(f"make map {pin.parent.name} {pin.name}", do, undo)

    def _carry_rest(self, plan: MapPlan) -> Step:
        def do() -> None:
            pin = plan.pin
            carry_rest(self.replaced[pin], self.maps[pin], self._carried[pin])

        return Step(f"carry {plan.pin.parent.name} {plan.pin.name} over", do)

    def _table_changes(self) -> Iterator[Change]:
        for name, function in self.topology.vnfs.items():
            directory = self.names.vnf(name)
            if not any(pin.parent == directory for pin in self.plans):
                continue
            former = self.former.vnfs.get(name) if self.former else None
            whole = self._has_tables(directory)
            if whole and former == function and not self.unsure:
                continue
            differs = former is not None and former != function
            yield Change(
                Element("vnf", name),
                Symbol.CHANGE if former else Symbol.ADD,
                _difference(former, function) if differs else "",
                steps=[(Phase.TABLE, self._fill(name, former if whole else None))],
            )
        for place, unit in self.units.items():
            yield from self._classifier_change(place, unit)

    def _has_tables(self, directory: Path) -> bool:
        """Whether the maps that an instance's configuration is written to are there."""
        tables_ = [pin for pin, plan in self.plans.items() if not plan.keep]
        return all(pin in self.maps for pin in tables_ if pin.parent == directory)

    def _fill(self, name: str, former: Any) -> Step:
        directory = self.names.vnf(name)
        before = dict(self.before.counters.get(name, {})) if self.before else {}
        function, counters = self.topology.vnfs[name], self.counters.get(name, {})
        number = self.numbers[name]

        def do() -> None:
            function.fill(self._function_maps(directory, number), counters, before)
            self._forget_flows()

        def undo() -> None:
            former.fill(self._function_maps(directory, number), before, counters)
            self._forget_flows()

        return Step(f"fill tables of {name}", do, undo if former else None)

    def _function_maps(self, directory: Path, number: int = 0) -> FunctionMaps:
        return FunctionMaps(directory, self.maps, self.plans, number)

    def _forget_flows(self) -> None:
        """What is remembered of flows was found out with other tables or programs."""
        epochs = self.maps.get(self.names.root / "epoch")
        if epochs is not None:
            epoch.advance(epochs)

    def _classifier_change(self, place: Attachment, unit: Unit) -> Iterator[Change]:
        if "c0" not in unit.instances:
            return
        patterns = classifier_patterns(unit.walks)
        directory = self.names.port(place)
        former = self._former_patterns(place)
        whole = self._has_tables(directory)
        if former == patterns and whole and not self.unsure:
            return

        def fill(wanted: Sequence[Any]) -> Callable[[], None]:
            def call() -> None:
                tables.publish(self._function_maps(directory), wanted, {})
                self._forget_flows()

            return call

        undo = fill(former) if former is not None and whole else None
        step = Step(f"fill classifier of {place}", fill(patterns), undo)
        symbol = Symbol.CHANGE if former is not None else Symbol.ADD
        yield Change(self._element(place), symbol, "classifier", steps=[(Phase.TABLE, step)])

    def _former_patterns(self, place: Attachment) -> list[Any] | None:
        if self.former is None:
            return None
        entry = entries(self.former).get(place)
        return classifier_patterns(entry.walks) if entry else None

    # Ports ---------------------------------------------------------------------------------------

    def _port_changes(self, place: Attachment, port: Port, device: Link | None) -> Iterator[Change]:
        """Where a port's number leads to."""
        ports = self.maps.get(self.names.root / "ports")
        key = struct.pack("=I", port.number)
        former = ports.lookup(key) if ports else None
        if device is not None and former == struct.pack("=I", device.index):
            return

        known = self.before is not None and str(place) in self.before.ports

        def do() -> None:
            if not known:  # the number may have been another port's
                root = self.names.root
                counted = paths.read(root).sent[port.number]
                self.maps[root / "sent"][port.number] = paths.deduct(counted)
            with netns.entered(port.outer.netns):  # where the kernel looks the index up
                index = struct.pack("=I", _ifindex(port))
                self.maps[self.names.root / "ports"].update(key, index)

        def undo() -> None:
            found = self.maps[self.names.root / "ports"]
            if former is None:
                found.delete(key)
                return
            with netns.entered(self._former_netns(place, port)):
                found.update(key, former)

        yield Change(
            self._element(place),
            Symbol.CHANGE if known else Symbol.ADD,
            f"port {place} leads nowhere" if known and former is None else "",
            steps=[(Phase.PROGRAM, Step(f"connect port {place}", do, undo))],
        )

    def _former_netns(self, place: Attachment, port: Port) -> str | None:
        """Where the device of a port was, which its ifindex counts in."""
        former = self.old_wiring.ports.get(place) if self.old_wiring else None
        return (former or port).outer.netns

    # Programs ------------------------------------------------------------------------------------

    def _program_changes(self, devices: Mapping[Attachment, Link]) -> Iterator[Change]:
        reasons = {
            place: self._misfit(place, port, devices.get(place))
            for place, port in self.wiring.ports.items()
        }
        stale = [place for place, reason in reasons.items() if reason]
        if not stale:
            return
        title = f"load programs of {len(stale)} ports"
        load = Step(title, lambda: self._load(stale), self._forget_flows)
        yield Change(
            Element("topology", self.topology.name),
            Symbol.CHANGE if self.before else Symbol.ADD,
            steps=[(Phase.PROGRAM, load)],
        )
        forget = Step("forget flows", self._forget_flows)
        for place in stale:
            steps = [
                (Phase.PROGRAM, step) for step in self._exchange(place, self.wiring.ports[place])
            ]
            if self.before is None or str(place) not in self.before.ports:
                yield Change(self._element(place), Symbol.ADD, steps=steps)
            else:
                reason = reasons[place]
                steps.append((Phase.PURGE, self._forget_former(place)))
                yield Change(self._element(place), Symbol.CHANGE, reason, reload=True, steps=steps)
        yield Change(
            Element("topology", self.topology.name),
            Symbol.CHANGE if self.before else Symbol.ADD,
            steps=[(Phase.PROGRAM, forget)],
        )

    def _fingerprint(self, place: Attachment, program: str) -> str | None:
        """Names a program by its code, constants and maps; None if a map is not there yet."""
        unit = self.units[place]
        code = self.objects[unit.text].programs[program]
        idents = {}
        for _, name in code.maps:
            found = self.maps.get(self.names.pin(unit, place, name))
            if found is None:
                return None
            idents[name] = found.id
        whole = code.bind(idents, self._links(unit))
        return PROGRAM_PREFIX + hashlib.sha256(whole).hexdigest()[:11]

    def _links(self, unit: Unit) -> list[int]:
        values = []
        for link in unit.links:
            node, interface = link.attachment.node, link.attachment.interface
            if link.kind == "function":
                values.append(self.numbers[node])
            elif link.kind == "interface":
                values.append(list(self.topology.vnfs[node].interfaces).index(str(interface)))
            else:
                number = self.wiring.ports[link.attachment].number
                ordinal = unit.programs.index(link.program) if link.program in unit.programs else 0
                values.append(jump(number, ordinal) if link.kind == "program" else number)
        return values

    def _misfit(self, place: Attachment, port: Port, device: Link | None) -> str:
        """Why the programs of a port are not those that must run; nothing if they are."""
        pin = self.names.link(place)
        if device is None or not pin.exists():
            return "program is not attached"
        link = bpf.obj_get(pin)
        try:
            ident, index = bpf.link_info(link)
        finally:
            os.close(link)
        if index != device.index or device.xdp_prog_id != ident:
            return "program is not attached"
        jumps = self.maps.get(self.names.root / "jumps")
        for ordinal, program in enumerate(self.units[place].programs):
            found = _jump_target(jumps, jump(port.number, ordinal))
            if found is None or _program_name(found) != self._fingerprint(place, program):
                return "program"
        return "" if _jump_target(jumps, jump(port.number)) == ident else "program"

    def _load(self, places: Sequence[Attachment]) -> None:
        """Load all programs, several at once; nothing is attached yet."""

        def load(wanted: tuple[Attachment, str]) -> int:
            place, program = wanted
            unit = self.units[place]
            code = self.objects[unit.text].programs[program]
            fds = {name: self.maps[self.names.pin(unit, place, name)].fd for _, name in code.maps}
            name = self._fingerprint(place, program)
            assert name is not None
            flags = bpf.F_XDP_HAS_FRAGS if has_frags(self.topology) else 0
            try:
                return bpf.prog_load(code.bind(fds, self._links(unit)), name, flags=flags)
            except bpf.VerifierError as error:
                if not error.log:  # refused before it was looked at
                    raise
                raise self.compiler.explain(unit.text, program, error.log) from error

        wanted = [(place, program) for place in places for program in self.units[place].programs]
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            self.programs.update(zip(wanted, pool.map(load, wanted), strict=True))

    def _exchange(self, place: Attachment, port: Port) -> Iterator[Step]:
        """Put a port's programs in the places of those that run; first what it may jump to."""
        for program in reversed(self.units[place].programs):
            yield self._exchange_jump(place, port, program)
        pin = self.names.link(place)
        exchanged: list[int] = []  # the program that ran before, where the link stays

        def do() -> None:
            with netns.entered(port.outer.netns):
                index = _ifindex(port)
                former = _running(pin, index, self._former_netns(place, port) == port.outer.netns)
                if former is not None:
                    self._held.append(former)
                    _update(pin, self.programs[place, MAIN])
                    exchanged.append(former)
                    return
                if pin.exists():
                    os.replace(pin, _aside(pin))
                _attach(self.programs[place, MAIN], index, pin)

        def undo() -> None:
            if exchanged:
                _update(pin, exchanged[0])
                return
            pin.unlink()
            if _aside(pin).exists():
                os.replace(_aside(pin), pin)

        yield Step(f"run program of {place}", do, undo)

    def _exchange_jump(self, place: Attachment, port: Port, program: str) -> Step:
        target = jump(port.number, self.units[place].programs.index(program))
        key = struct.pack("=I", target)
        former: list[int] = []

        def jumps() -> Map:
            return self.maps[self.names.root / "jumps"]

        def do() -> None:
            ident = _jump_target(jumps(), target)
            if ident is not None:
                former.append(bpf.prog_open(ident))
                self._held += former
            jumps().update(key, struct.pack("=I", self.programs[place, program]))

        def undo() -> None:
            if former:
                jumps().update(key, struct.pack("=I", former[0]))
            else:
                jumps().delete(key)

        return Step(f"prepare program of {place}", do, undo)

    # What is no longer wanted --------------------------------------------------------------------

    def _surplus(self) -> Iterator[Change]:
        """Pins of ports and functions that are gone."""
        wanted = {self.names.port(place) for place in self.wiring.ports}
        wanted |= {pin.parent for pin in self.plans}
        for kind in ("port", "vnf"):
            parent = self.names.root / kind
            found = sorted(parent.iterdir()) if parent.is_dir() else []
            for directory in found:
                if directory not in wanted:
                    yield self._remove(kind, directory)
        stale = [
            pin
            for directory in [self.names.root, *wanted]
            for pin in directory.glob("*")
            if pin.is_file() and pin not in self.plans and not _is_kept(pin)
        ]
        if stale:
            step = Step("free unused maps", lambda: _unlink(stale))
            element = Element("topology", self.topology.name)
            yield Change(element, Symbol.CHANGE, steps=[(Phase.PURGE, step)])

    def _remove(self, kind: str, directory: Path) -> Change:
        def do() -> None:
            number = self.before.ports.get(directory.name) if self.before else None
            if kind == "port" and number is not None:
                self._forget_port(number)
            shutil.rmtree(directory)

        name = directory.name.partition(":")[0]
        was_sap = self.former is not None and name in self.former.saps
        element = Element("sap" if kind == "port" and was_sap else "vnf", name)
        here = name in self.topology.saps or name in self.topology.vnfs
        symbol = Symbol.CHANGE if here else Symbol.REMOVE
        return Change(
            element,
            symbol,
            f"{directory.name} removed" if here else "",
            steps=[(Phase.PURGE, Step(f"forget {kind} {directory.name}", do))],
        )

    def _forget_former(self, place: Attachment) -> Step:
        """Of a port whose walk has become shorter, free the programs that went on for it."""
        number, count = self.wiring.ports[place].number, len(self.units[place].programs)
        title = f"forget former programs of {place}"
        return Step(title, lambda: self._forget_programs(number, count))

    def _forget_programs(self, number: int, first: int) -> None:
        """Clear the places of a port's programs from some ordinal on."""
        jumps = self.maps[self.names.root / "jumps"]
        for ordinal in range(first, MAX_PROGRAMS):
            jumps.delete(struct.pack("=I", jump(number, ordinal)))

    def _forget_port(self, number: int) -> None:
        """Nothing leads to the number any more."""
        self._forget_programs(number, 0)
        self.maps[self.names.root / "ports"].delete(struct.pack("=I", number))


def reattach(pin: Path, port: Port) -> None:
    """Detach the program of a port's pinned link, and attach it again.

    A veth learns only so that a program takes longer frames than the one before (veth_xdp_set).
    Frames that arrive meanwhile are lost.
    """
    with netns.entered(port.outer.netns):
        index = _ifindex(port)
        program = _running(pin, index, True)
        if program is None:
            raise KernelError(f"no program is attached to {port.outer.name}")
        link = bpf.obj_get(pin)
        try:
            bpf.link_detach(link)
            pin.unlink()
            _attach(program, index, pin)
        finally:
            os.close(link)
            os.close(program)


def remove_replaced(root: Path) -> None:
    """Unpin the maps and links that others have taken the place of."""
    _unlink(root.rglob(f"*{_ASIDE}"))


def _unlink(pins: Iterable[Path]) -> None:
    for pin in pins:
        with contextlib.suppress(FileNotFoundError):
            pin.unlink()


def _is_kept(pin: Path) -> bool:
    """Whether a pin is no map, or has another's place taken for a while."""
    return pin.name == LINK or pin.name.endswith(_ASIDE)


def _running(pin: Path, ifindex: int, same_netns: bool) -> int | None:
    """The program of a pinned link, if the link is that of the device."""
    if not pin.exists() or not same_netns:
        return None
    link = bpf.obj_get(pin)
    try:
        ident, index = bpf.link_info(link)
    finally:
        os.close(link)
    return bpf.prog_open(ident) if index == ifindex else None


def _update(pin: Path, program: int) -> None:
    link = bpf.obj_get(pin)
    try:
        bpf.link_update(link, program)
    finally:
        os.close(link)


def _attach(program: int, ifindex: int, pin: Path) -> None:
    pin.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    link = bpf.link_create(program, ifindex)
    try:
        bpf.obj_pin(link, pin)
    finally:
        os.close(link)


def _aside(pin: Path) -> Path:
    return pin.with_name(pin.name + _ASIDE)


def _misfit(found: Map | None, plan: MapPlan) -> str:
    """Why another map must be made."""
    name = plan.pin.name
    return f"map {name} is gone" if found is None else f"map {name} is replaced"


def _ifindex(port: Port) -> int:
    try:
        return socket.if_nametoindex(port.outer.name)
    except OSError as error:
        raise KernelError(f"there is no device {port.outer.name}") from error


def _jump_target(jumps: Map | None, place: int) -> int | None:
    value = jumps.lookup(struct.pack("=I", place)) if jumps else None
    return struct.unpack("=I", value)[0] if value is not None else None


def _program_name(ident: int) -> str:
    fd = bpf.prog_open(ident)
    try:
        return bpf.prog_info(fd)[1]
    finally:
        os.close(fd)


def _difference(before: Any, after: Any) -> str:
    """Which keys of a function's configuration differ, with lengths of lists."""
    old, new = (
        json.loads(function.config.model_dump_json(warnings=False)) for function in (before, after)
    )
    parts = []
    for key in new:
        if old.get(key) == new[key]:
            continue
        sizes = [len(value[key]) for value in (old, new) if isinstance(value[key], (list, dict))]
        if len(set(sizes)) == 2:
            parts.append(f"{key} {sizes[0]} -> {sizes[1]}")
        elif sizes:
            parts.append(f"{key} changed")
        else:
            parts.append(f"{key} {old.get(key)} -> {new[key]}")
    return ", ".join(parts)
