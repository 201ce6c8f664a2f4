"""The RIB, fed with changes one by one, against what a plain reading of the tables says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfv.dataplane.routing.egress import Egress
from nfv.dataplane.routing.rib import PUNT, RESERVED, Adjacency, Rib, Target, covers, host
from nfv.dataplane.routing.routemsg import (
    BLACKHOLE as BLACKHOLE_ROUTE,
)
from nfv.dataplane.routing.routemsg import (
    TABLE_LOCAL,
    TABLE_MAIN,
    UNICAST,
    WIDTHS,
    Address,
    Link,
    Neighbour,
    NextHop,
    Prefix,
    Route,
    Way,
)

UNREACHABLE_ROUTE = 7
LAN, WAN, FOREIGN = 2, 3, 4
TO_KERNEL = Adjacency(0)
EGRESSES = (Egress("lan", 10, 20), Egress("wan", 11, 21))
NAMES = {LAN: "lan", WAN: "wan", FOREIGN: "dummy"}
MACS = (b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02")
OWN_MACS = (b"\x02\0\0\0\1\x01", b"\x02\0\0\0\1\x02")

# Few addresses and lengths, for events to meet; the last of each version is reserved.
SEEDS = {
    4: (0x0A000001, 0x0A000002, 0x0A000081, 0xE0000001),
    6: (0x20010DB8 << 96 | 1, 0x20010DB8 << 96 | 1 << 63, 0xFE80 << 112 | 1),
}
ADDRESSES = [Address(version, number) for version in SEEDS for number in SEEDS[version]]
LENGTHS = {4: (0, 8, 24, 25, 32), 6: (0, 32, 65, 128)}


Decision: TypeAlias = Adjacency | tuple[tuple[Adjacency, int], ...]
"""Where a packet goes, or several next hops with their weights."""


def prefix_of(version: int, number: int, length: int) -> Prefix:
    shift = WIDTHS[version] - length
    return Prefix(version, number >> shift << shift, length)


def addresses() -> st.SearchStrategy[Address]:
    return st.sampled_from(ADDRESSES)


@st.composite
def prefixes(draw: st.DrawFn) -> Prefix:
    version, number = draw(addresses())
    return prefix_of(version, number, draw(st.sampled_from(LENGTHS[version])))


@st.composite
def rare_hops(draw: st.DrawFn) -> tuple[NextHop, ...]:
    """The next hops of a multipath route, for one route in twenty."""
    hop = st.builds(
        NextHop,
        ifindex=st.sampled_from([LAN, LAN, WAN, FOREIGN]),
        gateway=st.none() | addresses(),
        weight=st.integers(1, 3),
    )
    if draw(st.sampled_from([True] * 9 + [False])):
        return ()
    return tuple(draw(st.lists(hop, min_size=1, max_size=3)))


@st.composite
def routes(draw: st.DrawFn) -> Route:
    rarely = st.sampled_from([False] * 19 + [True])
    prefix = draw(prefixes())
    ways = st.builds(
        Way,
        version=st.just(prefix.version),
        table=st.sampled_from([TABLE_MAIN] * 8 + [TABLE_LOCAL, 100]),
        tos=st.sampled_from([0] * 19 + [16]),
        metric=st.sampled_from([0, 100]),
        kind=st.sampled_from([UNICAST] * 8 + [BLACKHOLE_ROUTE, UNREACHABLE_ROUTE]),
        ifindex=st.sampled_from([LAN] * 6 + [WAN, WAN, FOREIGN, 0]),
        gateway=st.none() | st.none() | addresses(),
        mtu=st.sampled_from([0, 1280, 9000]),
        hops=st.just(()) | rare_hops(),
        special=rarely,
    )
    return Route(prefix, draw(ways))


def neighbours() -> st.SearchStrategy[Neighbour]:
    return st.builds(
        Neighbour,
        ifindex=st.sampled_from([LAN, LAN, WAN, FOREIGN]),
        address=addresses(),
        mac=st.sampled_from([None, *MACS, *MACS]),
        stale=st.booleans(),
    )


@st.composite
def links(draw: st.DrawFn) -> Link:
    ifindex = draw(st.sampled_from([*NAMES]))
    mac, mtu = draw(st.sampled_from(OWN_MACS)), draw(st.sampled_from([1500, 1400]))
    return Link(ifindex, NAMES[ifindex], mac, mtu, draw(st.booleans()))


@dataclass
class Kernel:
    """The tables as the kernel has them."""

    links: dict[int, Link] = field(default_factory=dict)
    routes: list[Route] = field(default_factory=list)
    macs: dict[tuple[int, Address], bytes] = field(default_factory=dict)

    def rivals(self, route: Route) -> list[Route]:
        def slot(one: Route) -> tuple[object, ...]:
            return one.way.table, one.prefix, one.way.tos, one.way.metric

        return [other for other in self.routes if slot(other) == slot(route)]

    def neighbours(self) -> list[Neighbour]:
        return [Neighbour(*key, mac, False) for key, mac in self.macs.items()]

    def decide(self, address: Address) -> Decision:
        """Where a packet to an address goes, from first principles."""
        at = host(address)
        covering = [
            route
            for route in self.routes
            if route.prefix.version == at.version and covers(route.prefix, at)
        ]
        if any(covers(reserved, at) for reserved in RESERVED[at.version]):
            return TO_KERNEL
        if any(route.way.table == TABLE_LOCAL for route in covering):
            return TO_KERNEL
        candidates = [route for route in covering if route.way.table == TABLE_MAIN]
        if not candidates:
            return TO_KERNEL
        longest = max(route.prefix.length for route in candidates)
        candidates = [route for route in candidates if route.prefix.length == longest]
        lowest = min(route.way.metric for route in candidates)
        best = [route for route in candidates if route.way.metric == lowest]
        if len(best) > 1 or any(route.way.tos for route in candidates):
            return TO_KERNEL
        way = best[0].way
        if not way.hops or way.special:
            return self.follow(way, address)
        if way.kind != UNICAST or any(hop.gateway is None for hop in way.hops):
            return TO_KERNEL
        shares = (way._replace(hops=(), ifindex=h.ifindex, gateway=h.gateway) for h in way.hops)
        weights = (hop.weight for hop in way.hops)
        follow = (self.follow(share, address) for share in shares)
        return tuple(zip(follow, weights, strict=True))

    def follow(self, way: Way, address: Address) -> Adjacency:
        if way.special or way.kind not in (UNICAST, BLACKHOLE_ROUTE):
            return TO_KERNEL
        if way.kind == BLACKHOLE_ROUTE:
            return Adjacency(2)
        mac = self.macs.get((way.ifindex, way.gateway or address))
        link = self.links.get(way.ifindex)
        egress = next((e for e in EGRESSES if link and e.device == link.name), None)
        if link is None or egress is None:
            return TO_KERNEL
        if mac is None or not link.running:
            return Adjacency(0, egress.port)
        mtu = min(link.mtu, way.mtu or link.mtu)
        return Adjacency(1, egress.port, egress.tx, mtu, mac, link.mac)


class Step:
    """One event, told to the kernel's tables and to the RIB."""

    def __init__(self, kernel: Kernel, rib: Rib) -> None:
        self.kernel = kernel
        self.rib = rib

    def link(self, link: Link) -> None:
        self.kernel.links[link.ifindex] = link
        self.rib.set_link(link)

    def no_link(self, ifindex: int) -> None:
        self.kernel.links.pop(ifindex, None)
        self.rib.del_link(ifindex)

    def neighbour(self, neighbour: Neighbour) -> None:
        key = neighbour.ifindex, neighbour.address
        if neighbour.mac is None:
            self.kernel.macs.pop(key, None)
        else:
            self.kernel.macs[key] = neighbour.mac
        self.rib.set_neighbour(neighbour)

    def no_neighbour(self, neighbour: Neighbour) -> None:
        self.kernel.macs.pop((neighbour.ifindex, neighbour.address), None)
        self.rib.del_neighbour(neighbour)

    def route(self, route: Route, replaces: bool) -> None:
        rivals = self.kernel.rivals(route)
        if route in rivals:
            return
        if replaces and rivals:
            self.kernel.routes.remove(rivals[0])
        self.kernel.routes.append(route)
        self.rib.add_route(route, replaces)

    def no_route(self, number: int) -> None:
        if self.kernel.routes:
            self.rib.del_route(self.kernel.routes.pop(number % len(self.kernel.routes)))


