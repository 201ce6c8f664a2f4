"""The flow cache does what the walk does: same frame, same way out, same counters; or it walks."""

from __future__ import annotations

import struct
from contextlib import closing

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6ExtHdrDestOpt
from scapy.packet import Packet, Raw
from scapy.utils import checksum

from tests.functions.bench import Bench, Outcome
from tests.functions.firewalling import firewall
from tests.functions.frames import back, ether, ip, padded, routed

pytestmark = pytest.mark.root

TOPOLOGY = """
name: bench-flows
saps:
  lan: {kind: host, ip: [10.0.1.10/24, 2001:db8:1::10/64]}
  wan: {kind: host, ip: [10.0.2.10/24, 2001:db8:2::10/64]}
vnfs:
  fw:
    type: firewall
    rules:
      - {name: web, action: accept, proto: tcp, dport: 80}
      - {name: dns, action: accept, proto: udp, dport: 53}
      - {name: ping, action: accept, proto: [icmp, icmpv6]}
  gw:
    type: router
    interfaces:
      lan: {ip: [10.0.1.1/24, 2001:db8:1::1/64]}
      wan: {ip: [10.0.2.1/24, 2001:db8:2::1/64]}
chains:
  inside: {path: [lan, fw, "gw:lan"]}
  outside: {path: ["gw:wan", wan]}
"""

PAYLOAD = Raw(bytes(range(64)))


def out(bench: Bench, packet: Packet) -> Packet:
    frame: Packet = ether(bench, "lan", "gw:lan") / packet
    return frame


def home(bench: Bench, packet: Packet) -> Packet:
    frame: Packet = ether(bench, "wan", "gw:wan") / packet
    return frame


def remembered(bench: Bench) -> int:
    """Packets that were sent on without a walk, so far."""
    return sum(packets for packets, _ in bench.known().received.values())


def same(a: Outcome, b: Outcome) -> bool:
    return (a.egress, a.frame, a.reason, a.counted) == (b.egress, b.frame, b.reason, b.counted)


@pytest.mark.parametrize("version", [4, 6])
def test_a_known_flow_is_sent_on_as_it_walked(bench: Bench, version: int) -> None:
    frame = out(bench, ip(version) / UDP(sport=4000, dport=53) / PAYLOAD)
    first = bench.run("lan", frame)
    walked = remembered(bench)
    again = bench.run("lan", frame)
    assert remembered(bench) == walked + 1
    assert first.frame == routed(frame, bench.mac("gw:wan"), bench.mac("wan"))
    assert again.frame == first.frame
    size = len(bytes(frame))
    assert again.counted == {
        ("received", "lan", "forwarded"): (1, size),
        ("rule", "fw", "dns"): (1, size),
        ("reason", "gw", "forwarded"): (1, size),
        ("sent", "wan"): (1, size),
    }
    assert same(first, again)


@pytest.mark.parametrize("version", [4, 6])
def test_both_directions_of_tcp_once_it_is_established(bench: Bench, version: int) -> None:
    def segment(flags: str) -> Packet:
        return out(bench, ip(version) / TCP(sport=4000, dport=80, flags=flags))

    def answer(flags: str) -> Packet:
        return home(bench, back(version) / TCP(sport=80, dport=4000, flags=flags))

    for place, frame in (("lan", segment("S")), ("wan", answer("SA")), ("lan", segment("A"))):
        assert bench.run(place, frame).reason == "forwarded"
    before = remembered(bench)
    bench.run("lan", segment("A"))
    bench.run("wan", answer("A"))
    bench.run("wan", answer("PA"))
    assert remembered(bench) == before + 2  # the first of each direction made the entry or used it
    for flags in ("FA", "R", "RA", "S"):
        before = remembered(bench)
        bench.run("lan", segment(flags))
        assert remembered(bench) == before


@pytest.mark.parametrize("version", [4, 6])
def test_a_reset_is_the_beginning_of_no_flow(bench: Bench, version: int) -> None:
    """No connection either: what comes after it is for the rules."""
    segment = ip(version) / TCP(sport=4001, dport=80, flags="R")
    assert bench.run("lan", out(bench, segment)).reason == "forwarded"
    before = remembered(bench)
    segment[TCP].flags = "A"
    assert bench.run("lan", out(bench, segment)).reason == "forwarded"
    assert remembered(bench) == before


FLAGS = firewall("action: drop, proto: tcp, tcp_flags: urg", "action: accept", stateless="true")


@pytest.mark.parametrize("version", [4, 6])
def test_flags_that_rules_ask_for_are_looked_at_in_each_packet(version: int) -> None:
    with closing(Bench(FLAGS)) as bench:
        for flags, reason in (("A", "forwarded"), ("A", "forwarded"), ("AU", "rule")):
            segment = ip(version) / TCP(sport=4001, dport=80, flags=flags)
            frame = ether(bench, "left", "right") / segment
            assert bench.run("left", frame).reason == reason, flags


