"""The tables of a topology that is not applied: as apply would fill them, and Linux would route.

What only a running topology knows is assumed: every neighbour in a connected subnet is resolved,
and there are no routes but those declared. Where the MAC address of a neighbour is not declared
either, `ASSUMED_MAC` stands for it. Services have not written anything yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeAlias

from nfv.chain.path import Attachment
from nfv.chain.topology import Topology
from nfv.dataplane.change.fastpath import FastPath
from nfv.dataplane.change.mapstore import FunctionMaps
from nfv.dataplane.routing.routertables import RouterTables
from nfv.dataplane.wiring import Wiring
from nfv.ebpf import natplan, tables
from nfv.ebpf.compose import classifier_patterns
from nfv.functions.router import RouterInterface

ASSUMED_MAC = "02:00:00:00:00:01"
"""Of neighbours whose MAC address nothing tells."""

Address: TypeAlias = IPv4Address | IPv6Address


def fill(path: FastPath) -> None:
    """Write all tables of a topology into its maps, which are open and empty."""
    for name, function in path.topology.vnfs.items():
        directory = path.names.vnf(name)
        if not any(pin.parent == directory for pin in path.plans):
            continue  # in no chain
        maps = FunctionMaps(directory, path.maps, path.plans, 0)
        function.fill(maps, path.counters[name], {})
        if function.masquerade:
            _masquerade(path.topology, Attachment.parse(function.masquerade), maps)
        if function.next_hops:
            _route(RouterTables(path.topology, path.wiring, name, maps))
    for (place, _hook), unit in path.units.items():
        if "c0" in unit.instances:
            maps = FunctionMaps(path.names.port(place), path.maps, path.plans, 0)
            tables.publish(maps.memory("matcher"), classifier_patterns(unit.walks))


def addresses(topology: Topology, wiring: Wiring) -> Iterator[tuple[Address, str]]:
    """Every declared address of a host or an interface, with its MAC address."""
    for place, port in wiring.ports.items():
        sap, function = topology.saps.get(place.node), topology.vnfs.get(place.node)
        interface = function.interfaces.get(str(place.interface)) if function else None
        owned = sap.addresses if sap else interface.ip if interface else ()
        yield from ((address.ip, str(port.mac)) for address in owned)


def _masquerade(topology: Topology, place: Attachment, maps: FunctionMaps) -> None:
    """The outside address of a NAT, which is an interface's."""
    owned = topology.vnfs[place.node].interfaces[str(place.interface)].ip
    address = next((own.ip for own in owned if isinstance(own.ip, IPv4Address)), None)
    if address is not None:
        natplan.set_masquerade(maps.memory("site"), address)


def _route(router: RouterTables) -> None:
    """What the namespace of a router would have."""
    function = router.topology.vnfs[router.vnf]
    known = dict(addresses(router.topology, router.wiring))
    router.punt_reserved()
    for route in sorted(function.routes, key=lambda route: -route.priority):  # the lowest last
        _lead(router, route, known)
    for name, interface in function.interfaces.items():
        for own in interface.ip:
            router.route(str(own.network), name, ASSUMED_MAC, interface.mtu)
            stations = {**known, **_static(interface)}
            for address, mac in stations.items():
                if address in own.network:
                    router.route(str(address), name, mac, interface.mtu)
    for interface in function.interfaces.values():
        for own in interface.ip:
            for address in _edges(own.network):
                router.punt(str(address))
    for interface in function.interfaces.values():
        for own in interface.ip:
            router.own(own.ip)


def _static(interface: object) -> dict[Address, str]:
    if not isinstance(interface, RouterInterface):
        return {}
    return {one.ip: one.mac for one in interface.neighbours}


def _lead(router: RouterTables, route: Any, known: Mapping[Address, str]) -> None:
    """A static route."""
    interfaces = router.topology.vnfs[router.vnf].interfaces
    prefix = str(route.to)
    if route.type:
        (router.blackhole if route.type == "blackhole" else router.punt)(prefix)
        return
    hops = [(hop, hop.weight) for hop in route.next_hops] or [(route, 1)]
    shares = [
        (router.next_hop(name, known.get(hop.via, ASSUMED_MAC), interfaces[name].mtu), weight)
        for hop, weight in hops
        if (name := hop.interface or _toward(hop.via, interfaces)) is not None
    ]
    if route.next_hops:
        router.share(prefix, shares)
    elif shares:
        router.lead(prefix, shares[0][0])


def _toward(via: Address, interfaces: Mapping[str, Any]) -> str | None:
    """The interface on whose link a next hop is."""
    for name, interface in interfaces.items():
        if any(via in own.network for own in interface.ip):
            return name
    return None


def _edges(network: Any) -> Iterator[Address]:
    """The broadcast address of a subnet (IPv4), or its routers' anycast address (RFC 4291)."""
    if network.max_prefixlen - network.prefixlen > 1:
        yield network.broadcast_address if network.version == 4 else network.network_address