def longest_match(table: dict[Prefix, Target], address: Address) -> Target:
    for length in range(WIDTHS[address.version], -1, -1):
        found = table.get(prefix_of(*address, length))
        if found is not None:
            return found
    return PUNT


class Reader:
    """Keeps a table and where its targets lead in step with a RIB, as its changes say."""

    def __init__(self, rib: Rib) -> None:
        self.rib = rib
        self.table: dict[Prefix, Target] = {}
        self.shown: dict[Target, Adjacency] = {}

    def update(self) -> None:
        if self.rib.renewed:
            self.table = listed(self.rib)
            self.rib.renew()
        else:
            for prefix, target in self.rib.changes().items():
                self.table.pop(prefix, None)
                if target is not None:
                    self.table[prefix] = target
        moved = self.rib.moved()
        in_use = {one for target in self.table.values() for one in singles(target)}
        for target in in_use:
            key = target.ifindex, target.address
            if target not in self.shown or moved is None or key in moved:
                self.shown[target] = self.rib.adjacency(target)
        self.shown = {target: self.shown[target] for target in in_use} | {PUNT: TO_KERNEL}

    def decide(self, address: Address) -> Decision:
        target = longest_match(self.table, address)
        if target.members:
            return tuple((self.shown[member], weight) for member, weight in target.members)
        return self.shown[target]


def singles(target: Target) -> list[Target]:
    """The next hops of a target."""
    return [member for member, _weight in target.members] or [target]


