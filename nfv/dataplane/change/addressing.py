"""Addresses and routes of hosts and routers: how they differ from what is declared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from nfv.chain.fields import Address
from nfv.chain.path import Attachment
from nfv.chain.topology import Topology
from nfv.dataplane.change.observation import PROTOCOL, Observation
from nfv.dataplane.change.plan import Change, Element, Phase, Symbol
from nfv.dataplane.change.transaction import Step
from nfv.dataplane.kernel.netlink import Netlink
from nfv.dataplane.kernel.rtnl import Route
from nfv.dataplane.wiring import Port, Wiring

Hop: TypeAlias = tuple[str | None, str | None, int]
"""Gateway, device, weight; a device of None leaves the choice to the kernel."""


@dataclass(frozen=True)
class Wanted:
    """A route as declared."""

    destination: str
    hops: tuple[Hop, ...]  # none of a blackhole and its kin
    kind: str
    metric: int


def desired_addresses(topology: Topology, port: Port) -> list[str]:
    """Addresses of the inner end of a port."""
    place = port.attachment
    if place.interface is None:
        return [str(address) for address in topology.saps[place.node].addresses]
    return [str(address) for address in topology.vnfs[place.node].interfaces[place.interface].ip]


def desired_routes(topology: Topology, wiring: Wiring, node: str) -> list[Wanted]:
    """Static routes of a SAP's host or of a function."""
    if node in topology.saps:
        inner = wiring.ports[Attachment(node)].inner
        return [
            _default(gateway, inner.name if inner else None)
            for gateway in topology.saps[node].gateways
        ]
    found = []
    for route in topology.vnfs[node].routes:
        shares = route.next_hops or [route]
        hops = () if route.type else tuple(_hop(wiring, node, share) for share in shares)
        found.append(Wanted(str(route.to), hops, route.type or "unicast", route.priority))
    return found


def _default(gateway: Address, device: str | None) -> Wanted:
    """A host's default route; where the gateway is, the kernel knows unless it is link-local."""
    ipv6 = gateway.version == 6
    hop = str(gateway), device if ipv6 and gateway.is_link_local else None, 1
    return Wanted("::/0" if ipv6 else "0.0.0.0/0", (hop,), "unicast", 1024 if ipv6 else 0)


def _hop(wiring: Wiring, node: str, share: Any) -> Hop:
    """Of a route with one next hop, or of one of several."""
    device = None
    if share.interface is not None:
        inner = wiring.ports[Attachment(node, share.interface)].inner
        device = inner.name if inner else None
    return str(share.via) if share.via else None, device, getattr(share, "weight", 1)


def node_changes(
    topology: Topology, wiring: Wiring, there: Collection[Attachment], seen: Observation
) -> Iterator[Change]:
    """Addresses, then routes, of every port with an inner end; `there` are those that stay."""
    nodes: dict[str, list[Port]] = {}
    for place, port in wiring.ports.items():
        if port.inner:
            nodes.setdefault(place.node, []).append(port)
            yield from _addresses(topology, port, place not in there, seen)
    for node, ports in nodes.items():
        devices = {port.inner.name for port in ports if port.inner and port.attachment in there}
        yield from _routes(topology, wiring, node, ports[0], devices, seen)


def _element(topology: Topology, node: str) -> Element:
    return Element("sap" if node in topology.saps else "vnf", node)


def _addresses(topology: Topology, port: Port, fresh: bool, seen: Observation) -> Iterator[Change]:
    assert port.inner is not None
    where, device = port.inner.netns, port.inner.name
    view = seen.get(where)
    wanted = desired_addresses(topology, port)
    there = set() if view is None or fresh else view.lasting_of(device, wanted)
    steps = [_address(where, device, text, True) for text in wanted if text not in there]
    steps += [_address(where, device, text, False) for text in sorted(there - set(wanted))]
    yield from _change(topology, port.attachment.node, fresh, f"addresses of {device}", steps)


