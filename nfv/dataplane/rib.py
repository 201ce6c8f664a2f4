"""The routing information base of one router: what the kernel said, and what XDP shall do with it.

Pure and incremental. Routes of the tables main and local, neighbours and devices come in; out
comes an adjacency for each prefix of the forwarding table, such that the longest match in it does
what the kernel would do with the packet, or leaves it to the kernel (`PUNT`). Whatever one next hop
behind one resolved neighbour does not describe is left to the kernel: multipath routes,
encapsulation, TOS routes, several routes of one prefix and metric.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from nfv.dataplane import routemsg
from nfv.dataplane.egress import Egress
from nfv.dataplane.routemsg import WIDTHS, Address, Link, Neighbour, Prefix, Route

_NO_MAC = bytes(6)


class Adjacency(NamedTuple):
    """Where a packet goes, and its link-layer rewrite: struct self_adjacency of the router's C."""

    action: int  # enum self_action
    egress: int = 0
    tx: int = 0
    mtu: int = 0  # bytes from the IP header on
    dst_mac: bytes = _NO_MAC
    src_mac: bytes = _NO_MAC


PUNT = Adjacency(0)
BLACKHOLE = Adjacency(2)
_FORWARD = 1

NeighbourKey = tuple[int, Address]  # ifindex, address


def _prefixes(version: int, *prefixes: tuple[int, int]) -> tuple[Prefix, ...]:
    """Prefixes from their first 16 bits and their lengths."""
    return tuple(
        Prefix(version, first << WIDTHS[version] - 16, length) for first, length in prefixes
    )


RESERVED: Mapping[int, tuple[Prefix, ...]] = {
    4: _prefixes(4, (0x0000, 8), (0x7F00, 8), (0xA9FE, 16), (0xE000, 3)),
    6: (*_prefixes(6, (0xFE80, 10), (0xFF00, 8)), Prefix(6, 0, 127)),
}
"""Destinations of limited scope, or none: the kernel's affair (RFC 6890; RFC 4291, section 2.4)."""


def host(address: Address) -> Prefix:
    """The prefix of one address."""
    return Prefix(address.version, address.number, WIDTHS[address.version])


def covers(wide: Prefix, narrow: Prefix) -> bool:
    """Whether all of `narrow` is in `wide`; both of one version."""
    if wide.length > narrow.length:
        return False
    return not (wide.key ^ narrow.key) >> WIDTHS[wide.version] - wide.length


