"""Next hops of static routes that other routes lead to."""

from __future__ import annotations

import pytest

from nfv.chain.topology import loads
from nfv.errors import TopologyError
from nfv.functions.router import Router

BASE = """\
name: base
saps:
  h1: {kind: host, ip: 10.1.0.10/24}
vnfs:
  gw:
    type: router
    interfaces:
      h1: {ip: [10.1.0.1/24, 2001:db8:1::1/64]}
      far: {ip: 10.2.0.1/24}
    routes:
ROUTES
chains:
  h1: {path: [h1, "gw:h1"]}
"""
A, B, C = "10.1.0.7", "10.2.0.8", "10.2.0.9"


def ends(*routes: str) -> list[tuple[str, str | None, int]]:
    """Where the first of the routes leads."""
    text = "\n".join(f"      - {{{route}}}" for route in routes)
    router = loads(BASE.replace("ROUTES", text)).vnfs["gw"]
    assert isinstance(router, Router)
    return [(str(hop.via), hop.interface, hop.weight) for hop in router.routes[0].shares]


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ((f"to: 10.9.0.0/16, via: {A}",), [(A, None, 1)]),
        ((f"to: 10.9.0.0/16, via: {A}, interface: h1",), [(A, "h1", 1)]),
        # another route, and one behind that; their order does not matter
        (("to: 10.9.0.0/16, via: 10.8.0.1", f"to: 10.8.0.0/24, via: {B}"), [(B, None, 1)]),
        (
            (
                "to: 10.9.0.0/16, via: 10.8.0.1",
                "to: 10.8.0.0/24, via: 10.7.0.1",
                f"to: 10.7.0.0/24, via: {B}, interface: far",
            ),
            [(B, "far", 1)],
        ),
        (
            ("to: 2001:db8:9::/48, via: 2001:db8:8::1", "to: 2001:db8:8::/48, via: 2001:db8:1::7"),
            [("2001:db8:1::7", None, 1)],
        ),
        # the longest prefix, and the lowest metric
        (
            (
                "to: 10.9.0.0/16, via: 10.8.0.1",
                f"to: 10.8.0.0/16, via: {A}",
                f"to: 10.8.0.0/24, via: {B}, metric: 9",
                f"to: 10.8.0.0/24, via: {C}, metric: 8",
                "to: 10.8.0.2/32, type: blackhole",
            ),
            [(C, None, 1)],
        ),
        # a default route is for packets
        (
            (
                "to: 0.0.0.0/0, via: 10.8.0.1",
                f"to: 10.8.0.0/24, via: {A}",
            ),
            [(A, None, 1)],
        ),
        # shares of shares: 2/3 of B, and of the other third 1/4 and 3/4
        (
            (
                f"to: 10.9.0.0/16, next_hops: [{{via: {B}, weight: 2}}, {{via: 10.8.0.1}}]",
                f"to: 10.8.0.0/24, next_hops: [{{via: {A}}}, {{via: {C}, weight: 3}}]",
            ),
            [(B, None, 8), (A, None, 1), (C, None, 3)],
        ),
        # the same by two ways
        (
            (
                "to: 10.9.0.0/16, next_hops: [{via: 10.8.0.1}, {via: 10.7.0.1}]",
                f"to: 10.8.0.0/24, next_hops: [{{via: {A}}}, {{via: {B}}}]",
                f"to: 10.7.0.0/24, via: {B}",
            ),
            [(A, None, 1), (B, None, 3)],
        ),
    ],
)
def test_next_hops_are_found(
    routes: tuple[str, ...], expected: list[tuple[str, str | None, int]]
) -> None:
    assert ends(*routes) == expected


@pytest.mark.parametrize(
    ("routes", "message"),
    [
        ((f"to: 0.0.0.0/0, via: {A}", "to: 10.9.0.0/16, via: 10.8.0.1"), "no other route leads"),
        (("to: 10.9.0.0/16, via: 10.9.0.1",), "no other route leads"),
        (
            ("to: 10.9.0.0/16, via: 10.8.0.1", "to: 10.8.0.0/16, via: 10.9.0.1"),
            "no other route leads",
        ),
        (("to: 10.9.0.0/16, via: 10.8.0.1", "to: 10.8.0.0/16, type: blackhole"), "no other route"),
        (
            ("to: 10.9.0.0/16, via: 10.8.0.1, interface: h1", f"to: 10.8.0.0/16, via: {A}"),
            "no other route",
        ),
        (
            (
                f"to: 10.9.0.0/16, next_hops: [{{via: {A}, weight: 200}}, {{via: 10.8.0.1}}]",
                f"to: 10.8.0.0/16, next_hops: [{{via: {B}}}, {{via: {C}, weight: 2}}]",
            ),
            "its shares make weights of up to 600, the most is 256",
        ),
    ],
)
def test_next_hops_that_lead_nowhere(routes: tuple[str, ...], message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        ends(*routes)
    assert message in caught.value.problems[0].message
