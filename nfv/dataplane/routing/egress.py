"""Where a router's interfaces lead: the ports that its adjacencies name. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from nfv.chain.graph import Entry, cable, entries
from nfv.chain.topology import Topology
from nfv.dataplane.wiring import Wiring, jump
from nfv.functions.router import RouterInterface

JUMP = 1 << 31
"""Marks `tx` as a place in the jump table (ENTRY_JUMP of nfv/ebpf/include/entry.h), not a port."""


CHECKS = {None: 0, "strict": 1, "loose": 2}
"""Values of `reverse_path` as enum self_check of the router's C has them, and Linux's rp_filter."""


@dataclass(frozen=True)
class Egress:
    """An interface of a router; `tx` is the port behind it or a jump to its chains."""

    device: str  # in the router's namespace
    port: int
    tx: int
    check: int = 0  # of CHECKS


def egresses(topology: Topology, wiring: Wiring, vnf: str) -> tuple[Egress, ...]:
    """The interfaces of a function, in the order of the file, which numbers them for its C."""
    graph = entries(topology)
    interfaces = topology.vnfs[vnf].interfaces
    return tuple(
        _egress(graph[port.attachment], wiring, interfaces[str(port.attachment.interface)])
        for port in wiring.of(vnf)
    )


def _egress(entry: Entry, wiring: Wiring, interface: object) -> Egress:
    port = wiring.ports[entry.attachment]
    assert port.inner is not None  # a function's interface is a veth
    check = CHECKS[interface.reverse_path] if isinstance(interface, RouterInterface) else 0
    return Egress(port.inner.name, port.number, _tx(entry, port.number, wiring), check)


def _tx(entry: Entry, number: int, wiring: Wiring) -> int:
    """The port of the SAP at the end of a lone, empty chain; otherwise the entry's own program."""
    end = cable(entry)
    return JUMP | jump(number) if end is None else wiring.ports[end].number
