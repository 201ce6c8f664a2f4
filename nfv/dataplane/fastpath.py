"""Programs and maps of a topology: how they differ from what runs, and how to exchange them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nfv.chain.graph import Entry, entries
from nfv.chain.path import Attachment
from nfv.chain.topology import Topology
from nfv.dataplane import bpf, epoch, netns, paths
from nfv.dataplane.bpf import Map
from nfv.dataplane.mapstore import FunctionMaps, MapNames, MapPlan, carry, matches, open_map
from nfv.dataplane.observation import Observation
from nfv.dataplane.plan import Change, Element, Phase, Symbol
from nfv.dataplane.state import State
from nfv.dataplane.transaction import Step
from nfv.dataplane.wiring import Port, Wiring
from nfv.ebpf import tables
from nfv.ebpf.compiler import Compiler
from nfv.ebpf.compose import MAIN, REJECT, Unit, classifier_patterns, compose, has_frags
from nfv.ebpf.object import Object
from nfv.errors import KernelError

PROGRAM_PREFIX = "nfv_"


def jump(number: int, program: str) -> int:
    """Place in nf_jumps of a port's program."""
    return 2 * number + (program == REJECT)


class FastPath:
    """What the chains of one topology need in the kernel, and what of it is there."""

    def __init__(
        self,
        topology: Topology,
        wiring: Wiring,
        compiler: Compiler,
        before: State | None,
        after: State,
    ) -> None:
        self.topology = topology
        self.wiring = wiring
        self.compiler = compiler
        self.before = before
        self.former = before.topology() if before else None
        self.counters = after.counters
        self.numbers = after.functions
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

    # Differences ---------------------------------------------------------------------------------

    def changes(self, seen: Observation) -> Iterator[Change]:
        """Everything about maps, their content and programs that is not as declared."""
        yield from self._map_changes()
        yield from self._table_changes()
        for place, port in self.wiring.ports.items():
            yield from self._port_changes(place, port, seen)
        yield from self._program_changes(seen)
        yield from self._surplus()

    def _map_changes(self) -> Iterator[Change]:
        for pin, plan in self.plans.items():
            found = open_map(pin)
            if found is not None and matches(found, plan):
                self.maps[pin] = found
                continue
            old = found if plan.keep else None
            yield Change(
                self._element_of(pin),
                Symbol.CHANGE if found or self.before else Symbol.ADD,
                f"{pin.name} gets another size" if found else "",
                steps=[(Phase.MAP, self._make_map(plan, old))],
            )

    def _element_of(self, pin: Path) -> Element:
        parent = pin.parent
        if parent.parent.name == "vnf":
            return Element("vnf", parent.name)
        if parent.parent.name == "port":
            return self._element(Attachment.parse(parent.name))
        return Element("topology", self.topology.name)

    def _element(self, place: Attachment) -> Element:
        return Element("sap" if place.node in self.topology.saps else "vnf", place.node)

    def _make_map(self, plan: MapPlan, old: Map | None) -> Step:
        aside = plan.pin.with_name(f"{plan.pin.name}-old")

        def do() -> None:
            plan.pin.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = plan.create()
            if plan.pin.exists():
                if old is not None:
                    carry(old, fresh)
                os.replace(plan.pin, aside)
            fresh.pin(plan.pin)
            self.maps[plan.pin] = fresh

        def undo() -> None:
            plan.pin.unlink()
            if aside.exists():
                os.replace(aside, plan.pin)

        return Step(f"make map {plan.pin.parent.name} {plan.pin.name}", do, undo)

    def _table_changes(self) -> Iterator[Change]:
        for name, function in self.topology.vnfs.items():
            directory = self.names.vnf(name)
            own = [pin for pin in self.plans if pin.parent == directory]
            if not own:
                continue
            former = self.former.vnfs.get(name) if self.former else None
            complete = all(pin in self.maps for pin in own)
            if complete and former == function:
                continue
            known = former is not None and complete
            yield Change(
                Element("vnf", name),
                Symbol.CHANGE if former else Symbol.ADD,
                _difference(former, function) if former else "",
                steps=[(Phase.TABLE, self._fill(name, former if known else None))],
            )
        for place, unit in self.units.items():
            yield from self._classifier_change(place, unit)

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
        if former == patterns and directory / "matcher" in self.maps:
            return

        def fill(wanted: Sequence[Any]) -> Callable[[], None]:
            def call() -> None:
                tables.publish(self._function_maps(directory), wanted, {})
                self._forget_flows()

            return call

        step = Step(f"fill classifier of {place}", fill(patterns), fill(former) if former else None)
        symbol = Symbol.CHANGE if former else Symbol.ADD
        yield Change(self._element(place), symbol, "classifier", steps=[(Phase.TABLE, step)])

    def _former_patterns(self, place: Attachment) -> list[Any] | None:
        if self.former is None:
            return None
        entry = entries(self.former).get(place)
        return classifier_patterns(entry.walks) if entry else None

    # Ports ---------------------------------------------------------------------------------------

    def _port_changes(self, place: Attachment, port: Port, seen: Observation) -> Iterator[Change]:
        """Where a port's number leads to."""
        view = seen.get(port.outer.netns)
        link = view.links.get(port.outer.name) if view else None
        ports = self.maps.get(self.names.root / "ports")
        key = struct.pack("=I", port.number)
        current = ports.lookup(key) if ports else None
        if link is not None and current is not None and current == struct.pack("=I", link.index):
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
            self.maps[self.names.root / "ports"].delete(key)

        yield Change(
            self._element(place),
            Symbol.CHANGE if known else Symbol.ADD,
            f"port {place} leads nowhere" if known else "",
            steps=[(Phase.PROGRAM, Step(f"connect port {place}", do, undo))],
        )

    # Programs ------------------------------------------------------------------------------------

    def _program_changes(self, seen: Observation) -> Iterator[Change]:
        stale = [
            place for place, port in self.wiring.ports.items() if not self._runs(place, port, seen)
        ]
        if not stale:
            return
        load = Step(f"load programs of {len(stale)} ports", lambda: self._load(stale))
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
            yield from self._program_lines(place, steps)
        yield Change(
            Element("topology", self.topology.name),
            Symbol.CHANGE if self.before else Symbol.ADD,
            steps=[(Phase.PROGRAM, forget)],
        )

    def _program_lines(
        self, place: Attachment, steps: Sequence[tuple[Phase, Step]]
    ) -> Iterator[Change]:
        known = self.before is not None and str(place) in self.before.ports
        if not known:
            yield Change(self._element(place), Symbol.ADD, steps=steps)
            return
        yield Change(self._element(place), Symbol.CHANGE, "program", reload=True, steps=steps)

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
                values.append(jump(number, REJECT) if link.kind == "reject" else number)
        return values

    def _runs(self, place: Attachment, port: Port, seen: Observation) -> bool:
        view = seen.get(port.outer.netns)
        device = view.links.get(port.outer.name) if view else None
        pin = self.names.port(place) / "link"
        if device is None or not pin.exists():
            return False
        link = bpf.obj_get(pin)
        try:
            ident, index = bpf.link_info(link)
        finally:
            os.close(link)
        if index != device.index or device.xdp_prog_id != ident:
            return False
        jumps = self.maps.get(self.names.root / "jumps")
        for program in self.units[place].programs:
            found = ident if program == MAIN else _jump_target(jumps, jump(port.number, program))
            if found is None or _program_name(found) != self._fingerprint(place, program):
                return False
        return _jump_target(jumps, jump(port.number, MAIN)) == ident

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
                raise self.compiler.explain(unit.text, program, error.log) from error

        wanted = [(place, program) for place in places for program in self.units[place].programs]
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            self.programs.update(zip(wanted, pool.map(load, wanted), strict=True))

    def _exchange(self, place: Attachment, port: Port) -> Iterator[Step]:
        """Put a port's programs in the places of those that run; first what it may jump to."""
        for program in reversed(self.units[place].programs):
            yield self._exchange_jump(place, port, program)
        pin = self.names.port(place) / "link"
        former: list[int] = []

        def do() -> None:
            fresh = self.programs[place, MAIN]
            if pin.exists():
                link = bpf.obj_get(pin)
                try:
                    ident, index = bpf.link_info(link)
                    if index:
                        former.append(bpf.prog_open(ident))
                        bpf.link_update(link, fresh)
                        return
                finally:
                    os.close(link)
                pin.unlink()  # its device is gone
            pin.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with netns.entered(port.outer.netns):
                link = bpf.link_create(fresh, _ifindex(port))
            try:
                bpf.obj_pin(link, pin)
            finally:
                os.close(link)

        def undo() -> None:
            if not former:
                pin.unlink()
                return
            link = bpf.obj_get(pin)
            bpf.link_update(link, former[0])
            os.close(link)

        yield Step(f"run program of {place}", do, undo)

    def _exchange_jump(self, place: Attachment, port: Port, program: str) -> Step:
        key = struct.pack("=I", jump(port.number, program))
        former: list[int] = []

        def jumps() -> Map:
            return self.maps[self.names.root / "jumps"]

        def do() -> None:
            ident = _jump_target(jumps(), jump(port.number, program))
            if ident is not None:
                former.append(bpf.prog_open(ident))
            jumps().update(key, struct.pack("=I", self.programs[place, program]))

        def undo() -> None:
            if former:
                jumps().update(key, struct.pack("=I", former[0]))
            else:
                jumps().delete(key)

        return Step(f"prepare program of {place}", do, undo)

    # What is no longer wanted --------------------------------------------------------------------

    def _surplus(self) -> Iterator[Change]:
        """Pins of ports and functions that are gone, and of maps that were replaced."""
        wanted = {self.names.port(place) for place in self.wiring.ports}
        wanted |= {pin.parent for pin in self.plans}
        for kind in ("port", "vnf"):
            parent = self.names.root / kind
            found = sorted(parent.iterdir()) if parent.is_dir() else []
            for directory in found:
                if directory not in wanted:
                    yield self._remove(kind, directory)
        steps = [
            (Phase.PURGE, Step("remove replaced maps", lambda: remove_replaced(self.names.root)))
        ]
        if any(pin not in self.maps for pin in self.plans) and self.before:
            yield Change(Element("topology", self.topology.name), Symbol.CHANGE, steps=steps)

    def _remove(self, kind: str, directory: Path) -> Change:
        def do() -> None:
            if kind == "port" and self.before:
                number = self.before.ports.get(directory.name)
                jumps = self.maps.get(self.names.root / "jumps")
                if number is not None and jumps is not None:
                    for program in (MAIN, REJECT):
                        jumps.delete(struct.pack("=I", jump(number, program)))
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


def remove_replaced(root: Path) -> None:
    """Unpin the maps that others have taken the place of."""
    for pin in root.rglob("*-old"):
        with contextlib.suppress(FileNotFoundError):
            pin.unlink()


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