def _change(
    topology: Topology, node: str, fresh: bool, what: str, steps: Iterable[Step]
) -> Iterator[Change]:
    found = [(Phase.ADDRESS, step) for step in steps]
    if found:
        symbol, reason = (Symbol.ADD, "") if fresh else (Symbol.CHANGE, what)
        yield Change(_element(topology, node), symbol, reason, steps=found)


def _address(where: str | None, device: str, text: str, present: bool) -> Step:
    def add() -> None:
        with Netlink(where) as netlink:
            netlink.add_address(device, text)

    def remove() -> None:
        with Netlink(where) as netlink:
            netlink.del_address(device, text)

    if present:
        return Step(f"give {text} to {where} {device}", add, remove)
    return Step(f"take {text} from {where} {device}", remove, add)


def _routes(
    topology: Topology,
    wiring: Wiring,
    node: str,
    port: Port,
    devices: set[str],
    seen: Observation,
) -> Iterator[Change]:
    assert port.inner is not None
    where = port.inner.netns
    view = seen.get(where)
    present: list[Wanted] = []
    if view is not None:
        by_index = {link.index: link.name for link in view.links.values()}
        present = [
            found
            for route in view.routes
            for found in [_as_wanted(route, by_index)]
            if not found.hops or any(device in devices for _via, device, _weight in found.hops)
        ]
    wanted = desired_routes(topology, wiring, node)
    surplus = [route for route in present if not any(_same(want, route) for want in wanted)]
    missing = [want for want in wanted if not any(_same(want, route) for route in present)]
    steps = list(_route_steps(where, surplus, missing))
    yield from _change(topology, node, not devices, "routes", steps)


def _as_wanted(route: Route, by_index: dict[int, str]) -> Wanted:
    hops = route.nexthops if route.kind == "unicast" else ()
    found = ((hop.via, by_index.get(hop.ifindex), hop.weight) for hop in hops)
    return Wanted(route.destination, tuple(found), route.kind, route.metric)


def _same(wanted: Wanted, there: Wanted) -> bool:
    """Whether a route does what is wanted; the kernel may have its next hops in another order."""
    facts = (wanted.destination, wanted.kind, wanted.metric, len(wanted.hops))
    if facts != (there.destination, there.kind, there.metric, len(there.hops)):
        return False
    pairs = zip(sorted(wanted.hops, key=repr), sorted(there.hops, key=repr), strict=True)
    return all(
        (want[0], want[2]) == (found[0], found[2]) and want[1] in (None, found[1])
        for want, found in pairs
    )


def _route_steps(where: str | None, surplus: list[Wanted], missing: list[Wanted]) -> Iterator[Step]:
    """What must be there comes before what goes: packets always have a route."""
    old = {(route.destination, route.metric): route for route in surplus}
    for want in missing:
        there = old.pop((want.destination, want.metric), None)
        if there is None:
            yield Step(f"add {_text(where, want)}", _add(where, want), _delete(where, want))
        else:
            title = f"change {_text(where, want)}"
            yield Step(title, _add(where, want, True), _add(where, there, True))
    for there in old.values():
        yield Step(f"remove {_text(where, there)}", _delete(where, there), _add(where, there))


def _text(where: str | None, route: Wanted) -> str:
    return f"route {route.destination} in {where}"


def _add(where: str | None, route: Wanted, replace: bool = False) -> Callable[[], None]:
    via, device, _weight = route.hops[0] if len(route.hops) == 1 else (None, None, 1)
    several = [(str(hop[0]), hop[1], hop[2]) for hop in route.hops if len(route.hops) > 1]

    def call() -> None:
        with Netlink(where) as netlink:
            netlink.add_route(
                route.destination,
                via=via,
                device=device,
                next_hops=several,
                kind=route.kind,
                metric=route.metric,
                protocol=PROTOCOL,
                replace=replace,
            )

    return call


def _delete(where: str | None, route: Wanted) -> Callable[[], None]:
    via, device, _weight = route.hops[0] if len(route.hops) == 1 else (None, None, 1)

    def call() -> None:
        with Netlink(where) as netlink:
            netlink.del_route(
                route.destination, via=via, device=device, metric=route.metric, protocol=PROTOCOL
            )

    return call
