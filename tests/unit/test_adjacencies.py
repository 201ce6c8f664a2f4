"""Adjacencies: what was counted by number belongs to routes, whoever has the number next."""

from __future__ import annotations

import pytest

from nfv.dataplane.paths import Total
from nfv.dataplane.routing.adjacencies import PUNT_NUMBER, Adjacencies
from nfv.dataplane.routing.rib import Adjacency, Target, counted
from nfv.dataplane.routing.routecounts import SIZE, add, read_tag
from nfv.dataplane.routing.routemsg import Address, Prefix
from nfv.dataplane.routing.targets import GROUP, PLACES, Targets

NUMBERS = 18  # of both banks; 4 to 8 are the first one's
HOPS = [Target(1, 2, Address(4, host)) for host in range(20)]
ROUTES = [Prefix(4, net << 8, 24) for net in range(20)]


class Bed:
    """Adjacencies in plain memory; `counts` is what programs have counted."""

    def __init__(self, memory: bytearray | None = None, bank: int = 0) -> None:
        self.memory = memory if memory is not None else bytearray(NUMBERS * SIZE)
        self.counts: list[Total] = [(0, 0)] * NUMBERS
        self.table = self.opened(bank)

    def opened(self, bank: int) -> Adjacencies:
        resolve = lambda target: Adjacency(target.action, 1, 1, 1500)  # noqa: E731
        return Adjacencies(memoryview(self.memory), bank, resolve, lambda: self.counts)

    def count(self, number: int, packets: int) -> None:
        self.counts[number] = add(self.counts[number], (packets, 100 * packets))

    def of(self, route: Prefix) -> Total:
        """What a reader finds for a route."""
        total = (0, 0)
        for number in range(NUMBERS):
            tag = read_tag(memoryview(self.memory), number)
            if tag.route == route:
                total = add(total, add(tag.carried, self.counts[number]))
        return total


@pytest.fixture
def bed() -> Bed:
    return Bed()


def test_routes_to_one_next_hop_count_apart(bed: Bed) -> None:
    first = bed.table.take(counted(HOPS[0], ROUTES[0]))
    second = bed.table.take(counted(HOPS[0], ROUTES[1]))
    assert first != second
    bed.count(first, 3)
    bed.count(second, 5)
    assert (bed.of(ROUTES[0]), bed.of(ROUTES[1])) == ((3, 300), (5, 500))


def test_a_route_that_leads_elsewhere_goes_on_counting(bed: Bed) -> None:
    former = bed.table.take(counted(HOPS[0], ROUTES[0]))
    bed.count(former, 3)
    later = bed.table.take(counted(HOPS[1], ROUTES[0]))
    bed.table.release(former)
    bed.count(former, 1)  # a packet that was on its way
    bed.count(later, 4)
    assert bed.of(ROUTES[0]) == (8, 800)


def test_a_number_that_another_route_gets(bed: Bed) -> None:
    kept = bed.table.take(counted(HOPS[0], ROUTES[0]))
    bed.count(kept, 7)
    bed.table.take(counted(HOPS[1], ROUTES[0]))
    bed.table.release(kept)
    given = [bed.table.take(counted(HOPS[2], route)) for route in ROUTES[1:5]]
    assert kept in given
    assert bed.of(ROUTES[0]) == (7, 700)
    assert [bed.of(route) for route in ROUTES[1:5]] == [(0, 0)] * 4
    bed.count(kept, 2)
    assert bed.of(ROUTES[1 + given.index(kept)]) == (2, 200)


def test_a_route_that_comes_back(bed: Bed) -> None:
    number = bed.table.take(counted(HOPS[0], ROUTES[0]))
    bed.count(number, 7)
    bed.table.release(number)
    others = [bed.table.take(counted(HOPS[1], route)) for route in ROUTES[1:6]]
    bed.table.release(others[0])
    bed.table.take(counted(HOPS[0], ROUTES[0]))
    assert bed.of(ROUTES[0]) == (7, 700)


@pytest.mark.parametrize("takeovers", [1, 2, 3, 4])
def test_agents_that_take_over(bed: Bed, takeovers: int) -> None:
    expected = dict.fromkeys(ROUTES[:5], (0, 0))
    for bank in range(takeovers + 1):
        if bank:
            bed.table = bed.opened(bank % 2)
        for at, route in enumerate(ROUTES[:5]):
            number = bed.table.take(counted(HOPS[at], route))
            bed.count(number, 10 * bank + at)
            expected[route] = add(expected[route], (10 * bank + at, 1000 * bank + 100 * at))
    assert {route: bed.of(route) for route in expected} == expected


def test_all_numbers_in_use(bed: Bed) -> None:
    numbers = [bed.table.take(counted(HOPS[0], route)) for route in ROUTES[:5]]
    assert not bed.table.lacks
    assert bed.table.take(counted(HOPS[0], ROUTES[5])) == PUNT_NUMBER
    assert bed.table.take(counted(HOPS[0], ROUTES[0])) == numbers[0]
    assert bed.table.lacks
    assert not bed.table.has_spare
    bed.table.release(PUNT_NUMBER)
    bed.table.release(numbers[3])
    assert bed.table.has_spare
    assert bed.table.take(counted(HOPS[0], ROUTES[5])) == numbers[3]


def test_a_group_without_numbers_for_its_members(bed: Bed) -> None:
    """The places of a member that has no number are the kernel's."""
    targets = Targets(bed.table, memoryview(bytearray(2 * 4 * PLACES)))
    for route in ROUTES[:4]:
        bed.table.take(counted(HOPS[0], route))
    group = Target(1, members=((HOPS[1], 1), (HOPS[2], 1)))
    number = targets.take(group)
    assert number & GROUP
    targets.release(number)
    assert bed.table.lacks
    assert bed.table.has_spare
