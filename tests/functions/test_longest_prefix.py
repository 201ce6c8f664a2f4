"""The compiled router against a plain reading of its routes: the longest prefix wins."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import UDP

from nfv.dataplane.kernel import bpf
from tests.functions.bench import Bench
from tests.functions.frames import ether, ip
from tests.functions.test_router import TOPOLOGY as TOPOLOGY

pytestmark = pytest.mark.root

WIDTHS = {4: 32, 6: 128}
NESTED = {4: int(IPv4Address("85.170.85.171")), 6: int(IPv6Address("2aaa:5555:aaaa::5555:aaab"))}

Routes = Mapping[tuple[int, int], int]
"""From key and length of a prefix to the number of its neighbour."""


def address(version: int, value: int) -> IPv4Address | IPv6Address:
    return IPv4Address(value) if version == 4 else IPv6Address(value)


def neighbour(number: int) -> bytes:
    """The MAC address of a neighbour."""
    return b"\x02\xaa" + struct.pack("!I", number)


def best(routes: Routes, version: int, value: int) -> int | None:
    """The neighbour of the longest prefix that an address is in."""
    for length in range(WIDTHS[version], -1, -1):
        shift = WIDTHS[version] - length
        found = routes.get((value >> shift << shift, length))
        if found is not None:
            return found
    return None


def install(bench: Bench, version: int, routes: Routes) -> None:
    """Put these routes, and no others, into the router."""
    router = bench.routers["gw"]
    router.clear()
    for (key, length), number in routes.items():
        mac = neighbour(number).hex(":")
        router.route(f"{address(version, key)}/{length}", "wan", mac)
    bench.forget_flows()


def forwarded_to(bench: Bench, version: int, value: int) -> bytes | None:
    """The MAC address that a packet to an address goes to; None: to the kernel."""
    header = ip(version, dst=str(address(version, value)))
    frame = bytes(ether(bench, "lan", "gw:lan") / header / UDP())
    verdict, out = bench.execute("lan", frame)
    assert verdict == bpf.XDP_REDIRECT
    return None if out == frame else out[:6]


@pytest.mark.parametrize("version", [4, 6])
def test_every_prefix_length(loaded: Bench, version: int) -> None:
    """Prefixes of all lengths around one address; others leave it at every bit."""
    width, deepest = WIDTHS[version], NESTED[version]
    routes = {
        (deepest >> (width - length) << (width - length), length): length
        for length in range(width + 1)
    }
    install(loaded, version, routes)
    assert forwarded_to(loaded, version, deepest) == neighbour(width)
    for bit in range(width):
        leaving = deepest ^ 1 << (width - 1 - bit)
        assert forwarded_to(loaded, version, leaving) == neighbour(bit), f"bit {bit}"


# Prefixes that share their beginnings, so that they nest, split nodes and end within them.
STEMS = {
    4: ["10.0.0.0", "10.0.1.128", "10.1.0.0", "192.0.2.77", "0.0.0.0", "255.255.255.255"],
    6: ["2001:db8::", "2001:db8:1::1:0", "2001:db8:0:8000::", "::", "ffff::", "2001:dc0::7"],
}
LENGTHS = {4: range(33), 6: [*range(0, 129, 7), 8, 16, 24, 32, 48, 64, 127, 128]}


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, Routes, list[int]]:
    """A version, routes, and addresses near the edges of their prefixes."""
    version = draw(st.sampled_from((4, 6)))
    width = WIDTHS[version]
    stems = [int(ip_network(stem).network_address) for stem in STEMS[version]]
    prefix = st.builds(
        lambda stem, length: (stem >> (width - length) << (width - length), length),
        st.sampled_from(stems),
        st.sampled_from(LENGTHS[version]),
    )
    keys = draw(st.lists(prefix, min_size=1, max_size=12, unique=True))
    edges = set()
    for key, length in keys:
        last = key | (1 << (width - length)) - 1
        edges |= {max(key - 1, 0), key, last, min(last + 1, (1 << width) - 1)}
    return version, {key: number for number, key in enumerate(keys, 1)}, sorted(edges)


@settings(max_examples=60, deadline=None)
@given(tables())
def test_routes_like_a_plain_reading_of_the_table(
    loaded: Bench, table: tuple[int, Routes, list[int]]
) -> None:
    version, routes, destinations = table
    install(loaded, version, routes)
    for value in destinations:
        number = best(routes, version, value)
        expected = neighbour(number) if number else None
        assert forwarded_to(loaded, version, value) == expected, address(version, value)


def test_the_reference_itself() -> None:
    network = IPv6Network("2001:db8::/32")
    routes = {(int(network.network_address), 32): 1, (0, 0): 2}
    assert best(routes, 6, int(network[5])) == 1
    assert best(routes, 6, 1) == 2
    assert best({}, 6, 1) is None
