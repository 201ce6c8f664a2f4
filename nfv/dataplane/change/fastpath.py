"""The fast path of a topology: what its chains need in the kernel, and what of it is there."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from nfv.chain.graph import Entry, entries
from nfv.chain.hook import Slot, slots
from nfv.chain.path import Attachment
from nfv.chain.topology import Topology
from nfv.dataplane import epoch
from nfv.dataplane.change.mapchanges import MapChanges
from nfv.dataplane.change.mapstore import (
    ACTIONS,
    ASIDE,
    CPUS,
    LINK,
    MAX_FLOW_SETS,
    MapNames,
    MapPlan,
    flow_bits,
    flow_limit,
)
from nfv.dataplane.change.plan import Change, Element, Phase, Symbol, element_named
from nfv.dataplane.change.portleads import PortLeads
from nfv.dataplane.change.portmaps import PortMaps
from nfv.dataplane.change.programs import Programs
from nfv.dataplane.change.tablechanges import TableChanges
from nfv.dataplane.change.transaction import Step
from nfv.dataplane.kernel.bpf import Map
from nfv.dataplane.kernel.rtnl import Link
from nfv.dataplane.state import State
from nfv.dataplane.wiring import MAX_PROGRAMS, Wiring
from nfv.ebpf.compiler import Compiler
from nfv.ebpf.compose import Composer, Unit, compose
from nfv.ebpf.connections import FLOW_LIFE
from nfv.ebpf.object import Object
from nfv.ebpf.ticks import hz
from nfv.errors import InputError


class FastPath:
    """What the chains of one topology need in the kernel, and what of it is there.

    Maps, tables and programs each have a class that says how they differ; this one holds what they
    share: the composed and compiled units, the maps that are open, the programs that are loaded.
    """

    def __init__(
        self,
        topology: Topology,
        wiring: Wiring,
        compiler: Compiler,
        before: State | None,
        after: State,
        old_wiring: Wiring | None = None,
        composer: Composer = compose,
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
        self.names = MapNames(topology, after.sizes)
        self.graph: Mapping[Attachment, Entry] = entries(topology)
        chosen = {place: port.hook for place, port in wiring.ports.items()}
        self.units: dict[Slot, Unit] = {
            slot: composer(topology, self.graph, self.graph[slot.place], slot.hook)
            for slot in slots(topology, chosen)
        }
        _check_programs(self.units)
        _check_flows(topology)
        self.objects: dict[str, Object] = compiler.compile(
            unit.text for unit in self.units.values()
        )
        self.plans: dict[Path, MapPlan] = self.names.plans(self.units, self.objects)
        self.maps: dict[Path, Map] = {}
        self.programs: dict[tuple[Slot, str], int] = {}
        self.constants = {
            "cpus": CPUS - 1,
            "flow_bits": flow_bits(topology),
            "flow_shift": 64 - flow_bits(topology),
            "actions": ACTIONS - 1,
            "flow_life": FLOW_LIFE * hz(),
        }
        self.replaced: dict[Path, Map] = {}  # what was pinned where another map must be
        self.held: list[int] = []  # programs that run, for undoing

    def close(self) -> None:
        """Give all descriptors back; what is pinned or attached stays."""
        for found in [*self.maps.values(), *self.replaced.values()]:
            found.close()
        for descriptor in [*self.programs.values(), *self.held]:
            os.close(descriptor)
        self.programs, self.held = {}, []

    def changes(self, devices: Mapping[Attachment, Link]) -> Iterator[Change]:
        """Everything about maps, their content and programs that is not as declared.

        `devices` are those of the ports that are there and stay.
        """
        yield from MapChanges(self).changes()
        yield from TableChanges(self).changes()
        yield from PortMaps(self).changes(devices)
        yield from PortLeads(self).changes(devices)
        yield from Programs(self).changes(devices)
        yield from self._surplus()

    def function_constants(self, name: str) -> Mapping[str, int]:
        """What the programs of a function are loaded with, by the capacities of its maps."""
        directory = self.names.vnf(name)
        capacities = {
            pin.name: plan.capacity for pin, plan in self.plans.items() if pin.parent == directory
        }
        return self.topology.vnfs[name].constants(capacities)

    def is_known(self, element: Element) -> bool:
        """Whether the element was there before the change."""
        if self.former is None:
            return False
        names = {"sap": self.former.saps, "vnf": self.former.vnfs, "topology": {self.former.name}}
        return element.name in names[element.kind]

    def element_of(self, pin: Path) -> Element:
        """What a pin belongs to."""
        parent = pin.parent
        if parent.parent.name == "vnf":
            return Element("vnf", parent.name)
        if parent.parent.name == "port":
            return self.element(Attachment.parse(parent.name))
        return Element("topology", self.topology.name)

    def element(self, place: Attachment) -> Element:
        """The SAP or function of an attachment."""
        return Element("sap" if place.node in self.topology.saps else "vnf", place.node)

    def forget_flows(self) -> None:
        """What is remembered of flows was found out with other tables or programs."""
        epochs = self.maps.get(self.names.root / "epoch")
        if epochs is not None:
            epoch.advance(epochs)

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
                Programs(self).forget_port(number)
                PortMaps(self).forget(number)
            shutil.rmtree(directory)

        name = directory.name.partition(":")[0]
        element = element_named(name, self.topology, self.former)
        here = name in self.topology.saps or name in self.topology.vnfs
        unknown = element.kind == "topology"
        return Change(
            element,
            Symbol.CHANGE if here or unknown else Symbol.REMOVE,
            f"{directory.name} removed" if here else "",
            steps=[(Phase.PURGE, Step(f"forget {kind} {directory.name}", do))],
        )


def _check_programs(units: Mapping[Slot, Unit]) -> None:
    for (place, _hook), unit in units.items():
        if len(unit.programs) > MAX_PROGRAMS:
            raise InputError(
                f"the chains that begin at {place} need {len(unit.programs)} programs, the most "
                f"is {MAX_PROGRAMS}",
                "let some of them begin elsewhere, or put fewer functions into them",
            )


def _check_flows(topology: Topology) -> None:
    if CPUS << flow_bits(topology) > MAX_FLOW_SETS:
        raise InputError(
            f"flow_cache: {topology.flow_cache} flows on each of {CPUS} CPUs are more than a "
            "program can reach",
            f"the most on this machine is {flow_limit()}",
        )


def remove_replaced(root: Path) -> None:
    """Unpin the maps and links that others have taken the place of."""
    _unlink(root.rglob(f"*{ASIDE}"))


def _unlink(pins: Iterable[Path]) -> None:
    for pin in pins:
        with contextlib.suppress(FileNotFoundError):
            pin.unlink()


def _is_kept(pin: Path) -> bool:
    """Whether a pin is no map, or has another's place taken for a while."""
    return pin.name == LINK or pin.name.endswith(ASIDE)
