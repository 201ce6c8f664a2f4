"""By which route a router sends packets to an address, and where the file says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TypeAlias

from nfv.chain.topology import Topology
from nfv.dataplane.change.observation import PROTOCOL
from nfv.dataplane.kernel.netlink import Netlink
from nfv.dataplane.kernel.rtnl import Route
from nfv.errors import Position

Address: TypeAlias = IPv4Address | IPv6Address
_Network: TypeAlias = IPv4Network | IPv6Network

_KERNEL = 2  # RTPROT_KERNEL


@dataclass(frozen=True)
class Reason:
    """A route in words; `position` is where it is declared, None for one that Linux has learnt."""

    text: str
    position: Position | None


Explain = Callable[[str, Address], "Reason | None"]
"""The route of a router, by its name, to an address."""


def declared(topology: Topology) -> Explain:
    """By what the file says."""

    def explain(vnf: str, address: Address) -> Reason | None:
        found = [
            (prefix.prefixlen, -priority, reason)
            for prefix, priority, reason in _declared(topology, vnf)
            if address in prefix
        ]
        return max(found, key=lambda one: one[:2])[2] if found else None

    return explain


def running(topology: Topology, netns: Callable[[str], str]) -> Explain:
    """By what Linux has in the routers' namespaces, of which `netns` tells the names."""

    def explain(vnf: str, address: Address) -> Reason | None:
        with Netlink(netns(vnf)) as netlink:
            route = netlink.route_to(str(address))
        return _written(topology, vnf, route) if route else None

    return explain


def _declared(topology: Topology, vnf: str) -> Iterator[tuple[_Network, int, Reason]]:
    function, source = topology.vnfs[vnf], topology.source
    for index, route in enumerate(function.routes):
        ways = (("via", route.via), ("interface", route.interface), ("type", route.type))
        words = [f"{key} {value}" for key, value in ways if value is not None]
        words += [f"via {hop.via}" for hop in route.next_hops]
        text = " ".join(["route", str(route.to), *words])
        yield (
            route.to,
            route.priority,
            Reason(text, source.position(("vnfs", vnf, "routes", index))),
        )
    for name, interface in function.interfaces.items():
        for index, own in enumerate(interface.ip):
            position = source.position(("vnfs", vnf, "interfaces", name, "ip", index))
            yield own.network, 0, Reason(f"connected {own.network} at {name}", position)


def _written(topology: Topology, vnf: str, route: Route) -> Reason:
    """What Linux has, with the place in the file that it comes from."""
    network = ip_network(route.destination)
    is_declared = route.protocol in (PROTOCOL, _KERNEL)
    for prefix, _, reason in _declared(topology, vnf) if is_declared else ():
        connected = reason.text.startswith("connected")
        if prefix == network and connected == (route.protocol == _KERNEL):
            return reason
    ways = " ".join(f"via {hop.via}" for hop in route.nexthops if hop.via)
    return Reason(f"route {route.destination} {ways or route.kind}, learnt by Linux", None)
