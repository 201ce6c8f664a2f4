"""The routing information base of one router: what the kernel said, and what XDP shall do with it.

Pure and incremental. Routes of the tables main and local, neighbours and devices come in. Out comes
a target for each prefix of the forwarding table, such that the longest match in it does what the
kernel would do with the packet, or leaves it to the kernel (`PUNT`); and for each target, where it
leads now. Targets depend on routes alone: a neighbour or a device that comes or goes changes where
they lead, however many prefixes do. What next hops do not describe is left to the kernel:
encapsulation, TOS routes, several routes of one prefix and metric.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nfv.dataplane.routing import routemsg
from nfv.dataplane.routing.egress import Egress
from nfv.dataplane.routing.routemsg import WIDTHS, Address, Link, Neighbour, Prefix, Route, Way

_NO_MAC = bytes(6)
_PUNT, _FORWARD, _BLACKHOLE, _OWN = range(4)  # enum self_action


class Target(NamedTuple):
    """Where routes lead: `mtu` is the route's own, 0 if it has none."""

    action: int  # enum self_action
    ifindex: int = 0
    address: Address | None = None  # of the neighbour
    mtu: int = 0
    route: Prefix | None = None  # the only one that leads there, if its packets are counted
    members: tuple[tuple[Target, int], ...] = ()  # of a group, which has nothing else; weights


PUNT = Target(_PUNT)
BLACKHOLE = Target(_BLACKHOLE)
OWN = Target(_OWN)


def counted(target: Target, route: Prefix) -> Target:
    """A target for one route alone; what goes to the kernel is not counted by route."""
    if target.members:
        members = ((counted(member, route), weight) for member, weight in target.members)
        return target._replace(members=tuple(members))
    return target if target.action in (_PUNT, _OWN) else target._replace(route=route)


class Adjacency(NamedTuple):
    """Where a packet goes, and its link-layer rewrite: struct self_adjacency of the router's C."""

    action: int  # enum self_action
    egress: int = 0
    tx: int = 0
    mtu: int = 0  # bytes from the IP header on
    dst_mac: bytes = _NO_MAC
    src_mac: bytes = _NO_MAC


@dataclass(frozen=True)
class Listing:
    """All prefixes of one IP version, and where each leads."""

    keys: list[int]  # key * 256 + length
    targets: list[Target]
    choices: NDArray[np.int64]  # of `targets`, by prefix

    def counted(self, version: int) -> Listing:
        """The same, with each prefix leading to a target of its own."""
        targets = [
            counted(self.targets[choice], _prefix(version, packed))
            for packed, choice in zip(self.keys, self.choices.tolist(), strict=True)
        ]
        return Listing(self.keys, targets, np.arange(len(targets)))


