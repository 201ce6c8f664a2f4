"""Next hops that share the traffic of a route."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.packet import Raw

from nfv.dataplane.routing.targets import PLACES, shares
from tests.functions.bench import Bench
from tests.functions.frames import ether, ip, routed

pytestmark = pytest.mark.root

TOPOLOGY = """
name: bench-multipath
saps:
  lan: {kind: host, ip: [10.0.1.10/24, 2001:db8:1::10/64]}
  wan: {kind: host, ip: [10.0.2.10/24, 2001:db8:2::10/64]}
  alt: {kind: host, ip: [10.0.3.10/24, 2001:db8:3::10/64]}
vnfs:
  gw:
    type: router
    interfaces:
      lan: {ip: [10.0.1.1/24, 2001:db8:1::1/64]}
      wan: {ip: [10.0.2.1/24, 2001:db8:2::1/64]}
      alt: {ip: [10.0.3.1/24, 2001:db8:3::1/64]}
chains:
  inside: {path: [lan, "gw:lan"]}
  outside: {path: ["gw:wan", wan]}
  other: {path: ["gw:alt", alt]}
"""

NETWORKS = {4: "198.51.0.0/16", 6: "2001:db8:f::/48"}
PAYLOAD = Raw(bytes(range(40)))


def destination(version: int, number: int) -> str:
    if version == 4:
        return f"198.51.{number >> 8}.{number & 255}"
    return f"2001:db8:f::{number:x}"


def frame(bench: Bench, version: int, number: int, transport: Any = None) -> Any:
    packet = ip(version, None, destination(version, number)) / (transport or UDP()) / PAYLOAD
    return ether(bench, "lan", "gw:lan") / packet


def share(bench: Bench, version: int, weights: list[int]) -> None:
    """Lead the network of a version to both other hosts."""
    bench.clear()
    router = bench.routers["gw"]
    hops = [router.next_hop(name, bench.mac(name)) for name in ("wan", "alt")]
    router.share(NETWORKS[version], list(zip(hops, weights, strict=True)))


@pytest.mark.parametrize("version", [4, 6])
def test_each_packet_is_as_its_next_hop_wants_it(bench: Bench, version: int) -> None:
    share(bench, version, [1, 1])
    for number in range(40):
        for _walked_then_known in range(2):
            sent = frame(bench, version, number)
            outcome = bench.run("lan", sent)
            assert outcome.egress in ("wan", "alt")
            way = f"gw:{outcome.egress}"
            assert outcome.frame == routed(sent, bench.mac(way), bench.mac(outcome.egress))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("weights", "least", "most"), [([1, 1], 0.4, 0.6), ([3, 1], 0.65, 0.85)])
def test_the_traffic_is_shared_by_weight(
    bench: Bench, version: int, weights: list[int], least: float, most: float
) -> None:
    share(bench, version, weights)
    numbers = [(7919 * number) % 65536 for number in range(400)]
    left = Counter(bench.run("lan", frame(bench, version, number)).egress for number in numbers)
    assert set(left) == {"wan", "alt"}
    assert least < left["wan"] / left.total() < most


@pytest.mark.parametrize("version", [4, 6])
def test_what_is_between_two_addresses_keeps_to_one_next_hop(bench: Bench, version: int) -> None:
    share(bench, version, [1, 1])
    for number in range(20):
        transports = [UDP(sport=port) for port in range(1, 9)] + [TCP(dport=80), Raw(b"?" * 20)]
        left = {
            bench.run("lan", frame(bench, version, number, transport)).egress
            for transport in transports
        }
        assert len(left) == 1


@pytest.mark.parametrize("weights", [[1], [1, 1, 1], [256, 1], [1] * 64, [5, 3, 2]])
def test_places_are_in_proportion_to_weights(weights: list[int]) -> None:
    found = Counter(shares(weights, PLACES))
    assert found.total() == PLACES
    for at, weight in enumerate(weights):
        assert abs(found[at] - weight * PLACES / sum(weights)) < 1