def test_what_is_no_plain_flow_always_walks(bench: Bench) -> None:
    before = remembered(bench)
    for packet in (
        ip(4) / ICMP() / PAYLOAD,
        ip(4, flags="MF") / UDP(sport=1, dport=53) / PAYLOAD,
        ip(4, options=b"\x01\x01\x01\x01") / UDP(sport=1, dport=53) / PAYLOAD,
        ip(6) / IPv6ExtHdrDestOpt() / UDP(sport=1, dport=53) / PAYLOAD,
    ):
        for _ in range(3):
            bench.run("lan", out(bench, packet))
    assert remembered(bench) == before


@pytest.mark.parametrize("version", [4, 6])
def test_many_flows_are_known_at_once(bench: Bench, version: int) -> None:
    frames = [
        bytes(out(bench, ip(version) / UDP(sport=1024 + number, dport=53)))
        for number in range(1000)
    ]

    def known() -> int:
        """How many frames of a second round need not walk."""
        for frame in frames:
            bench.execute("lan", frame)
        before = remembered(bench)
        for frame in frames:
            bench.execute("lan", frame)
        return remembered(bench) - before

    # On a busy machine a round may take longer than a flow is remembered.
    assert any(known() >= 0.98 * len(frames) for _ in range(10))


def test_a_change_of_rules_is_seen_by_known_flows(bench: Bench) -> None:
    frame = out(bench, ip(4) / UDP(sport=4000, dport=53) / PAYLOAD)
    for _ in range(2):
        assert bench.run("lan", frame).egress == "wan"
    bench.forget_flows()
    before = remembered(bench)
    assert bench.run("lan", frame).egress == "wan"
    assert remembered(bench) == before


@pytest.mark.parametrize("version", [4, 6])
def test_a_known_flow_goes_to_the_kernel_when_the_packet_must(bench: Bench, version: int) -> None:
    def frame() -> Packet:
        return out(bench, ip(version) / UDP(sport=4000, dport=53) / PAYLOAD)

    for _ in range(2):
        assert bench.run("lan", frame()).reason == "forwarded"
    expiring = bytearray(bytes(frame()))
    expiring[22 if version == 4 else 21] = 1  # TTL, hop limit
    if version == 4:
        expiring[24:26] = struct.pack(
            "!H", checksum(bytes(expiring[14:24] + b"\0\0" + expiring[26:34]))
        )
    assert bench.run("lan", bytes(expiring)).reason == "ttl"
    long = out(bench, ip(version) / UDP(sport=4000, dport=53) / Raw(bytes(1500)))
    assert bench.run("lan", long).reason == "too_big"
    other = frame()
    other.dst = "02:00:00:00:00:99"
    assert bench.run("lan", other).reason == "other_host"
    assert bench.run("lan", bytes(frame()) + b"trailer").reason == "padding"
    if version == 4:
        damaged = bytearray(bytes(frame()))
        damaged[24] ^= 1  # the header checksum
        assert bench.run("lan", bytes(damaged)).reason == "checksum"


BASES = [
    ip(4) / UDP(sport=4000, dport=53) / PAYLOAD,
    ip(4) / TCP(sport=4000, dport=80, flags="A") / PAYLOAD,
    ip(6) / UDP(sport=4000, dport=53) / PAYLOAD,
    ip(6) / TCP(sport=4000, dport=80, flags="PA"),
    ip(4) / UDP(sport=4000, dport=53),
    ip(6) / UDP(sport=4000, dport=53),
]


@settings(
    max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    base=st.sampled_from(BASES),
    changes=st.lists(st.tuples(st.integers(0, 73), st.integers(0, 255)), max_size=3),
    length=st.integers(0, 40),
    mend=st.booleans(),
)
def test_walk_and_cache_agree_on_any_frame(
    bench: Bench, base: Packet, changes: list[tuple[int, int]], length: int, mend: bool
) -> None:
    original = bytearray(padded(out(bench, base)))
    bench.clear()
    bench.run("lan", bytes(original))  # a flow is known, and the frame may be taken for one of it
    frame = original[: len(original) - length]
    for place, value in changes:
        if place < len(frame):
            frame[place] = value
    if mend and frame[12:14] == b"\x08\x00" and len(frame) >= 34:
        header = IP(bytes(frame[14:34]))
        header.chksum = None
        frame[14:34] = bytes(header)[:20]
    assume(bench.takes(bytes(frame)))
    known = bench.run("lan", bytes(frame))
    bench.forget_flows()
    walked = bench.run("lan", bytes(frame))
    bench.forget_flows()
    again = bench.run("lan", bytes(frame))
    cached = bench.run("lan", bytes(frame))
    assert same(walked, again)
    assert same(again, cached)
    assert (known.egress, known.frame, known.reason) == (walked.egress, walked.frame, walked.reason)
