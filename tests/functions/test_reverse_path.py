"""Sources that the way back to leads elsewhere (RFC 3704), as programs drop them."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrHopByHop
from scapy.packet import Packet

from tests.functions.bench import Bench
from tests.functions.frames import ether

pytestmark = pytest.mark.root

TOPOLOGY = """
name: bench-reverse
saps:
  lan: {kind: host, ip: [10.0.1.10/24, 2001:db8:1::10/64]}
  wan: {kind: host, ip: [10.0.2.10/24, 2001:db8:2::10/64]}
  dsl: {kind: host, ip: [10.0.3.10/24, 2001:db8:3::10/64]}
vnfs:
  gw:
    type: router
    interfaces:
      lan: {ip: [10.0.1.1/24, 2001:db8:1::1/64], reverse_path: strict}
      wan: {ip: [10.0.2.1/24, 2001:db8:2::1/64], reverse_path: loose}
      dsl: {ip: [10.0.3.1/24, 2001:db8:3::1/64]}
    routes:
      - {to: 192.0.2.0/24, via: 10.0.1.10}
      - {to: 198.51.100.0/24, via: 10.0.2.10}
      - {to: 203.0.113.0/24, type: blackhole}
      - {to: "2001:db8:a::/48", via: "2001:db8:1::10"}
      - {to: "2001:db8:b::/48", via: "2001:db8:2::10"}
      - {to: "2001:db8:c::/48", type: unreachable}
chains:
  inside: {path: [lan, "gw:lan"]}
  outside: {path: ["gw:wan", wan]}
  third: {path: ["gw:dsl", dsl]}
"""
# The source, and whether it may come in by lan, where its way back has to lead, and by wan.
SOURCES = {
    "10.0.1.10": (True, True),
    "10.0.1.77": (True, True),  # on the link, whoever it is
    "10.0.2.10": (False, True),
    "10.0.2.77": (False, True),
    "192.0.2.7": (True, True),
    "198.51.100.7": (False, True),
    "203.0.113.7": (False, False),
    "172.16.0.1": (False, False),  # no route
    "2001:db8:1::10": (True, True),
    "2001:db8:1::77": (True, True),
    "2001:db8:2::77": (False, True),
    "2001:db8:a::7": (True, True),
    "2001:db8:b::7": (False, True),
    "2001:db8:c::7": (False, False),
    "2001:db8:d::7": (False, False),
}


def packet(source: str) -> Packet:
    """A datagram to the host at dsl."""
    if ":" in source:
        return IPv6(src=source, dst="2001:db8:3::10") / UDP()
    return IP(src=source, dst="10.0.3.10") / UDP()


def fate(bench: Bench, place: str, frame: Any) -> tuple[str | None, bool]:
    """Where it leaves, and whether it was dropped for its source."""
    outcome = bench.run(place, ether(bench, place, f"gw:{place}") / frame)
    return outcome.egress, ("reason", "gw", "reverse_path") in outcome.counted


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_comes_in_where_the_way_back_leads(bench: Bench, source: str) -> None:
    strict, loose = SOURCES[source]
    for place, passes in {"lan": strict, "wan": loose, "dsl": True}.items():
        expected = ("gw:dsl" if place == "dsl" else "dsl", False) if passes else (None, True)
        for _ in range(2):
            found = fate(bench, place, packet(source))
            assert found[1] == expected[1], place
            if place != "dsl":
                assert found == expected, place


def test_what_goes_to_the_kernel_has_to_come_right_too(bench: Bench) -> None:
    for source, passes in (("2001:db8:1::10", True), ("2001:db8:b::7", False)):
        options = IPv6(src=source, dst="2001:db8:3::10") / IPv6ExtHdrHopByHop() / UDP()
        assert fate(bench, "lan", options)[1] != passes
        local = IPv6(src=source, dst="2001:db8:1::1") / UDP()
        assert fate(bench, "lan", local)[1] != passes


def test_one_of_several_ways_back_is_enough(bench: Bench) -> None:
    router = bench.routers["gw"]
    near = router.next_hop("lan", bench.mac("lan"))
    far = router.next_hop("wan", bench.mac("wan"))
    router.share("172.16.0.0/12", [(far, 63), (near, 1)])
    router.share("172.20.0.0/16", [(far, 1), (router.next_hop("dsl", bench.mac("dsl")), 1)])
    assert fate(bench, "lan", packet("172.16.0.1")) == ("dsl", False)
    assert fate(bench, "lan", packet("172.20.0.1")) == (None, True)
    assert fate(bench, "wan", packet("172.20.0.1")) == ("dsl", False)
