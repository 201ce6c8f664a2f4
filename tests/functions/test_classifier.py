"""Several chains at one access point, told apart by classifiers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from scapy.compat import raw
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP

from tests.functions.bench import Bench
from tests.functions.frames import back, ether, ip

pytestmark = pytest.mark.root

TOPOLOGY = """
name: bench-classifier
saps:
  lan: {kind: host, ip: [10.0.1.10/24, 2001:db8:1::10/64]}
  one: {kind: tap}
  two: {kind: tap}
  six: {kind: tap}
  other: {kind: tap}
vnfs:
  fw: {type: firewall, rules: [{name: only-443, action: accept, proto: tcp, dport: 443}]}
chains:
  web: {path: [lan, fw, one], match: {proto: tcp, dport: [80, 443]}}
  dns: {path: [two, lan], match: {proto: udp, dport: 53}}
  ipv6: {path: [lan, six], match: {family: ipv6}}
  rest: {path: [lan, other]}
"""

CASES: list[tuple[Any, str | None]] = [
    (ip(4) / TCP(sport=40000, dport=443, flags="S"), "one"),
    (ip(6) / TCP(dport=443, flags="S"), "one"),
    (ip(4) / TCP(dport=80, flags="S"), None),  # the chain is found, its firewall drops
    (ip(4) / TCP(dport=81, flags="S"), "other"),
    (ip(4) / UDP(sport=40000, dport=443), "other"),
    # The chain begins at the other end: from here go the answers.
    (ip(4) / UDP(sport=53, dport=40000), "two"),
    (ip(4) / UDP(sport=40000, dport=53), "other"),
    (ip(6) / UDP(sport=53), "two"),
    (ip(6) / UDP(sport=40000, dport=53), "six"),
    (ip(6) / ICMPv6EchoRequest(), "six"),
    (ip(4, proto=6, frag=5) / b"later fragment", None),  # of which datagram?
    (ARP(), "other"),
]


@pytest.mark.parametrize(("packet", "egress"), CASES)
def test_the_first_chain_that_matches_takes_the_packet(
    bench: Bench, packet: Any, egress: str | None
) -> None:
    frame = ether(bench, "lan", "lan") / packet
    outcome = bench.run("lan", frame)
    assert outcome.egress == egress
    if egress:
        assert outcome.frame == bytes(frame)
    assert (("rule", "fw", "only-443") in outcome.counted) == (egress == "one")


@pytest.mark.parametrize("version", [4, 6])
def test_fragments_take_the_chain_of_their_first(bench: Bench, version: int) -> None:
    def sent(more: int, offset: int, payload: Any) -> Any:
        if version == 4:
            header = ip(4, id=77, flags=more, frag=offset, proto=6)
        else:
            header = ip(6) / IPv6ExtHdrFragment(id=77, m=more, offset=offset, nh=6)
        return ether(bench, "lan", "lan") / header / payload

    later = sent(0, 3, b"the rest of a segment")
    assert bench.run("lan", later).egress is None
    segment = raw(TCP(sport=40000, dport=443, flags="S") / bytes(4))
    assert bench.run("lan", sent(1, 0, segment)).egress == "one"
    outcome = bench.run("lan", later)
    assert outcome.egress == "one"
    assert ("rule", "fw", "only-443") in outcome.counted


RETURNS: list[tuple[str, Any, str | None]] = [
    ("other", back(4) / UDP(), "lan"),
    ("other", ARP(), "lan"),
    ("six", back(6) / UDP(), "lan"),
    ("six", back(4) / UDP(), None),
    ("two", back(4) / UDP(dport=53), "lan"),
    ("two", back(4) / UDP(dport=54), None),
    ("one", back(4) / UDP(sport=443), None),
    ("one", ARP(), "lan"),  # without ARP no chain would be of use
    ("six", ARP(), "lan"),
]


@pytest.mark.parametrize(("side", "packet", "egress"), RETURNS)
def test_a_classifier_holds_at_both_ends(
    bench: Bench, side: str, packet: Any, egress: str | None
) -> None:
    outcome = bench.run(side, ether(bench, "lan", "lan") / packet)
    assert outcome.egress == egress
    if egress is None:
        assert outcome.reason == "no_chain"


def test_answers_pass_the_same_functions(bench: Bench) -> None:
    bench.run("lan", ether(bench, "lan", "lan") / CASES[0][0])
    answer = back(4) / TCP(sport=443, dport=40000, flags="SA")
    outcome = bench.run("one", ether(bench, "lan", "lan") / answer)
    assert outcome.egress == "lan"
    assert ("rule", "fw", "only-443") in outcome.counted


PARALLEL = """
name: bench-parallel
saps:
  lan: {kind: host, ip: [10.0.1.10/24, 2001:db8:1::10/64]}
  wan: {kind: host, ip: [10.0.2.10/24, 2001:db8:2::10/64]}
vnfs:
  a: {type: firewall, default: accept, stateless: true}
  b: {type: firewall, default: accept, stateless: true}
chains:
  ping: {path: [lan, a, wan], match: {proto: icmp, icmp_type: echo-request}}
  ping6: {path: [lan, a, wan], match: {proto: icmpv6, icmp_type: echo-request}}
  far: {path: [wan, b, lan], match: {src: [10.0.2.0/25, "2001:db8:2::/112"], dst: 10.0.0.0/8}}
"""


@pytest.fixture(scope="module")
def parallel() -> Iterator[Bench]:
    with closing(Bench(PARALLEL)) as bench:
        yield bench


WAYS: list[tuple[str, Any, str | None]] = [
    ("lan", ip(4) / ICMP(type=8), "a"),
    ("lan", ip(6) / ICMPv6EchoRequest(), "a"),
    ("wan", back(4) / ICMP(type=0), "a"),  # the answers take their requests' chain
    ("wan", back(6) / ICMPv6EchoReply(), "a"),
    ("wan", back(4) / UDP(), "b"),
    ("lan", ip(4) / UDP(), "b"),
    ("lan", ip(4, dst="10.0.2.200") / UDP(), None),
    ("wan", back(6) / UDP(), None),
]


@pytest.mark.parametrize(("side", "packet", "function"), WAYS)
def test_chains_between_the_same_ends(
    parallel: Bench, side: str, packet: Any, function: str | None
) -> None:
    other = "wan" if side == "lan" else "lan"
    outcome = parallel.run(side, ether(parallel, side, other) / packet)
    assert outcome.egress == (other if function else None)
    assert [key[1] for key in outcome.counted if key[0] == "rule"] == [function][: bool(function)]
    if function is None:
        assert outcome.reason == "no_chain"
