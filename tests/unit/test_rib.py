"""The RIB, fed with changes one by one, against what a plain reading of the tables says."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfv.dataplane.egress import Egress
from nfv.dataplane.rib import BLACKHOLE, PUNT, RESERVED, Adjacency, Rib, covers, host
from nfv.dataplane.routemsg import (
    BLACKHOLE as BLACKHOLE_ROUTE,
)
from nfv.dataplane.routemsg import (
    TABLE_LOCAL,
    TABLE_MAIN,
    UNICAST,
    WIDTHS,
    Address,
    Link,
    Neighbour,
    Prefix,
    Route,
)

UNREACHABLE_ROUTE = 7
LAN, WAN, FOREIGN = 2, 3, 4
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


def prefix_of(version: int, number: int, length: int) -> Prefix:
    shift = WIDTHS[version] - length
    return Prefix(version, number >> shift << shift, length)


def addresses() -> st.SearchStrategy[Address]:
    return st.sampled_from(ADDRESSES)


@st.composite
def prefixes(draw: st.DrawFn) -> Prefix:
    version, number = draw(addresses())
    return prefix_of(version, number, draw(st.sampled_from(LENGTHS[version])))


def routes() -> st.SearchStrategy[Route]:
    rarely = st.sampled_from([False] * 19 + [True])
    return st.builds(
        Route,
        prefix=prefixes(),
        table=st.sampled_from([TABLE_MAIN] * 8 + [TABLE_LOCAL, 100]),
        tos=st.sampled_from([0] * 19 + [16]),
        metric=st.sampled_from([0, 100]),
        kind=st.sampled_from([UNICAST] * 8 + [BLACKHOLE_ROUTE, UNREACHABLE_ROUTE]),
        ifindex=st.sampled_from([LAN] * 6 + [WAN, WAN, FOREIGN, 0]),
        gateway=st.none() | st.none() | addresses(),
        mtu=st.sampled_from([0, 1280, 9000]),
        multipath=rarely,
        special=rarely,
    )


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
            return one.table, one.prefix, one.tos, one.metric

        return [other for other in self.routes if slot(other) == slot(route)]

    def neighbours(self) -> list[Neighbour]:
        return [Neighbour(*key, mac, False) for key, mac in self.macs.items()]

    def decide(self, address: Address) -> Adjacency:
        """Where a packet to an address goes, from first principles."""
        at = host(address)
        covering = [
            route
            for route in self.routes
            if route.prefix.version == at.version and covers(route.prefix, at)
        ]
        if any(covers(reserved, at) for reserved in RESERVED[at.version]):
            return PUNT
        if any(route.table == TABLE_LOCAL for route in covering):
            return PUNT
        candidates = [route for route in covering if route.table == TABLE_MAIN]
        if not candidates:
            return PUNT
        longest = max(route.prefix.length for route in candidates)
        candidates = [route for route in candidates if route.prefix.length == longest]
        lowest = min(route.metric for route in candidates)
        best = [route for route in candidates if route.metric == lowest]
        if len(best) > 1 or any(route.tos for route in candidates):
            return PUNT
        return self.follow(best[0], address)

    def follow(self, route: Route, address: Address) -> Adjacency:
        if route.special or route.multipath or route.kind not in (UNICAST, BLACKHOLE_ROUTE):
            return PUNT
        if route.kind == BLACKHOLE_ROUTE:
            return BLACKHOLE
        mac = self.macs.get((route.ifindex, route.gateway or address))
        link = self.links.get(route.ifindex)
        egress = next((e for e in EGRESSES if link and e.device == link.name), None)
        if mac is None or link is None or egress is None or not link.running:
            return PUNT
        mtu = min(link.mtu, route.mtu or link.mtu)
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


def longest_match(table: dict[Prefix, Adjacency], address: Address) -> Adjacency:
    for length in range(WIDTHS[address.version], -1, -1):
        found = table.get(prefix_of(*address, length))
        if found is not None:
            return found
    return PUNT


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
    table: dict[Prefix, Adjacency] = {}
    for batch in batches:
        for event, *arguments in batch:
            getattr(step, event)(*arguments)
        if rib.doubtful:
            rib.replace(kernel.links.values(), kernel.routes, kernel.neighbours())
        for prefix, adjacency in rib.changes().items():
            if adjacency is None:
                del table[prefix]
            else:
                table[prefix] = adjacency
        assert table == rib.desired
        for address in ADDRESSES:
            assert longest_match(table, address) == kernel.decide(address), address
        assert not rib.changes()


CONNECTED = Route(
    prefix_of(4, 0x0A000000, 24), TABLE_MAIN, 0, 0, UNICAST, LAN, None, 0, False, False
)
GATEWAY = Address(4, 0x0A000002)
ROUTED = CONNECTED._replace(prefix=prefix_of(4, 0x14000000, 8), gateway=GATEWAY)
NEIGHBOUR = Neighbour(LAN, GATEWAY, MACS[0], False)


@pytest.fixture
def rib() -> Rib:
    rib = Rib(EGRESSES)
    rib.replace([Link(LAN, "lan", OWN_MACS[0], 1500, True)], [CONNECTED, ROUTED], [NEIGHBOUR])
    rib.changes()
    return rib


def test_only_what_an_event_concerns_is_changed(rib: Rib) -> None:
    moved = Adjacency(1, 10, 20, 1500, MACS[1], OWN_MACS[0])

    rib.set_neighbour(NEIGHBOUR._replace(mac=MACS[1]))

    assert rib.changes() == {ROUTED.prefix: moved, host(GATEWAY): moved}


def test_a_confirmed_neighbour_changes_nothing(rib: Rib) -> None:
    rib.set_neighbour(NEIGHBOUR._replace(stale=True))

    assert rib.changes() == {}


def test_a_gateway_and_a_host_on_the_link_are_in_use(rib: Rib) -> None:
    idle = Neighbour(LAN, Address(4, 0x0B000001), MACS[0], True)
    rib.set_neighbour(idle)
    rib.changes()

    assert rib.uses(NEIGHBOUR)
    assert not rib.uses(idle)
    rib.del_route(ROUTED)
    rib.changes()
    assert rib.uses(NEIGHBOUR), "packets for the host itself go to it"


def test_new_interfaces_lead_elsewhere(rib: Rib) -> None:
    rib.rewire([Egress("lan", 30, 40)])

    assert rib.changes()[ROUTED.prefix] == Adjacency(1, 30, 40, 1500, MACS[0], OWN_MACS[0])


@pytest.mark.parametrize("came_first", [True, False])
def test_a_multipath_route_that_meets_another_is_doubtful(rib: Rib, came_first: bool) -> None:
    multipath = ROUTED._replace(multipath=True, prefix=prefix_of(4, 0x15000000, 8))
    single = multipath._replace(multipath=False)
    for route in (multipath, single) if came_first else (single, multipath):
        assert not rib.doubtful
        rib.add_route(route, replaces=False)

    assert rib.doubtful


def test_a_route_that_went_in_another_shape_is_doubtful(rib: Rib) -> None:
    rib.del_route(ROUTED._replace(gateway=None))

    assert rib.doubtful


def test_news_that_a_list_had_already_change_nothing(rib: Rib) -> None:
    rib.add_route(ROUTED, replaces=False)
    rib.del_route(ROUTED._replace(metric=7))

    assert not rib.doubtful
    assert rib.changes() == {}
