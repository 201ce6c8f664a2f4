"""Static translations, port forwarding, fragments and hairpins through a NAT, byte by byte."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.functions.bench import Bench
from tests.functions.natting import (
    INSIDE,
    OTHER,
    OUTSIDE,
    REMOTE,
    STRANGER,
    answer,
    ends,
    locate,
    mapped,
    nat,
    out,
    pool,
    renewed,
    send,
    udp,
)

pytestmark = pytest.mark.root

MASQUERADE = "192.0.2.100"
ROUTER = "  gw: {type: router, interfaces: {out: {ip: 10.9.9.9/24}}}"
TOPOLOGY = nat(
    "masquerade: 'gw:out'",
    pool("192.0.2.1", inside="10.0.1.0/24"),
    "filtering: independent",
    "static:",
    "  - {outside: 192.0.2.20, inside: 10.0.1.20}",
    "  - {outside: 192.0.2.32/28, inside: 10.0.9.16/28}",
    "forwards:",
    "  - {proto: tcp, port: 8080, inside: 10.0.1.10, to: 80}",
    "  - {proto: udp, outside: 192.0.2.1, port: 6000-6999, inside: 10.0.1.10, to: 1000}",
    "  - {proto: udp, port: 5060, inside: 10.0.1.11}",
).replace("vnfs:", "  up: {kind: host, ip: 10.9.9.1/24}\nvnfs:\n" + ROUTER)
TOPOLOGY += '\n  up: {path: [up, "gw:out"]}'


@pytest.fixture(autouse=True)
def located(bench: Bench) -> None:
    locate(bench, masquerade=MASQUERADE)


PAIRS = [
    (("10.0.1.20", 5000), ("192.0.2.20", 5000)),
    (("10.0.9.16", 1), ("192.0.2.32", 1)),
    (("10.0.9.31", 65535), ("192.0.2.47", 65535)),
    (("10.0.1.10", 1000), ("192.0.2.1", 6000)),
    (("10.0.1.10", 1999), ("192.0.2.1", 6999)),
    (("10.0.1.11", 5060), (MASQUERADE, 5060)),
]


@pytest.mark.parametrize(("inside", "outside"), PAIRS)
def test_datagrams_both_ways(
    bench: Bench, inside: tuple[str, int], outside: tuple[str, int]
) -> None:
    """Either side may begin, and nothing is remembered."""
    there = udp(src=inside[0], sport=inside[1])
    assert ends(out(bench, there))[:2] == outside
    back = IP(src=STRANGER, dst=outside[0]) / UDP(sport=9, dport=outside[1]) / Raw(b"in")
    assert ends(out(bench, back, "wan"))[2:] == inside
    for packet, side in ((there, "lan"), (back, "wan")):
        assert send(bench, packet, side).frame == send(bench, packet, side).frame
    assert mapped(bench) == 0


@pytest.mark.parametrize("port", [5999, 7000])
def test_ports_beside_a_range_are_not_forwarded(bench: Bench, port: int) -> None:
    packet = IP(src=REMOTE, dst="192.0.2.1") / UDP(sport=9, dport=port)
    assert out(bench, packet, "wan") == "unsolicited"


def test_tcp_and_all_protocols(bench: Bench) -> None:
    web = IP(src=REMOTE, dst=MASQUERADE) / TCP(sport=9, dport=8080, flags="S")
    assert ends(out(bench, web, "wan"))[2:] == (INSIDE, 80)
    reply = IP(src=INSIDE, dst=REMOTE) / TCP(sport=80, dport=9, flags="SA")
    assert ends(out(bench, reply))[:2] == (MASQUERADE, 8080)
    assert out(bench, IP(src=REMOTE, dst="192.0.2.20") / ICMP(id=7), "wan").dst == "10.0.1.20"
    assert out(bench, IP(src="10.0.1.20", dst=REMOTE) / ICMP(type=0, id=7)).src == "192.0.2.20"
    assert (
        out(bench, IP(src=REMOTE, dst="192.0.2.20", proto=47) / Raw(b"x" * 8), "wan").dst
        == "10.0.1.20"
    )


def test_a_mapping_never_gets_what_is_forwarded(bench: Bench) -> None:
    """The port that another would keep is a forwarded one."""
    went = out(bench, udp(src=OTHER, sport=6500))
    assert went.src == "192.0.2.1"
    assert not 6000 <= went.sport <= 6999


def test_forwards_follow_the_masquerade_address(bench: Bench) -> None:
    locate(bench, masquerade="192.0.2.200")
    packet = IP(src=REMOTE, dst="192.0.2.200") / UDP(sport=9, dport=5060)
    assert out(bench, packet, "wan").dst == OTHER
    stale = IP(src=REMOTE, dst=MASQUERADE) / UDP(sport=9, dport=5060)
    assert bytes(out(bench, stale, "wan")) == bytes(stale)  # somebody else's by now


FRAGMENTED: Any = udp(sport=5001) / Raw(bytes(range(256)) * 8)
SOURCES = {"mapped": INSIDE, "static": "10.0.1.20", "not translated": "172.16.0.1"}


@pytest.mark.parametrize("source", ["mapped", "static"])
def test_fragments_out_and_in(bench: Bench, source: str) -> None:
    """Put together they are the datagram, translated."""
    sent: Any = IP(bytes(IP(src=SOURCES[source], dst=REMOTE, id=77) / FRAGMENTED[UDP]))
    whole = renewed(translated(sent, src="192.0.2.1" if source == "mapped" else "192.0.2.20"))
    assert reassembled(bench, sent, "lan") == whole[20:]
    reply: Any = IP(bytes(answer(IP(whole)) / Raw(bytes(range(256)) * 8)))
    reply.len = None
    reply[UDP].len = None
    reply = IP(renewed(reply))
    back = renewed(translated(reply, dst=SOURCES[source]))
    assert reassembled(bench, reply, "wan") == back[20:]


def translated(packet: Any, **fields: str) -> Any:
    """A copy with other addresses."""
    made = packet.copy()
    for field, value in fields.items():
        setattr(made[IP], field, value)
    return made


def reassembled(bench: Bench, packet: Any, side: str) -> bytes:
    """The payload of a packet that was sent in fragments."""
    parts = []
    for part in packet.fragment(800):
        outcome = send(bench, part, side)
        assert outcome.egress is not None, outcome.reason
        parts.append(Ether(outcome.frame)[IP])
    assert len({(part.src, part.dst) for part in parts}) == 1
    return b"".join(bytes(part.payload) for part in parts)


def test_fragments_that_overtake_their_first_are_lost(bench: Bench) -> None:
    whole: Any = IP(bytes(FRAGMENTED))
    first, second, *_rest = whole.fragment(800)
    assert out(bench, second) == "fragment"
    assert send(bench, first).egress == "wan"
    assert send(bench, second).egress == "wan"
    stray = IP(src=REMOTE, dst="192.0.2.1", id=5, frag=10, proto=17) / Raw(b"x" * 16)
    assert out(bench, stray, "wan") == "fragment"


def hairpin(bench: Bench, packet: Any) -> Any:
    """The packet that comes back to the inside."""
    outcome = send(bench, packet)
    assert outcome.egress == "lan", outcome.reason
    frame: Any = Ether(outcome.frame)
    assert (frame.src, frame.dst) == (bench.mac("wan"), bench.mac("lan"))
    assert bytes(frame[IP]) == renewed(frame[IP])
    return frame[IP]


@pytest.mark.parametrize("layer", [UDP, TCP])
def test_hairpin(bench: Bench, layer: Any) -> None:
    """Both ends are translated, so that the answer takes the same way (RFC 4787, REQ-9)."""
    flags = {"flags": "S"} if layer is TCP else {}
    there = IP(src=OTHER, dst="192.0.2.20") / layer(sport=5000, dport=80, **flags)
    assert ends(hairpin(bench, there)) == ("192.0.2.1", 5000, "10.0.1.20", 80)
    back = IP(src="10.0.1.20", dst="192.0.2.1") / layer(sport=80, dport=5000, **flags)
    assert ends(hairpin(bench, back)) == ("192.0.2.20", 80, OTHER, 5000)


def test_hairpin_between_mappings_and_of_errors(bench: Bench) -> None:
    one, two = out(bench, udp(sport=5001)), out(bench, udp(src=OTHER, sport=5002))
    there = IP(bytes(udp(sport=5001, dport=two.sport, dst=two.src)))
    arrived = hairpin(bench, there)
    assert ends(arrived) == (one.src, one.sport, OTHER, 5002)
    told = hairpin(bench, IP(src=OTHER, dst=one.src) / ICMP(type=3, code=3) / Raw(bytes(arrived)))
    assert (told.src, told.dst) == (two.src, INSIDE)
    assert bytes(told[ICMP].payload) == bytes(there)


def test_hairpin_to_nobody(bench: Bench) -> None:
    assert out(bench, udp(dst=OUTSIDE, dport=4444)) == "unsolicited"


def test_hairpin_in_fragments(bench: Bench) -> None:
    packet = IP(src=OTHER, dst="192.0.2.20", id=9) / UDP(sport=1, dport=2) / Raw(b"x" * 2000)
    whole: Any = IP(bytes(packet))
    parts = [hairpin_fragment(bench, part) for part in whole.fragment(800)]
    assert parts == [("192.0.2.1", "10.0.1.20")] * len(parts)


def hairpin_fragment(bench: Bench, part: Any) -> tuple[str, str]:
    frame = Ether(send(bench, part).frame)
    return frame[IP].src, frame[IP].dst