def listed(rib: Rib) -> dict[Prefix, Target]:
    """Everything that a RIB lists."""
    table = {}
    for version in WIDTHS:
        found = rib.listing(version)
        assert len(found.keys) == len(set(found.keys)) == len(found.choices)
        for packed, choice in zip(found.keys, found.choices.tolist(), strict=True):
            table[Prefix(version, packed >> 8, packed & 0xFF)] = found.targets[choice]
    return table


EVENTS = st.one_of(
    st.tuples(st.just("link"), links()),
    st.tuples(st.just("no_link"), st.sampled_from([*NAMES])),
    st.tuples(st.just("neighbour"), neighbours()),
    st.tuples(st.just("neighbour"), neighbours()),
    st.tuples(st.just("no_neighbour"), neighbours()),
    st.tuples(st.just("route"), routes(), st.booleans()),
    st.tuples(st.just("route"), routes(), st.booleans()),
    st.tuples(st.just("no_route"), st.integers(0, 50)),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(EVENTS, min_size=1, max_size=3), max_size=15))
def test_any_course_of_events_ends_where_the_kernel_is(
    batches: list[list[tuple[str, ...]]],
) -> None:
    kernel, rib = Kernel(), Rib(EGRESSES)
    step = Step(kernel, rib)
    for ifindex, name in NAMES.items():
        step.link(Link(ifindex, name, OWN_MACS[0], 1500, True))
    for address in ADDRESSES[::2]:
        step.neighbour(Neighbour(LAN, address, MACS[0], False))
    reader = Reader(rib)
    for batch in batches:
        for event, *arguments in batch:
            getattr(step, event)(*arguments)
        if rib.doubtful:
            routes_ = [(route.packed, route.way) for route in kernel.routes]
            rib.replace(kernel.links.values(), routes_, kernel.neighbours())
        reader.update()
        assert reader.table == listed(rib)
        for address in ADDRESSES:
            assert reader.decide(address) == kernel.decide(address), address
        assert not rib.changes()


ON_LINK = Way(4, TABLE_MAIN, 0, 0, UNICAST, LAN, None, 0, (), False)
GATEWAY = Address(4, 0x0A000002)
CONNECTED = Route(prefix_of(4, 0x0A000000, 24), ON_LINK)
ROUTED = Route(prefix_of(4, 0x14000000, 8), ON_LINK._replace(gateway=GATEWAY))
NEIGHBOUR = Neighbour(LAN, GATEWAY, MACS[0], False)
TARGET = Target(1, LAN, GATEWAY)


@pytest.fixture
def rib() -> Rib:
    rib = Rib(EGRESSES)
    link = Link(LAN, "lan", OWN_MACS[0], 1500, True)
    routes_ = [(route.packed, route.way) for route in (CONNECTED, ROUTED)]
    rib.replace([link], routes_, [NEIGHBOUR])
    rib.renew()
    rib.moved()
    return rib


def test_a_neighbour_that_moves_changes_where_its_target_leads_and_no_route(rib: Rib) -> None:
    rib.set_neighbour(NEIGHBOUR._replace(mac=MACS[1]))

    assert rib.changes() == {}
    assert rib.moved() == {(LAN, GATEWAY)}
    assert rib.adjacency(TARGET) == Adjacency(1, 10, 20, 1500, MACS[1], OWN_MACS[0])


def test_a_neighbour_that_comes_changes_only_its_own_entry(rib: Rib) -> None:
    other = Address(4, 0x0A000003)

    rib.set_neighbour(Neighbour(LAN, other, MACS[1], False))

    assert rib.changes() == {host(other): Target(1, LAN, other)}


def test_a_confirmed_neighbour_changes_nothing(rib: Rib) -> None:
    rib.set_neighbour(NEIGHBOUR._replace(stale=True))

    assert rib.changes() == {}
    assert rib.moved() == set()


def test_interfaces_that_lead_elsewhere(rib: Rib) -> None:
    rib.rewire([Egress("lan", 30, 40)])

    assert rib.moved() is None
    assert rib.adjacency(TARGET) == Adjacency(1, 30, 40, 1500, MACS[0], OWN_MACS[0])


@pytest.mark.parametrize("came_first", [True, False])
def test_a_multipath_route_that_meets_another_is_doubtful(rib: Rib, came_first: bool) -> None:
    prefix = prefix_of(4, 0x15000000, 8)
    single = Route(prefix, ROUTED.way)
    multipath = Route(prefix, ROUTED.way._replace(hops=(NextHop(LAN, GATEWAY, 1),)))
    for route in (multipath, single) if came_first else (single, multipath):
        assert not rib.doubtful
        rib.add_route(route, replaces=False)

    assert rib.doubtful


def test_a_route_that_went_in_another_shape_is_doubtful(rib: Rib) -> None:
    rib.del_route(Route(ROUTED.prefix, ON_LINK))

    assert rib.doubtful


def test_news_that_a_list_had_already_change_nothing(rib: Rib) -> None:
    rib.add_route(ROUTED, replaces=False)
    rib.del_route(Route(ROUTED.prefix, ROUTED.way._replace(metric=7)))

    assert not rib.doubtful
    assert rib.changes() == {}