NeighbourKey = tuple[int, Address | None]  # ifindex, address; None: whoever is on the link


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
    everything again and calls `replace`. `renewed` is set when so much has changed that `listing`
    has it, and not `changes`.
    """

    def __init__(self, egresses: Iterable[Egress]) -> None:
        self.doubtful = False
        self._egresses = {egress.device: egress for egress in egresses}
        self._links: dict[int, Link] = {}
        self._clear()

    def _clear(self) -> None:
        self._main: dict[int, _Routes] = {4: {}, 6: {}}
        self._local: dict[int, _Routes] = {4: {}, 6: {}}
        self._wide: dict[int, set[Prefix]] = {4: set(), 6: set()}  # of _local, not of one address
        self._lengths: dict[int, Counter[int]] = {4: Counter(), 6: Counter()}  # of _main
        self._macs: dict[NeighbourKey, bytes] = {}
        self._hosts: dict[int, list[int]] = {4: [], 6: []}  # addresses in _macs, sorted
        self._shared: Counter[Address] = Counter()  # devices that have a neighbour of an address
        self._dirty: set[Prefix] = set()
        self.renewed = True
        self._moved: set[NeighbourKey] | None = None  # None: all

    @property
    def links(self) -> Mapping[int, Link]:
        """The devices, by index."""
        return self._links

    @property
    def neighbours(self) -> int:
        """How many usable neighbours there are."""
        return len(self._macs)

    @property
    def own(self) -> Iterator[Prefix]:
        """The router's own IPv4 addresses; a prefix where all of it are. Not those of loopback."""
        for packed in self._local[4]:
            prefix = _prefix(4, packed)
            if self._evaluate(prefix) is OWN and not any(
                covers(one, prefix) for one in RESERVED[4]
            ):
                yield prefix

    def size(self, version: int) -> int:
        """About how many prefixes `listing` has."""
        return len(self._main[version]) + len(self._local[version]) + len(self._hosts[version])

    def rewire(self, egresses: Iterable[Egress]) -> None:
        """Learn which devices lead where from now on."""
        self._egresses = {egress.device: egress for egress in egresses}
        self._moved = None

    def replace(
        self,
        links: Iterable[Link],
        routes: Iterable[tuple[int, Way]],
        neighbours: Iterable[Neighbour],
    ) -> None:
        """Forget what is known, in favour of a complete list.

        A route is its prefix, as key * 256 + length, and its way.
        """
        self._clear()
        self._links = {link.ifindex: link for link in links}
        for packed, way in routes:
            table = self._table(way)
            if table is not None:
                others = table.get(packed)
                table[packed] = way if others is None else (*_ways(others), way)
        for version in WIDTHS:
            self._lengths[version].update(packed & 0xFF for packed in self._main[version])
            found = (_prefix(version, packed) for packed in self._local[version])
            self._wide[version].update(p for p in found if p.length < WIDTHS[version])
        for neighbour in neighbours:
            self.set_neighbour(neighbour)
        self.doubtful = False

    def set_link(self, link: Link) -> None:
        """A device is there, as given."""
        if self._links.get(link.ifindex) != link:
            self._links[link.ifindex] = link
            self._moved = None

    def del_link(self, ifindex: int) -> None:
        """A device is gone."""
        if self._links.pop(ifindex, None) is not None:
            self._moved = None

    def set_neighbour(self, neighbour: Neighbour) -> None:
        """A neighbour is there, usable or not."""
        if neighbour.mac is None:
            self.del_neighbour(neighbour)
            return
        key = neighbour.ifindex, neighbour.address
        before = self._macs.get(key)
        if before == neighbour.mac:
            return
        self._macs[key] = neighbour.mac
        self._move(key)
        if before is None:
            self._shared[neighbour.address] += 1
            self._dirty.add(host(neighbour.address))
            if self._shared[neighbour.address] == 1:
                insort(self._hosts[neighbour.address.version], neighbour.address.number)

    def del_neighbour(self, neighbour: Neighbour) -> None:
        """A neighbour is gone."""
        key = neighbour.ifindex, neighbour.address
        if self._macs.pop(key, None) is None:
            return
        self._move(key)
        self._dirty.add(host(neighbour.address))
        self._shared[neighbour.address] -= 1
        if not self._shared[neighbour.address]:
            del self._shared[neighbour.address]
            hosts = self._hosts[neighbour.address.version]
            del hosts[bisect_left(hosts, neighbour.address.number)]

    def add_route(self, route: Route, replaces: bool) -> None:
        """A route came; `replaces` one of the same TOS and metric (NLM_F_REPLACE)."""
        table = self._table(route.way)
        if table is None:
            return
        rivals = _rivals(table, route)
        if route.way in rivals:
            return
        if rivals and (route.way.hops or any(rival.hops for rival in rivals)):
            self.doubtful = True  # IPv6: is it another next hop of theirs, or all of them?
        elif replaces and len(rivals) > 1:
            self.doubtful = True
        else:
            if replaces and rivals:
                self._discard(table, route._replace(way=rivals[0]))
            self._store(table, route)

    def del_route(self, route: Route) -> None:
        """A route went."""
        table = self._table(route.way)
        if table is None:
            return
        rivals = _rivals(table, route)
        if route.way in rivals:
            self._discard(table, route)
        elif rivals:
            self.doubtful = True

    def changes(self) -> dict[Prefix, Target | None]:
        """Where prefixes lead that something has changed for; None is a prefix that went."""
        dirty, self._dirty = self._dirty, set()
        return {prefix: self._evaluate(prefix) for prefix in dirty}

    def listing(self, version: int) -> Listing:
        """Where all prefixes of a version lead."""
        main = self._main[version]
        keys, routes = list(main), list(main.values())
        targets, by_route = self._plain_targets(routes)
        choices = np.fromiter(map(by_route.__getitem__, map(id, routes)), np.int64, len(routes))
        single = (choices < 0) | self._is_special(version, keys)
        alone = [keys[at] for at in np.flatnonzero(single).tolist()]
        unrouted = {
            packed for packed in map(_packed, self._unrouted(version)) if packed not in main
        }
        known = {target: at for at, target in enumerate(targets)}
        kept = ~single
        keys = [packed for packed, is_kept in zip(keys, kept.tolist(), strict=True) if is_kept]
        extra = []
        for packed in (*alone, *unrouted):
            target = self._evaluate(_prefix(version, packed))
            if target is not None:
                keys.append(packed)
                extra.append(known.setdefault(target, len(known)))
        chosen = np.concatenate([choices[kept], np.array(extra, np.int64)])
        return Listing(keys, list(known), chosen)

    def renew(self) -> None:
        """Everything was taken from `listing`."""
        self.renewed = False
        self._dirty.clear()

    def moved(self) -> set[NeighbourKey] | None:
        """The neighbours that something has changed for since the last call; None: all."""
        moved, self._moved = self._moved, set()
        return moved

    def adjacency(self, target: Target) -> Adjacency:
        """Where a target leads now: to the kernel if something is missing for it.

        The egress is then the interface by which its hosts come in.
        """
        link = self._links.get(target.ifindex)
        egress = self._egresses.get(link.name) if link else None
        if link is None or egress is None:
            return Adjacency(_PUNT if target.action == _FORWARD else target.action)
        mac = self._macs.get((target.ifindex, target.address)) if target.address else None
        if mac is None or not link.running:
            return Adjacency(_PUNT, egress.port)
        mtu = min(link.mtu, target.mtu or link.mtu)
        return Adjacency(_FORWARD, egress.port, egress.tx, mtu, mac, link.mac)

    def _table(self, way: Way) -> _Routes | None:
        if way.table == routemsg.TABLE_MAIN:
            return self._main[way.version]
        return self._local[way.version] if way.table == routemsg.TABLE_LOCAL else None

    def _store(self, table: _Routes, route: Route) -> None:
        others = table.get(route.packed)
        table[route.packed] = route.way if others is None else (*_ways(others), route.way)
        if others is None:
            self._index(table, route.prefix, 1)
        self._touch_route(route)

    def _discard(self, table: _Routes, route: Route) -> None:
        others = list(_ways(table[route.packed]))
        others.remove(route.way)
        if others:
            table[route.packed] = others[0] if len(others) == 1 else tuple(others)
        else:
            del table[route.packed]
            self._index(table, route.prefix, -1)
        self._touch_route(route)

    def _index(self, table: _Routes, prefix: Prefix, change: int) -> None:
        """A prefix got its first route in a table (1), or lost its last (-1)."""
        if table is self._main[prefix.version]:
            self._lengths[prefix.version][prefix.length] += change
        elif prefix.length < WIDTHS[prefix.version]:
            self._wide[prefix.version] ^= {prefix}

    def _touch_route(self, route: Route) -> None:
        """Note what a change of a route may change: its prefix, and the neighbours within."""
        prefix = route.prefix
        room = WIDTHS[prefix.version] - prefix.length
        if room and route.way.table == routemsg.TABLE_LOCAL:
            self.renewed = True  # it decides about all routes within
        self._dirty.add(prefix)
        hosts = self._hosts[prefix.version]
        low = bisect_left(hosts, prefix.key)
        high = bisect_right(hosts, prefix.key + (1 << room) - 1)
        self._dirty.update(host(Address(prefix.version, number)) for number in hosts[low:high])

    def _move(self, key: NeighbourKey) -> None:
        if self._moved is not None:
            self._moved.add(key)

    # All at once

    def _plain_targets(self, routes: Iterable[_RoutesOfOne]) -> tuple[list[Target], dict[int, int]]:
        """Targets that depend on the way alone, and their places by the way's id(); -1: others."""
        known: dict[Target, int] = {}
        by_route: dict[int, int] = {}
        for found in {id(found): found for found in routes}.values():
            target = None
            if isinstance(found, Way):
                target = _toward(found)
            by_route[id(found)] = -1 if target is None else known.setdefault(target, len(known))
        return list(known), by_route

    def _is_special(self, version: int, keys: list[int]) -> NDArray[np.bool_]:
        """Which prefixes more than their own routes may decide about."""
        lengths = np.fromiter((packed & 0xFF for packed in keys), np.int64, len(keys))
        tops = tops_of(version, keys)
        found = lengths > 64
        for wide in (*RESERVED[version], *self._wide[version]):
            if wide.length <= 64:
                shift = np.uint64(64 - wide.length)
                top = np.uint64(wide.key << 128 - WIDTHS[version] >> 64)
                found |= (lengths >= wide.length) & (tops >> shift == top >> shift)
        local = self._local[version]
        found |= np.fromiter((packed in local for packed in keys), np.bool_, len(keys))
        return found

    def _unrouted(self, version: int) -> Iterator[Prefix]:
        """Prefixes that may be in the table without a route in table main."""
        yield from RESERVED[version]
        yield from (host(Address(version, number)) for number in self._hosts[version])
        yield from (_prefix(version, packed) for packed in self._local[version])

    # One by one

    def _evaluate(self, prefix: Prefix) -> Target | None:
        """What the forwarding table shall say for a prefix; None: no more than a shorter one."""
        packed = _packed(prefix)
        if prefix in RESERVED[prefix.version]:
            return PUNT
        local = self._local[prefix.version].get(packed)
        if local is not None:
            is_own = any(way.kind == routemsg.LOCAL for way in _ways(local))
            return OWN if is_own and prefix.version == 4 else PUNT
        routes = self._main[prefix.version].get(packed)
        if self._is_local(prefix):
            return PUNT if routes else None
        if routes is not None:
            return self._follow(prefix, _best(_ways(routes)))
        if prefix.length < WIDTHS[prefix.version]:
            return None
        return self._neighbour_of(prefix)

    def _is_local(self, prefix: Prefix) -> bool:
        """Whether a shorter prefix leaves all of this one to the kernel.

        The kernel reads table local before table main, whatever the lengths of their prefixes.
        """
        wider = (*RESERVED[prefix.version], *self._wide[prefix.version])
        return any(covers(other, prefix) for other in wider)

    def _follow(self, prefix: Prefix, way: Way | None) -> Target:
        """What a route does with packets for its prefix."""
        if way is None:
            return PUNT
        target = _toward(way)
        if target is not None:
            return target
        if prefix.length < WIDTHS[prefix.version]:
            # The neighbours on the link have their own entries.
            return Target(_PUNT, way.ifindex)
        return Target(_FORWARD, way.ifindex, Address(prefix.version, prefix.key), way.mtu)

    def _neighbour_of(self, prefix: Prefix) -> Target | None:
        """The target of a host on the link of the route that covers it."""
        way = self._covering(prefix)
        if way is None or _toward(way) is not None:
            return None
        address = Address(prefix.version, prefix.key)
        if (way.ifindex, address) not in self._macs:
            return None
        return Target(_FORWARD, way.ifindex, address, way.mtu)

    def _covering(self, prefix: Prefix) -> Way | None:
        """The best route of the longest prefix that is shorter than this one."""
        width = WIDTHS[prefix.version]
        for length in sorted(self._lengths[prefix.version], reverse=True):
            if length < prefix.length:
                shift = width - length
                packed = prefix.key >> shift << shift + 8 | length
                routes = self._main[prefix.version].get(packed)
                if routes is not None:
                    return _best(_ways(routes))
        return None