class Rib:
    """Routes, neighbours and devices of one namespace.

    `doubtful` is set when a message fits more than one course of events: the reader then lists
    everything again and calls `replace`.
    """

    def __init__(self, egresses: Iterable[Egress]) -> None:
        self.desired: dict[Prefix, Adjacency] = {}
        self.doubtful = False
        self._egresses = {egress.device: egress for egress in egresses}
        self._links: dict[int, Link] = {}
        self._clear()

    def _clear(self) -> None:
        self._main: dict[Prefix, list[Route]] = {}
        self._local: dict[Prefix, list[Route]] = {}
        self._wide: dict[int, set[Prefix]] = {4: set(), 6: set()}  # of _local, not of one address
        self._lengths: dict[int, Counter[int]] = {4: Counter(), 6: Counter()}  # of _main
        self._macs: dict[NeighbourKey, bytes] = {}
        self._hosts: dict[int, list[int]] = {4: [], 6: []}  # addresses in _macs, sorted
        self._shared: Counter[Address] = Counter()  # devices that have a neighbour of an address
        self._waits: dict[Prefix, NeighbourKey] = {}  # the neighbour that a route leads to
        self._waiting: dict[NeighbourKey, set[Prefix]] = {}  # and the other way round
        self._dirty: set[Prefix] = set()
        self._all_dirty = True

    @property
    def links(self) -> Mapping[int, Link]:
        """The devices, by index."""
        return self._links

    @property
    def neighbours(self) -> int:
        """How many usable neighbours there are."""
        return len(self._macs)

    def rewire(self, egresses: Iterable[Egress]) -> None:
        """Learn which devices lead where from now on."""
        self._egresses = {egress.device: egress for egress in egresses}
        self._all_dirty = True

    def replace(
        self, links: Iterable[Link], routes: Iterable[Route], neighbours: Iterable[Neighbour]
    ) -> None:
        """Forget what is known, in favour of a complete list."""
        self._clear()
        self._links = {link.ifindex: link for link in links}
        for route in routes:
            if (table := self._table(route)) is not None:
                self._store(table, route)
        for neighbour in neighbours:
            self.set_neighbour(neighbour)
        self.doubtful = False

    def set_link(self, link: Link) -> None:
        """A device is there, as given."""
        if self._links.get(link.ifindex) != link:
            self._links[link.ifindex] = link
            self._all_dirty = True

    def del_link(self, ifindex: int) -> None:
        """A device is gone."""
        self._all_dirty |= self._links.pop(ifindex, None) is not None

    def set_neighbour(self, neighbour: Neighbour) -> None:
        """A neighbour is there, usable or not."""
        if neighbour.mac is None:
            self.del_neighbour(neighbour)
            return
        key = neighbour.ifindex, neighbour.address
        before = self._macs.get(key)
        if before == neighbour.mac:
            return
        if before is None:
            self._shared[neighbour.address] += 1
            if self._shared[neighbour.address] == 1:
                insort(self._hosts[neighbour.address.version], neighbour.address.number)
        self._macs[key] = neighbour.mac
        self._touch_neighbour(key)

    def del_neighbour(self, neighbour: Neighbour) -> None:
        """A neighbour is gone."""
        key = neighbour.ifindex, neighbour.address
        if self._macs.pop(key, None) is None:
            return
        self._shared[neighbour.address] -= 1
        if not self._shared[neighbour.address]:
            del self._shared[neighbour.address]
            hosts = self._hosts[neighbour.address.version]
            del hosts[bisect_left(hosts, neighbour.address.number)]
        self._touch_neighbour(key)

    def uses(self, neighbour: Neighbour) -> bool:
        """Whether packets are forwarded to a neighbour."""
        key = neighbour.ifindex, neighbour.address
        if key not in self._macs:
            return False
        entry = self.desired.get(host(neighbour.address), PUNT)
        return key in self._waiting or entry.action == _FORWARD

    def add_route(self, route: Route, replaces: bool) -> None:
        """A route came; `replaces` one of the same TOS and metric (NLM_F_REPLACE)."""
        table = self._table(route)
        if table is None:
            return
        rivals = _rivals(table, route)
        if route in rivals:
            return
        if rivals and (route.multipath or any(rival.multipath for rival in rivals)):
            self.doubtful = True  # IPv6: is it another next hop of theirs, or all of them?
        elif replaces and len(rivals) > 1:
            self.doubtful = True
        else:
            if replaces and rivals:
                self._discard(table, rivals[0])
            self._store(table, route)

    def del_route(self, route: Route) -> None:
        """A route went."""
        table = self._table(route)
        if table is None:
            return
        rivals = _rivals(table, route)
        if route in rivals:
            self._discard(table, route)
        elif rivals:
            self.doubtful = True

    def changes(self) -> dict[Prefix, Adjacency | None]:
        """What became different in `desired` since the last call; None is a prefix that went."""
        if self._all_dirty:
            self._dirty = {*self.desired, *self._all_prefixes()}
        found: dict[Prefix, Adjacency | None] = {}
        for prefix in self._dirty:
            adjacency = self._evaluate(prefix)
            if adjacency == self.desired.get(prefix):
                continue
            found[prefix] = adjacency
            if adjacency is None:
                del self.desired[prefix]
            else:
                self.desired[prefix] = adjacency
        self._dirty = set()
        self._all_dirty = False
        return found

    def _table(self, route: Route) -> dict[Prefix, list[Route]] | None:
        if route.table == routemsg.TABLE_MAIN:
            return self._main
        return self._local if route.table == routemsg.TABLE_LOCAL else None

    def _store(self, table: dict[Prefix, list[Route]], route: Route) -> None:
        routes = table.setdefault(route.prefix, [])
        routes.append(route)
        if len(routes) == 1:
            self._index(table, route.prefix, 1)
        self._touch_route(route)

    def _discard(self, table: dict[Prefix, list[Route]], route: Route) -> None:
        routes = table[route.prefix]
        routes.remove(route)
        if not routes:
            del table[route.prefix]
            self._index(table, route.prefix, -1)
        self._touch_route(route)

    def _index(self, table: dict[Prefix, list[Route]], prefix: Prefix, change: int) -> None:
        """A prefix got its first route in a table (1), or lost its last (-1)."""
        if table is self._main:
            self._lengths[prefix.version][prefix.length] += change
        elif prefix.length < WIDTHS[prefix.version]:
            self._wide[prefix.version] ^= {prefix}

    def _touch_route(self, route: Route) -> None:
        """Note what a change of a route may change: its prefix, and the neighbours within."""
        prefix = route.prefix
        room = WIDTHS[prefix.version] - prefix.length
        if room and route.table == routemsg.TABLE_LOCAL:
            self._all_dirty = True  # it decides about all routes within
        self._dirty.add(prefix)
        hosts = self._hosts[prefix.version]
        low = bisect_left(hosts, prefix.key)
        high = bisect_right(hosts, prefix.key + (1 << room) - 1)
        self._dirty.update(host(Address(prefix.version, number)) for number in hosts[low:high])

    def _touch_neighbour(self, key: NeighbourKey) -> None:
        self._dirty.add(host(key[1]))
        self._dirty.update(self._waiting.get(key, ()))

    def _all_prefixes(self) -> Iterator[Prefix]:
        for version in WIDTHS:
            yield from RESERVED[version]
            yield from (host(Address(version, number)) for number in self._hosts[version])
        yield from self._main
        yield from self._local

    def _evaluate(self, prefix: Prefix) -> Adjacency | None:
        """What the forwarding table shall say for a prefix; None: no more than a shorter one."""
        self._wait_for(prefix, None)
        if prefix in RESERVED[prefix.version] or prefix in self._local:
            return PUNT
        routes = self._main.get(prefix)
        if self._is_local(prefix):
            return PUNT if routes else None
        if routes:
            return self._follow(prefix, _best(routes))
        if prefix.length < WIDTHS[prefix.version]:
            return None
        return self._neighbour_of(prefix)

    def _is_local(self, prefix: Prefix) -> bool:
        """Whether a shorter prefix leaves all of this one to the kernel.

        The kernel reads table local before table main, whatever the lengths of their prefixes.
        """
        wider = (*RESERVED[prefix.version], *self._wide[prefix.version])
        return any(covers(other, prefix) for other in wider)

    def _follow(self, prefix: Prefix, route: Route | None) -> Adjacency:
        """What a route does with packets for its prefix."""
        if route is None or route.special or route.multipath:
            return PUNT
        if route.kind == routemsg.BLACKHOLE:
            return BLACKHOLE
        if route.kind != routemsg.UNICAST:
            return PUNT
        target = route.gateway
        if target is None:
            if prefix.length < WIDTHS[prefix.version]:
                return PUNT  # the neighbours on the link have their own entries
            target = Address(prefix.version, prefix.key)
        key = route.ifindex, target
        self._wait_for(prefix, key)
        return self._toward(key, route)

    def _neighbour_of(self, prefix: Prefix) -> Adjacency | None:
        """The adjacency of a host on the link of the route that covers it."""
        route = self._covering(prefix)
        if route is None or route.gateway or route.special or route.multipath:
            return None
        if route.kind != routemsg.UNICAST:
            return None
        key = route.ifindex, Address(prefix.version, prefix.key)
        adjacency = self._toward(key, route)
        return None if adjacency is PUNT else adjacency

    def _covering(self, prefix: Prefix) -> Route | None:
        """The best route of the longest prefix that is shorter than this one."""
        width = WIDTHS[prefix.version]
        for length in sorted(self._lengths[prefix.version], reverse=True):
            if length < prefix.length:
                shift = width - length
                routes = self._main.get(
                    Prefix(prefix.version, prefix.key >> shift << shift, length)
                )
                if routes:
                    return _best(routes)
        return None

    def _toward(self, key: NeighbourKey, route: Route) -> Adjacency:
        """Forwarding to a neighbour by a route; PUNT if something is missing for it."""
        mac = self._macs.get(key)
        link = self._links.get(key[0])
        egress = self._egresses.get(link.name) if link else None
        if mac is None or link is None or egress is None or not link.running:
            return PUNT
        mtu = min(link.mtu, route.mtu or link.mtu)
        return Adjacency(_FORWARD, egress.port, egress.tx, mtu, mac, link.mac)

    def _wait_for(self, prefix: Prefix, key: NeighbourKey | None) -> None:
        """Note which neighbour decides about a prefix, in place of the one before."""
        before = self._waits.pop(prefix, None)
        if before is not None:
            self._waiting[before].discard(prefix)
            if not self._waiting[before]:
                del self._waiting[before]
        if key is not None:
            self._waits[prefix] = key
            self._waiting.setdefault(key, set()).add(prefix)


def _rivals(table: Mapping[Prefix, list[Route]], route: Route) -> list[Route]:
    """The routes that the kernel tells from this one by their next hops alone."""
    return [
        other
        for other in table.get(route.prefix, ())
        if (other.tos, other.metric) == (route.tos, route.metric)
    ]


def _best(routes: list[Route]) -> Route | None:
    """The route with the lowest metric; None where it depends on more than the destination."""
    if any(route.tos for route in routes):
        return None
    metric = min(route.metric for route in routes)
    first, *others = (route for route in routes if route.metric == metric)
    return None if others else first
