"""Routing protocols as a file declares them."""

from __future__ import annotations

import pytest

from nfv.chain.topology import loads
from nfv.errors import TopologyError
from nfv.services.bird.sessions import Session, parse
from nfv.services.bird.text import text

BASE = """\
name: base
saps:
  h1: {kind: host, ip: 10.1.0.10/24}
vnfs:
  gw:
    type: router
    interfaces:
      h1: {ip: [10.1.0.1/24, 2001:db8:1::1/64]}
      far: {ip: "2001:db8:2::1/64"}
    protocols: {PROTOCOLS}
chains:
  h1: {path: [h1, "gw:h1"]}
"""


def told(protocols: str) -> str:
    found = text(loads(BASE.replace("PROTOCOLS", protocols)), "gw")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("protocols", "message"),
    [
        ("", "no protocol"),
        ("bgp: {as: 0, neighbors: []}", "0 is too small"),
        ("bgp: {neighbors: [{address: 10.1.0.7, as: 2}]}", "missing key 'as'"),
        ("bgp: {as: 1, neighbors: [{address: 10.1.0.7}]}", "missing key 'as'"),
        ("bgp: {as: 1, neighbors: [{address: 10.9.0.1, as: 2}]}", "in no connected subnet"),
        ("bgp: {as: 1, neighbors: [{address: 10.1.0.1, as: 2}]}", "the router's own address"),
        ('bgp: {as: 1, neighbors: [{address: "fe80::1", as: 2}]}', "link-local"),
        (
            'bgp: {as: 1, neighbors: [{address: "fe80::1", as: 2, interface: hh}]}',
            "no interface 'hh'",
        ),
        (
            "bgp: {as: 1, neighbors: [{address: 10.1.0.2, as: 2, password: 'a\"b'}]}",
            "the password cannot be used",
        ),
        (
            'bgp: {as: 1, neighbors: [{address: 10.1.0.2, as: 2, import: ["2001:db8::/32"]}]}',
            "routes of IPv4",
        ),
        (
            "bgp: {as: 1, neighbors: [{address: 10.1.0.2, as: 2}, {address: 10.1.0.2, as: 3}]}",
            "stands here twice",
        ),
        ("bgp: {as: 1, redistribute: bgp, neighbors: []}", "told in any case"),
        ("ospf: {areas: [{area: 0, interfaces: {wan: {}}}]}", "no interface 'wan'"),
        ("ospf: {areas: [{area: x, interfaces: {h1: {}}}]}", "is not an IPv4 or IPv6 address"),
        ("ospf: {areas: [{area: 0, interfaces: {h1: {hello: 9, dead: 9}}}]}", "longer than hello"),
        (
            "ospf: {areas: [{area: 0, interfaces: {h1: {}}}, {area: 1, interfaces: {h1: {}}}]}",
            "'h1' is in areas[0] already",
        ),
    ],
)
def test_what_cannot_be_is_an_error_with_its_line(protocols: str, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        told(protocols)
    (problem,) = caught.value.problems

    assert message in problem.message
    assert problem.position.line == 10


def test_a_router_without_ipv4_needs_an_identity() -> None:
    file = BASE.replace("PROTOCOLS", "ospf: {areas: [{area: 0, interfaces: {h1: {}}}]}")
    file = file.replace("ip: [10.1.0.1/24, 2001:db8:1::1/64]", 'ip: "2001:db8:1::1/64"')
    with pytest.raises(TopologyError) as caught:
        loads(file)
    assert "no IPv4 address to be known by" in caught.value.problems[0].message
    found = text(loads(file.replace("{ospf", "{router_id: 9.9.9.9, ospf")), "gw")

    assert found is not None
    assert "router id 9.9.9.9;" in found
    assert "ospf v3" in found
    assert "ospf v2" not in found


def test_filters_and_sources_are_as_declared() -> None:
    neighbor = "{address: 10.1.0.2, as: 2, import: [10.0.0.0/8, 192.0.2.0/24], export: []}"
    found = told(f"bgp: {{as: 1, redistribute: static, neighbors: [{neighbor}]}}")

    assert "net ~ [10.0.0.0/8+, 192.0.2.0/24+] then accept; reject;" in found
    assert "export none;" in found


def test_a_link_local_neighbour_is_on_its_interface() -> None:
    neighbor = '{address: "fe80::1", as: 2, interface: far}'
    found = told(f"bgp: {{as: 1, neighbors: [{neighbor}]}}")

    assert "neighbor fe80::1%'far' as 2;" in found


def test_the_answer_of_bird_is_read() -> None:
    lines = [
        "Name       Proto      Table      State  Since         Info",
        "device1    Device     ---        up     21:46:56.483  ",
        "ra-lan     RAdv       ---        up     21:46:56.483  ",
        "bgp-10.0.0.1 BGP        ---        start  21:46:56.483  Active        Socket: refused",
        "",
    ]

    assert list(parse(lines)) == [
        Session("ra-lan", "advertise", "up", "21:46:56.483", ""),
        Session("bgp-10.0.0.1", "bgp", "start", "21:46:56.483", "Active        Socket: refused"),
    ]
