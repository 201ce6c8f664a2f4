"""Where the programs of ports are attached: XDP, or TC for what sockets send.

A frame from a socket is an skb, which may stand for many segments and lack its checksum. TC takes
it as it is; where XDP is attached to a veth, the other end has to finish every frame, and the
kernel copies it. A NIC or a tap has frames that are no skbs yet, and XDP takes them as such.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from nfv.chain.graph import SERVICE, cable, entries, floods, ports
from nfv.chain.path import Attachment
from nfv.chain.reach import neighbours
from nfv.chain.sap import Hook
from nfv.chain.topology import Topology

Hooks = Mapping[Attachment, Hook]
"""The hook of every port."""


class Slot(NamedTuple):
    """The walks of a port as programs for one hook."""

    place: Attachment
    hook: Hook


def slots(topology: Topology, chosen: Hooks) -> Iterator[Slot]:
    """All programs that are needed: those that are attached, then those that others jump to.

    Tail calls go from a program to one of its own kind, so an interface that programs of both
    hooks go on at has its walks twice.
    """
    yield from (Slot(place, hook) for place, hook in chosen.items())
    near = _neighbours(topology)
    served = {Hook.XDP for function in topology.vnfs.values() if function.service}
    for place, entry in entries(topology).items():
        if place not in chosen or place.interface in (None, SERVICE):
            continue
        if cable(entry) and not floods(topology, place):
            continue
        others = served | {hook for other, hook in chosen.items() if other.node in near[place.node]}
        yield from (Slot(place, hook) for hook in Hook if hook in others - {chosen[place]})


def hooks(topology: Topology) -> dict[Attachment, Hook]:
    """The hook that every port has: as its SAP says, else TC if that can be, else XDP.

    From TC no packet gets to a device outside of the fabric, a tap or a NIC. And what a switch
    floods from one hook must not have to pass a program at the other.
    """
    near = _neighbours(topology)
    found = {}
    for place in ports(topology):
        sap = topology.saps.get(place.node)
        default = Hook.XDP if _wants_xdp(topology, place, near[place.node]) else Hook.TC
        found[place] = sap.declared_hook or default if sap else default
    return found


def _wants_xdp(topology: Topology, place: Attachment, near: frozenset[str]) -> bool:
    """Whether a port must have XDP, or another that packets come to from there has it."""
    if place.interface == SERVICE:
        return True
    saps = [sap for name, sap in topology.saps.items() if name in near]
    if any(sap.outside for sap in saps):
        return True
    if not any(function.floods for name, function in topology.vnfs.items() if name in near):
        return False
    inside = {
        name
        for chain in topology.chains.values()
        if chain.near.node in near
        for name in chain.functions
    }
    declared = any(sap.declared_hook is Hook.XDP for sap in saps)
    return declared or any(topology.vnfs[name].service for name in inside)


def _neighbours(topology: Topology) -> dict[str, frozenset[str]]:
    nodes = [*topology.saps, *topology.vnfs]
    ends = [(chain.near.node, chain.far.node) for chain in topology.chains.values()]
    return neighbours(nodes, ends)