_RoutesOfOne = Way | tuple[Way, ...]
_Routes = dict[int, _RoutesOfOne]
"""By key * 256 + length."""


def tops_of(version: int, keys: list[int]) -> NDArray[np.uint64]:
    """The first 64 bits of prefixes, given as key * 256 + length."""
    shift, back = (8, 32) if version == 4 else (72, 0)
    return np.fromiter((packed >> shift << back for packed in keys), np.uint64, len(keys))


def _prefix(version: int, packed: int) -> Prefix:
    return Prefix(version, packed >> 8, packed & 0xFF)


def _packed(prefix: Prefix) -> int:
    return prefix.key << 8 | prefix.length


def _ways(found: _RoutesOfOne) -> tuple[Way, ...]:
    return (found,) if isinstance(found, Way) else found


def _toward(way: Way) -> Target | None:
    """Where a route leads whatever its prefix is; None: straight to the hosts of a link."""
    if way.special or way.tos:
        return PUNT
    if way.hops:
        return _group(way)
    if way.kind == routemsg.BLACKHOLE:
        return BLACKHOLE
    if way.kind != routemsg.UNICAST:
        return PUNT
    if way.gateway is None:
        return None
    return Target(_FORWARD, way.ifindex, way.gateway, way.mtu)


def _group(way: Way) -> Target:
    """Where a multipath route leads; a share that is straight for a link is the kernel's affair."""
    hops = [(Target(_FORWARD, hop.ifindex, hop.gateway, way.mtu), hop.weight) for hop in way.hops]
    if way.kind != routemsg.UNICAST or any(hop.address is None for hop, _weight in hops):
        return PUNT
    return Target(_FORWARD, members=tuple(hops))


def _rivals(table: _Routes, route: Route) -> list[Way]:
    """The routes that the kernel tells from this one by their next hops alone."""
    found = table.get(route.packed)
    if found is None:
        return []
    mine = route.way.tos, route.way.metric
    return [other for other in _ways(found) if (other.tos, other.metric) == mine]


def _best(ways: tuple[Way, ...]) -> Way | None:
    """The route with the lowest metric; None where it depends on more than the destination."""
    if any(way.tos for way in ways):
        return None
    metric = min(way.metric for way in ways)
    first, *others = (way for way in ways if way.metric == metric)
    return None if others else first
