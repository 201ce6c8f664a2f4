"""The fast path of a topology: what its chains need in the kernel, and what of it is there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from nfv.chain.graph import Entry, entries
from nfv.chain.hook import Slot, slots
from nfv.chain.path import Attachment
from nfv.chain.topology import Topology
from nfv.dataplane import epoch
from nfv.dataplane.change.mapstore import (
    ACTIONS,
    CPUS,
    MAX_FLOW_SETS,
    MapNames,
    MapPlan,
    flow_bits,
    flow_limit,
)
from nfv.dataplane.change.plan import Element
from nfv.dataplane.kernel.bpf import Map
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
