"""Where the ports of switches and hubs lead: what include/ports.h reads."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nfv.chain.graph import Entry, cable, entries
from nfv.chain.path import Attachment
from nfv.chain.topology import Topology
from nfv.dataplane.change import proglink
from nfv.dataplane.change.fastpath import FastPath
from nfv.dataplane.change.plan import Change, Element, Phase, Symbol
from nfv.dataplane.change.transaction import Step
from nfv.dataplane.kernel import netns
from nfv.dataplane.kernel.bpf import Map
from nfv.dataplane.kernel.rtnl import Link
from nfv.dataplane.routing.egress import JUMP
from nfv.dataplane.wiring import PORT, Device, Port, Wiring, jump

_LEAD = struct.Struct("=4I")  # struct self_lead: tx, index, tells
_INDEX = struct.Struct("=I")


@dataclass(frozen=True)
class Lead:
    """Where a port of a switch leads: to its own walk, or straight to a SAP."""

    port: Port

    @property
    def has_walk(self) -> bool:
        """Whether a program is behind the port."""
        return self.port.kind == PORT

    @property
    def tx(self) -> int:
        """Where one frame goes: a port, or a place for a tail call."""
        return JUMP | jump(self.port.number) if self.has_walk else self.port.number

    @property
    def device(self) -> Device:
        """Where the copy of a flooded frame goes."""
        return self.port.inner if self.has_walk and self.port.inner else self.port.outer

    def index(self, outer: Link) -> int:
        """The ifindex of that device; `outer` is the port's outer one."""
        return (outer.peer_index or 0) if self.has_walk else outer.index


def leads(topology: Topology, wiring: Wiring, name: str) -> list[Lead | None]:
    """For each port of a switch, in the order that its C knows them by; None if in no chain."""
    graph = entries(topology)
    places = [Attachment(name, port) for port in topology.vnfs[name].interfaces]
    return [_lead(graph[place], wiring) for place in places]


def _lead(entry: Entry, wiring: Wiring) -> Lead | None:
    own, end = wiring.ports.get(entry.attachment), cable(entry)
    port = own or (wiring.ports[end] if end else None)
    return Lead(port) if port else None


class PortLeads:
    """How what the switches of a fast path know of their ports differs from what is there."""

    def __init__(self, path: FastPath) -> None:
        self.path = path

    def changes(self, devices: Mapping[Attachment, Link]) -> Iterator[Change]:
        """Tell the switches that do not know where their ports lead."""
        for name, function in self.path.topology.vnfs.items():
            if not function.floods or self._pin(name) not in self.path.plans:
                continue
            wanted = leads(self.path.topology, self.path.wiring, name)
            if not self._knows(name, wanted, devices):
                known = self.path.former is not None and name in self.path.former.vnfs
                yield Change(
                    Element("vnf", name),
                    Symbol.CHANGE if known else Symbol.ADD,
                    "ports lead elsewhere" if known else "",
                    steps=[(Phase.PROGRAM, self._connect(name, wanted))],
                )

    def _pin(self, name: str, table: str = "leads") -> Path:
        return self.path.names.vnf(name) / table

    def _knows(
        self, name: str, wanted: Sequence[Lead | None], devices: Mapping[Attachment, Link]
    ) -> bool:
        found = self.path.maps.get(self._pin(name))
        if found is None or any(lead and lead.port.attachment not in devices for lead in wanted):
            return False
        indexes = [lead.index(devices[lead.port.attachment]) if lead else 0 for lead in wanted]
        whole = packed(wanted, indexes)
        if found.memory()[: len(whole)] != whole:
            return False
        floods = self.path.maps.get(self._pin(name, "floods"))
        if floods is None:
            return self._pin(name, "floods") not in self.path.plans
        there = [floods.lookup(_INDEX.pack(port)) for port in range(len(wanted))]
        return there == [_INDEX.pack(index) if index else None for index in indexes]

    def _connect(self, name: str, wanted: Sequence[Lead | None]) -> Step:
        former, wiring = self.path.former, self.path.old_wiring

        def undo() -> None:
            if former and wiring and name in former.vnfs and self._stays(name):
                self._write(name, leads(former, wiring, name))

        return Step(f"connect ports of {name}", lambda: self._write(name, wanted), undo)

    def _stays(self, name: str) -> bool:
        """Whether the table is the one that there was before the change."""
        pin = self._pin(name)
        return self.path.before is not None and pin not in self.path.replaced

    def _write(self, name: str, wanted: Sequence[Lead | None]) -> None:
        floods = self.path.maps.get(self._pin(name, "floods"))
        indexes = [_flood(floods, port, lead) for port, lead in enumerate(wanted)]
        whole = packed(wanted, indexes)
        self.path.maps[self._pin(name)].memory()[: len(whole)] = whole


def _flood(floods: Map | None, port: int, lead: Lead | None) -> int:
    """Lead the copies for a port to its device; return its ifindex, 0 if there is none."""
    key = _INDEX.pack(port)
    if lead is None:
        if floods:
            floods.delete(key)
        return 0
    with netns.entered(lead.device.netns):  # where the kernel looks the index up
        index = proglink.ifindex(lead.device)
        if floods:
            floods.update(key, _INDEX.pack(index))
    return index


def packed(wanted: Sequence[Lead | None], indexes: Sequence[int]) -> bytes:
    """The table of a switch, with the ifindexes of the devices."""
    tells = any(lead and lead.has_walk for lead in wanted)
    return b"".join(
        _LEAD.pack(lead.tx if lead else 0, index, tells, 0)
        for lead, index in zip(wanted, indexes, strict=True)
    )
