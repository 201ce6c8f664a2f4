"""What `ip route`, `ip neigh` and the like do in a router's namespace is what its maps say."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest

from tests.integration.agentbed import BLACKHOLE, OWN, PUNT, Bed, running_bed

pytestmark = pytest.mark.root

NEXT_HOP, NEXT_HOP_6 = "192.0.2.254", "2001:db8:2::254"
MAC, OTHER_MAC = "02:00:00:00:00:09", "02:00:00:00:00:0a"
DEADLINE = 0.1  # seconds from a route's appearance to its use


@pytest.fixture(scope="module")
def module_bed() -> Iterator[Bed]:
    with running_bed("routes") as bed:
        yield bed


@pytest.fixture
def bed(module_bed: Bed) -> Iterator[Bed]:
    """With resolved next hops on wan, and nothing else but what the interfaces bring."""
    module_bed.ip(f"neigh add {NEXT_HOP} lladdr {MAC} dev wan")
    module_bed.ip(f"neigh add {NEXT_HOP_6} lladdr {MAC} dev wan")
    yield module_bed
    for family in ("-4", "-6"):
        module_bed.ip(f"{family} route flush proto boot")
        module_bed.ip(f"{family} neigh flush nud all")
    module_bed.ip("nexthop flush")
    module_bed.sync()


ROUTES = {
    "gateway": ("198.51.100.0/24 via 192.0.2.254", "forward"),
    "gateway, IPv6": ("2001:db8:f::/48 via 2001:db8:2::254", "forward"),
    "default": ("0.0.0.0/0 via 192.0.2.254", "forward"),
    "default, IPv6": ("::/0 via 2001:db8:2::254", "forward"),
    "one host": ("198.51.100.7/32 via 192.0.2.254", "forward"),
    "IPv6 next hop of an IPv4 route": (
        "198.51.100.0/24 via inet6 2001:db8:2::254 dev wan",
        "forward",
    ),
    "unresolved next hop": ("198.51.100.0/24 via 192.0.2.77", "punt"),
    "straight to a link": ("198.51.100.0/24 dev wan", "punt"),
    "blackhole": ("blackhole 198.51.100.0/24", "drop"),
    "blackhole, IPv6": ("blackhole 2001:db8:f::/48", "drop"),
    "unreachable": ("unreachable 198.51.100.0/24", "punt"),
    "prohibit": ("prohibit 198.51.100.0/24", "punt"),
    "throw": ("throw 198.51.100.0/24", "punt"),
    "several next hops, one of a link": (
        "198.51.100.0/24 nexthop via 192.0.2.254 nexthop dev wan",
        "punt",
    ),
    "encapsulated": ("198.51.100.0/24 encap ip id 7 dst 10.9.9.9 dev wan", "punt"),
    "by type of service": ("198.51.100.0/24 tos 0x10 via 192.0.2.254", "punt"),
    "of another table": ("198.51.100.0/24 via 192.0.2.254 table 100", "punt"),
    "local": ("local 198.51.100.0/24 dev lo", "own"),
}


@pytest.mark.parametrize("case", ROUTES)
def test_route(bed: Bed, case: str) -> None:
    route, verdict = ROUTES[case]
    address = "2001:db8:f::7" if "::/" in route else "198.51.100.7"
    assert bed.lookup(address) == PUNT

    bed.ip(f"route add {route}")
    bed.sync()

    expected = {"punt": PUNT, "own": OWN, "drop": BLACKHOLE, "forward": bed.via("wan", MAC)}
    try:
        assert bed.lookup(address) == expected[verdict]
    finally:
        bed.ip(f"{'-6 ' if '::/' in route else ''}route del {route}")
    bed.sync()
    assert bed.lookup(address) == PUNT


def test_several_next_hops(bed: Bed) -> None:
    bed.ip("neigh add 10.0.1.10 lladdr 02:00:00:00:00:0b dev lan")
    bed.ip(f"route add 198.51.100.0/24 nexthop via {NEXT_HOP} weight 3 nexthop via 10.0.1.10")
    bed.sync()
    near, far = bed.via("lan", "02:00:00:00:00:0b"), bed.via("wan", MAC)
    assert bed.shares("198.51.100.7") == {far: 48, near: 16}

    bed.ip("neigh del 10.0.1.10 dev lan")
    bed.sync()
    assert bed.shares("198.51.100.7") == {far: 48, PUNT: 16}

    bed.ip(f"route replace 198.51.100.0/24 via {NEXT_HOP}")
    bed.sync()
    assert bed.lookup("198.51.100.7") == far


def test_a_route_is_in_use_at_once(bed: Bed) -> None:
    bed.ip(f"route add 198.51.100.0/24 via {NEXT_HOP}")
    deadline = time.monotonic() + DEADLINE

    while bed.lookup("198.51.100.7") == PUNT:
        assert time.monotonic() < deadline
    assert bed.lookup("198.51.100.7") == bed.via("wan", MAC)


def test_the_longest_prefix_and_the_lowest_metric_win(bed: Bed) -> None:
    bed.ip("neigh add 10.0.1.10 lladdr 02:00:00:00:00:0b dev lan")
    bed.ip(f"route add 198.51.100.0/24 via {NEXT_HOP} metric 20")
    bed.ip("route add 198.51.100.128/25 via 10.0.1.10")
    bed.sync()
    lan = bed.via("lan", "02:00:00:00:00:0b")

    assert bed.lookup("198.51.100.127") == bed.via("wan", MAC)
    assert bed.lookup("198.51.100.128") == lan
    bed.ip("route add 198.51.100.0/24 via 10.0.1.10 metric 10")
    bed.sync()
    assert bed.lookup("198.51.100.127") == lan
    bed.ip("route del 198.51.100.0/24 metric 10")
    bed.sync()
    assert bed.lookup("198.51.100.127") == bed.via("wan", MAC)


def test_a_replaced_route(bed: Bed) -> None:
    bed.ip("neigh add 10.0.1.10 lladdr 02:00:00:00:00:0b dev lan")
    for destination, first, second in (
        ("198.51.100.0/24", NEXT_HOP, "10.0.1.10"),
        ("2001:db8:f::/48", NEXT_HOP_6, "2001:db8:1::10"),
    ):
        if ":" in second:
            bed.ip(f"neigh add {second} lladdr 02:00:00:00:00:0b dev lan")
        bed.ip(f"route add {destination} via {first}")
        bed.ip(f"route replace {destination} via {second}")
        bed.sync()
        address = destination.partition("/")[0]
        assert bed.lookup(address) == bed.via("lan", "02:00:00:00:00:0b")


def test_next_hops_that_come_one_by_one(bed: Bed) -> None:
    """IPv6 joins routes of one metric to a multipath route, and takes it apart again."""
    bed.ip("neigh add 2001:db8:2::2 lladdr 02:00:00:00:00:0b dev wan")
    bed.ip(f"route add 2001:db8:f::/48 via {NEXT_HOP_6}")
    bed.sync()
    bed.ip("-6 route append 2001:db8:f::/48 via 2001:db8:2::2")
    bed.sync()
    both = (bed.via("wan", MAC), bed.via("wan", "02:00:00:00:00:0b"))
    assert bed.shares("2001:db8:f::7") == dict.fromkeys(both, 32)

    bed.ip(f"-6 route del 2001:db8:f::/48 via {NEXT_HOP_6}")
    bed.sync()

    assert bed.lookup("2001:db8:f::7") == bed.via("wan", "02:00:00:00:00:0b")


def test_next_hop_objects(bed: Bed) -> None:
    bed.ip("neigh add 10.0.1.10 lladdr 02:00:00:00:00:0b dev lan")
    bed.ip(f"nexthop add id 7 via {NEXT_HOP} dev wan")
    bed.ip("route add 198.51.100.0/24 nhid 7")
    bed.sync()
    assert bed.lookup("198.51.100.7") == bed.via("wan", MAC)

    bed.ip("nexthop replace id 7 via 10.0.1.10 dev lan")
    bed.sync()
    assert bed.lookup("198.51.100.7") == bed.via("lan", "02:00:00:00:00:0b")

    bed.ip("nexthop del id 7")
    bed.sync()
    assert bed.lookup("198.51.100.7") == PUNT


def test_the_mtu_of_a_route(bed: Bed) -> None:
    bed.ip(f"route add 198.51.100.0/24 via {NEXT_HOP} mtu 1300")
    bed.ip(f"route add 203.0.113.0/24 via {NEXT_HOP} mtu 9000")
    bed.sync()

    assert bed.lookup("198.51.100.7") == bed.via("wan", MAC, mtu=1300)
    assert bed.lookup("203.0.113.7") == bed.via("wan", MAC, mtu=1500)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.1.1",
        "10.0.1.255",
        "10.0.1.0",
        "127.0.0.1",
        "224.0.0.5",
        "255.255.255.255",
        "169.254.0.1",
        "2001:db8:1::1",
        "2001:db8:1::",
        "fe80::1",
        "ff02::1",
        "::1",
    ],
)
def test_what_is_the_kernels_in_spite_of_a_default_route(bed: Bed, address: str) -> None:
    bed.ip(f"route add default via {NEXT_HOP}")
    bed.ip(f"-6 route add default via {NEXT_HOP_6}")
    bed.sync()

    is_own = address in ("10.0.1.1", "127.0.0.1")
    assert bed.lookup(address) == (OWN if is_own else PUNT)


def test_a_link_local_next_hop(bed: Bed) -> None:
    bed.ip("neigh add fe80::9 lladdr 02:00:00:00:00:0b dev lan")
    bed.ip("-6 route add 2001:db8:f::/48 via fe80::9 dev lan")
    bed.sync()

    assert bed.lookup("2001:db8:f::7") == bed.via("lan", "02:00:00:00:00:0b")


def test_neighbours_come_move_and_go(bed: Bed) -> None:
    bed.ip("route add 198.51.100.0/24 via 10.0.1.20")
    hosts = ("10.0.1.20", "198.51.100.7")
    for command, mac in (
        ("neigh add 10.0.1.20 lladdr 02:00:00:00:00:0b dev lan nud reachable", MAC[:-2] + "0b"),
        (f"neigh replace 10.0.1.20 lladdr {OTHER_MAC} dev lan nud delay", OTHER_MAC),
        ("neigh replace 10.0.1.20 dev lan nud failed", None),
        (f"neigh replace 10.0.1.20 lladdr {OTHER_MAC} dev lan nud permanent", OTHER_MAC),
        ("neigh del 10.0.1.20 dev lan", None),
    ):
        bed.ip(command)
        bed.sync()
        expected = PUNT if mac is None else bed.via("lan", mac)
        assert [bed.lookup(host) for host in hosts] == [expected] * 2, command


def test_a_neighbour_is_reached_only_over_its_own_link(bed: Bed) -> None:
    bed.ip(f"neigh add 10.0.1.30 lladdr {OTHER_MAC} dev wan")
    bed.ip(f"neigh add 10.0.1.30 lladdr {MAC} dev lan")
    bed.sync()
    assert bed.lookup("10.0.1.30") == bed.via("lan", MAC)

    bed.ip(f"route add 10.0.1.16/28 via {NEXT_HOP}")
    bed.sync()

    assert bed.lookup("10.0.1.30") == bed.via("wan", MAC)


def test_stale_neighbours_in_use_are_confirmed(bed: Bed) -> None:
    bed.ip(f"neigh replace {NEXT_HOP} lladdr {MAC} dev wan nud stale")
    bed.ip(f"neigh add 203.0.113.1 lladdr {MAC} dev wan nud stale")
    bed.sync()

    assert "STALE" not in bed.ip(f"neigh show {NEXT_HOP}")
    assert "STALE" in bed.ip("neigh show 203.0.113.1"), "no route leads to it"
    assert bed.lookup(NEXT_HOP) == bed.via("wan", MAC)


def test_a_device_that_goes_down_and_comes_back(bed: Bed) -> None:
    """The kernel takes the IPv4 routes out without a word."""
    route = f"route add 198.51.100.0/24 via {NEXT_HOP}"
    bed.ip(route)
    bed.sync()
    assert bed.lookup("198.51.100.7") == bed.via("wan", MAC)

    bed.ip("link set wan down")
    bed.sync()
    assert bed.lookup("198.51.100.7") == PUNT
    assert bed.lookup(NEXT_HOP) == PUNT
    assert bed.interface(1) == (bed.mac("wan"), 0)

    bed.ip("link set wan up")
    bed.ip("addr replace 2001:db8:2::1/64 dev wan nodad")
    bed.ip(f"neigh replace {NEXT_HOP} lladdr {MAC} dev wan")
    bed.ip(route)
    bed.sync()
    assert bed.lookup("198.51.100.7") == bed.via("wan", MAC)
    assert bed.interface(1) == (bed.mac("wan"), 1)


def test_a_device_without_carrier(bed: Bed) -> None:
    bed.ip("link set wan-far down")
    bed.sync()
    assert bed.lookup(NEXT_HOP) == PUNT
    bed.ip("link set wan-far up")
    bed.sync()
    assert bed.interface(1) == (bed.mac("wan"), 1)


def test_routes_that_go_with_an_address(bed: Bed) -> None:
    """The kernel takes these out without a word, too; again and again, for it is a race."""
    for _ in range(20):
        bed.ip("addr add 192.0.2.9/24 dev wan")
        bed.ip(f"route add 198.51.100.0/24 via {NEXT_HOP} src 192.0.2.9")
        bed.sync()
        assert bed.lookup("198.51.100.7") == bed.via("wan", MAC)
        bed.ip("addr del 192.0.2.9/24 dev wan")
        bed.sync()
        assert bed.lookup("198.51.100.7") == PUNT


def test_a_changed_mac_and_mtu_of_an_interface(bed: Bed) -> None:
    before = bed.mac("wan")
    bed.ip("link set wan mtu 1400")
    bed.ip("link set wan address 02:00:00:00:01:01")
    bed.ip(f"neigh replace {NEXT_HOP} lladdr {MAC} dev wan")
    bed.sync()
    try:
        assert bed.lookup(NEXT_HOP) == bed.via("wan", MAC, mtu=1400)
        assert bed.lookup(NEXT_HOP).src_mac == "02:00:00:00:01:01"
        assert bed.interface(1) == ("02:00:00:00:01:01", 1)
    finally:
        bed.ip("link set wan mtu 1500")
        bed.ip(f"link set wan address {before}")


def test_policy_rules_leave_their_version_to_the_kernel(bed: Bed) -> None:
    bed.ip(f"route add 198.51.100.0/24 via {NEXT_HOP}")
    bed.ip("rule add from 10.0.1.9 lookup 100")
    bed.sync()
    try:
        assert bed.lookup("198.51.100.7") == PUNT
        assert bed.lookup(NEXT_HOP_6) == bed.via("wan", MAC)
        assert bed.router()["mode"] == "kernel"
        assert "IPv4: there are policy rules" in str(bed.router()["why"])
    finally:
        bed.ip("rule del from 10.0.1.9 lookup 100")
    bed.sync()
    assert bed.lookup("198.51.100.7") == bed.via("wan", MAC)
    assert bed.router()["mode"] == "fast"


def test_forwarding_that_is_switched_off(bed: Bed) -> None:
    bed.sysctl("net/ipv4/conf/lan/forwarding", 0)
    bed.sysctl("net/ipv6/conf/all/forwarding", 0)
    bed.sync()
    try:
        assert [bed.interface(ordinal)[1] for ordinal in (0, 1)] == [0, 1]
        assert bed.lookup(NEXT_HOP_6) == PUNT
        assert bed.lookup(NEXT_HOP) == bed.via("wan", MAC)
    finally:
        bed.sysctl("net/ipv4/conf/lan/forwarding", 1)
        bed.sysctl("net/ipv6/conf/all/forwarding", 1)
    bed.sync()
    assert [bed.interface(ordinal)[1] for ordinal in (0, 1)] == [1, 1]
    assert bed.lookup(NEXT_HOP_6) == bed.via("wan", MAC)


def test_a_storm_of_routes_ends_as_the_kernel_has_it(bed: Bed) -> None:
    prefixes = [
        f"10.{high}.{low}.0/24" for high, low in itertools.product(range(20, 24), range(60))
    ]
    bed.batch([f"route add {prefix} via {NEXT_HOP}" for prefix in prefixes])
    bed.batch([f"route del {prefix}" for prefix in prefixes[::2]])
    bed.batch([f"route replace blackhole {prefix}" for prefix in prefixes[1::4]])
    bed.sync()

    forward = bed.via("wan", MAC)
    expected = [PUNT, BLACKHOLE, PUNT, forward] * (len(prefixes) // 4)
    assert [bed.lookup(prefix.removesuffix("0/24") + "9") for prefix in prefixes] == expected
