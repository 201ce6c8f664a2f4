"""The routes and neighbours of a router, as the kernel has them, with what went by each."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from pyroute2.netlink.rtnl import rt_proto  # type: ignore[import-untyped]

from nfv.dataplane import state
from nfv.dataplane.kernel import netns as namespaces
from nfv.dataplane.kernel.netlink import Netlink
from nfv.dataplane.kernel.rtnl import Route
from nfv.dataplane.kernel.rtsocket import RtSocket
from nfv.dataplane.paths import Total
from nfv.dataplane.routing import routecounts, routemsg
from nfv.dataplane.routing.routemsg import WIDTHS, Address, Neighbour, Prefix
from nfv.dataplane.state import State

_UNCOUNTED = frozenset({"unreachable", "prohibit", "throw"})  # the kernel's affair

Row = dict[str, object]


def rows(applied: State, function: str, netns: str) -> list[Row]:
    """Routes of table main, then neighbours; packets and bytes are those of the fast path.

    None where they are not counted: of what the kernel answers itself, and of a route beyond those
    that are counted one by one. A route onto a link has counted what its neighbours have got.
    Raises `KernelError`.
    """
    totals = routecounts.by_route(
        state.pins(applied.name) / "vnf" / function, applied.functions[function]
    )
    with Netlink(netns) as netlink:
        devices = {link.index: link.name for link in netlink.links().values()}
        routes = netlink.routes()
    neighbours = _neighbours(netns)
    counts = _Counts(totals, routes)
    return [
        *(_route(route, devices, counts) for route in routes),
        *(_neighbour(found, devices, totals) for found in neighbours),
    ]


class _Counts:
    """What was counted by the routes of the kernel."""

    def __init__(self, totals: Mapping[Prefix, Total], routes: list[Route]) -> None:
        self._totals = dict(totals)
        known = {_prefix(route.destination) for route in routes}
        lengths = sorted({(prefix.version, prefix.length) for prefix in known}, reverse=True)
        for host in totals.keys() - known:
            link = next(_covering(host, lengths, known), None)
            if link is not None:
                former = self._totals.get(link, (0, 0))
                self._totals[link] = routecounts.add(former, totals[host])

    def of(self, route: Route) -> Total | None:
        """Packets and bytes, or None if they are not known."""
        if route.kind in _UNCOUNTED:
            return None
        onto_link = all(hop.via is None for hop in route.nexthops)
        return self._totals.get(_prefix(route.destination), (0, 0) if onto_link else None)


def _covering(host: Prefix, lengths: list[tuple[int, int]], known: set[Prefix]) -> Iterator[Prefix]:
    """The known prefixes that a longer one is in, the longest first."""
    for version, length in lengths:
        if version == host.version and length < host.length:
            shift = WIDTHS[version] - length
            prefix = Prefix(version, host.key >> shift << shift, length)
            if prefix in known:
                yield prefix


def _route(route: Route, devices: Mapping[int, str], counts: _Counts) -> Row:
    via = [hop.via for hop in route.nexthops if hop.via is not None]
    names = [devices.get(hop.ifindex, "") for hop in route.nexthops]
    return _row(
        route.kind,
        route.destination,
        ", ".join(via),
        ", ".join(dict.fromkeys(names)),
        route.metric,
        rt_proto.get(route.protocol, str(route.protocol)),
        counts.of(route),
    )


def _neighbour(found: Neighbour, devices: Mapping[int, str], totals: Mapping[Prefix, Total]) -> Row:
    assert found.mac is not None
    version, number = found.address
    return _row(
        "neighbour",
        str(_address(found.address)),
        found.mac.hex(":"),
        devices.get(found.ifindex, ""),
        None,
        None,
        totals.get(Prefix(version, number, WIDTHS[version])),
    )


def _row(
    kind: str,
    destination: str,
    via: str,
    interface: str,
    metric: int | None,
    protocol: str | None,
    total: Total | None,
) -> Row:
    """One record; all have the same keys."""
    packets, size = total or (None, None)
    return {
        "kind": kind,
        "destination": destination,
        "via": via,
        "interface": interface,
        "metric": metric,
        "protocol": protocol,
        "packets": packets,
        "bytes": size,
    }


def _neighbours(netns: str) -> list[Neighbour]:
    """The usable ones."""
    what = f"list the neighbours of namespace {netns}"
    with namespaces.entered(netns):
        requests = RtSocket()
    try:
        found = requests.messages(routemsg.RTM_GETNEIGH, routemsg.neighbour_request(), what)
    finally:
        requests.close()
    known = (routemsg.neighbour(data) for data in found)
    return [neighbour for neighbour in known if neighbour is not None and neighbour.mac]


def _prefix(text: str) -> Prefix:
    network = ipaddress.ip_network(text)
    return Prefix(network.version, int(network.network_address), network.prefixlen)


def _address(address: Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    kind = ipaddress.IPv4Address if address.version == 4 else ipaddress.IPv6Address
    return kind(address.number)
