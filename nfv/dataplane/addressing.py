"""Addresses and routes of hosts and routers: how they differ from what is declared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from nfv.chain.path import Attachment
from nfv.chain.topology import Topology
from nfv.dataplane.netlink import Netlink
from nfv.dataplane.observation import PROTOCOL, Observation
from nfv.dataplane.plan import Change, Element, Phase, Symbol
from nfv.dataplane.rtnl import Route
from nfv.dataplane.transaction import Step
from nfv.dataplane.wiring import Port, Wiring


@dataclass(frozen=True)
class Wanted:
    """A route as declared; a device of None leaves the choice to the kernel."""

    destination: str
    via: str | None
    device: str | None
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
        return [
            Wanted(
                "0.0.0.0/0" if gateway.version == 4 else "::/0",
                str(gateway),
                None,
                "unicast",
                0 if gateway.version == 4 else 1024,
            )
            for gateway in topology.saps[node].gateways
        ]
    found = []
    for route in topology.vnfs[node].routes:
        device = None
        if route.interface is not None:
            inner = wiring.ports[Attachment(node, route.interface)].inner
            device = inner.name if inner else None
        via = str(route.via) if route.via else None
        found.append(Wanted(str(route.to), via, device, route.type or "unicast", route.priority))
    return found


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
            if found.device in devices or found.kind != "unicast"
        ]
    wanted = desired_routes(topology, wiring, node)
    surplus = [route for route in present if not any(_same(want, route) for want in wanted)]
    missing = [want for want in wanted if not any(_same(want, route) for route in present)]
    steps = list(_route_steps(where, surplus, missing))
    yield from _change(topology, node, not devices, "routes", steps)


def _as_wanted(route: Route, by_index: dict[int, str]) -> Wanted:
    hop = route.nexthops[0] if route.nexthops else None
    unicast = route.kind == "unicast" and hop is not None
    return Wanted(
        route.destination,
        hop.via if unicast and hop else None,
        by_index.get(hop.ifindex) if unicast and hop else None,
        route.kind,
        route.metric,
    )


def _same(wanted: Wanted, there: Wanted) -> bool:
    return (
        (wanted.destination, wanted.via, wanted.kind, wanted.metric)
        == (there.destination, there.via, there.kind, there.metric)
    ) and wanted.device in (None, there.device)


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
    def call() -> None:
        with Netlink(where) as netlink:
            netlink.add_route(
                route.destination,
                via=route.via,
                device=route.device,
                kind=route.kind,
                metric=route.metric,
                protocol=PROTOCOL,
                replace=replace,
            )

    return call


def _delete(where: str | None, route: Wanted) -> Callable[[], None]:
    def call() -> None:
        with Netlink(where) as netlink:
            netlink.del_route(
                route.destination,
                via=route.via,
                device=route.device,
                metric=route.metric,
                protocol=PROTOCOL,
            )

    return call
