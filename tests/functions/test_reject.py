"""The answers to rejected packets, byte by byte: TCP resets and ICMP errors."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6Unknown,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from nfv.dataplane.kernel import bpf
from nfv.ebpf.connections import State
from tests.functions.bench import Bench, Outcome, number
from tests.functions.firewalling import firewall
from tests.functions.frames import back, ether, ip, padded

pytestmark = pytest.mark.root

TOPOLOGY = firewall(default="reject", stateless="true")
TTL = 64
BURST = 64  # answers of one CPU in one window
SEQ, ACK = 0xFFFFFF00, 0x01020304
QUOTES = {4: 576 - 20 - 8, 6: 1280 - 40 - 8}
"""RFC 1812, section 4.3.2.3, and RFC 4443, section 2.4 (c)."""


def frame(bench: Bench, packet: Any) -> Any:
    return ether(bench, "left", "right") / packet


def answer(bench: Bench, packet: Any) -> bytes:
    """The frame that comes back for a packet."""
    outcome = bench.run("left", frame(bench, packet))
    size = len(frame(bench, packet))
    assert outcome.egress == "left"
    assert outcome.counted == {
        ("received", "left", "rejected"): (1, size),
        ("reason", "fw", "rejected"): (1, size),
        ("rule", "fw", "default"): (1, size),
        ("received", "left", "forwarded"): (1, len(outcome.frame)),
        ("sent", "left"): (1, len(outcome.frame)),
    }
    return outcome.frame


def check_unanswered(bench: Bench, packet: Any) -> None:
    """The packet is dropped without an answer, and that is counted."""
    outcome = bench.run("left", frame(bench, packet))
    once = (1, len(frame(bench, packet)))
    assert outcome.egress is None
    assert outcome.counted == {
        ("received", "left", "rejected"): once,
        ("reason", "fw", "rejected"): once,
        ("rule", "fw", "default"): once,
        ("received", "left", "reject_limit"): once,
    }


def header(version: int) -> Any:
    """The IP header of every answer."""
    if version == 4:
        return back(4, id=0, flags="DF", ttl=TTL)
    return back(6, hlim=TTL)


def expected(bench: Bench, packet: Any) -> bytes:
    return bytes(ether(bench, "right", "left") / packet)


RESETS = {
    # RFC 9293, section 3.10.7.1: without ACK, everything that came is acknowledged.
    "SYN": (TCP(flags="S", seq=SEQ), b"", {"flags": "RA", "ack": SEQ + 1}),
    "SYN with data": (TCP(flags="S", seq=SEQ), b"d" * 9, {"flags": "RA", "ack": SEQ + 10}),
    "SYN, sequence numbers wrap": (TCP(flags="S", seq=2**32 - 1), b"", {"flags": "RA", "ack": 0}),
    "nothing set": (TCP(flags="", seq=5), b"data", {"flags": "RA", "ack": 9}),
    "FIN": (TCP(flags="F", seq=5), b"data", {"flags": "RA", "ack": 10}),
    "SYN with options": (
        TCP(flags="S", seq=5, options=[("MSS", 1460), ("SAckOK", b"")]),
        b"",
        {"flags": "RA", "ack": 6},
    ),
    # With ACK, the reset is where the sender expects the next byte.
    "ACK": (TCP(flags="A", seq=SEQ, ack=ACK), b"", {"flags": "R", "seq": ACK}),
    "SYN ACK": (TCP(flags="SA", seq=SEQ, ack=ACK), b"", {"flags": "R", "seq": ACK}),
    "data": (TCP(flags="PA", seq=SEQ, ack=ACK), b"d" * 1000, {"flags": "R", "seq": ACK}),
    "FIN ACK": (TCP(flags="FA", seq=SEQ, ack=2**32 - 1), b"", {"flags": "R", "seq": 2**32 - 1}),
}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("case", RESETS)
def test_tcp_is_reset(bench: Bench, version: int, case: str) -> None:
    segment, data, fields = RESETS[case]
    segment = segment.copy()
    segment.sport, segment.dport = 40000, 23
    reset = TCP(sport=23, dport=40000, window=0, seq=0, ack=0)
    for name, value in fields.items():
        setattr(reset, name, value)
    found = answer(bench, ip(version) / segment / Raw(data))
    assert found == expected(bench, header(version) / reset)


def test_the_checksum_of_a_reset_is_right_for_all_numbers(bench: Bench) -> None:
    for ack in range(0, 2**32, 2**32 // 50 + 0x1003):
        found: Any = IP(answer(bench, ip(4) / TCP(flags="A", ack=ack))[14:])
        wanted = found.copy()
        wanted[TCP].chksum = None
        assert found[TCP].chksum == IP(bytes(wanted))[TCP].chksum, ack
        bench.clear()


def test_a_reset_behind_ipv4_options_and_padding(bench: Bench) -> None:
    segment = ip(4, options=[b"\x01" * 8]) / TCP(sport=40000, dport=23, flags="S", seq=7)
    reset = header(4) / TCP(sport=23, dport=40000, flags="RA", ack=8, window=0)
    outcome = bench.run("left", padded(frame(bench, segment), 80, b"\xee"))
    assert outcome.frame == expected(bench, reset)


def test_a_reset_behind_ipv6_extension_headers(bench: Bench) -> None:
    segment = ip(6) / IPv6ExtHdrDestOpt() / TCP(sport=40000, dport=23, flags="S", seq=7)
    reset = header(6) / TCP(sport=23, dport=40000, flags="RA", ack=8, window=0)
    assert answer(bench, segment) == expected(bench, reset)


def prohibited(version: int, packet: bytes) -> Any:
    """Administratively prohibited: RFC 1812, section 5.2.7.1; RFC 4443, section 3.1.

    The quote is an even number of bytes.
    """
    quote = packet[: min(QUOTES[version], len(packet) & ~1)]
    if version == 4:
        return header(4) / ICMP(type=3, code=13) / Raw(quote)
    return header(6) / ICMPv6DestUnreach(code=1) / Raw(quote)


SIZES = {
    4: [0, 1, 2, 31, 32, 33, 34, 36, 63, 64, 100, 518, 519, 520, 521, 522, 1400, 1472],
    6: [0, 1, 2, 15, 16, 17, 18, 64, 100, 1182, 1183, 1184, 1185, 1186, 1400, 1452],
}
CASES = [(version, size) for version, sizes in SIZES.items() for size in sizes]


@pytest.mark.parametrize(("version", "size"), CASES)
def test_anything_else_gets_an_error_with_a_quote(bench: Bench, version: int, size: int) -> None:
    data = Raw(bytes(i * 7 & 0xFF for i in range(size)))
    packet = ip(version) / UDP(sport=40000, dport=53) / data
    found = answer(bench, packet)
    assert found == expected(bench, prohibited(version, bytes(packet)))
    assert len(found) - 14 <= {4: 576, 6: 1280}[version]


ANSWERED = {
    "echo request": ip(4) / ICMP(type=8, id=1) / b"data",
    "timestamp request": ip(4) / ICMP(type=13, id=1),
    "other protocol": ip(4, proto=99) / b"data",
    "first fragment": ip(4, flags="MF", proto=17) / UDP(len=99, chksum=0),
    "options": ip(4, options=[b"\x01" * 4]) / UDP(),
    "echo request, IPv6": ip(6) / ICMPv6EchoRequest(id=1) / b"data",
    "other protocol, IPv6": ip(6, nh=99) / b"data",
    "no next header": ip(6, nh=59),
}


@pytest.mark.parametrize("case", ANSWERED)
def test_what_else_is_answered(bench: Bench, case: str) -> None:
    packet = ANSWERED[case]
    version = 4 if IP in packet else 6
    assert answer(bench, packet) == expected(bench, prohibited(version, bytes(packet)))


def icmp6(kind: int) -> Any:
    return ICMPv6Unknown(type=kind, msgbody=b"\0\0\0\0" + bytes(ip(6) / UDP()))


UNANSWERED = {
    "a reset": ip(4) / TCP(flags="R"),
    "a reset with ACK": ip(6) / TCP(flags="RA"),
    "an error": ip(4) / ICMP(type=3, code=1) / ip(4) / UDP(),
    "time exceeded": ip(4) / ICMP(type=11) / ip(4) / UDP(),
    "a redirect": ip(4) / ICMP(type=5) / ip(4) / UDP(),
    "an echo reply": ip(4) / ICMP(type=0),
    "packet too big": ip(6) / icmp6(2),
    "an unknown error": ip(6) / icmp6(100),
    "a redirect, IPv6": ip(6) / icmp6(137),
    "a later fragment": ip(4, frag=10, proto=17) / b"data",
    "a later fragment, IPv6": ip(6) / IPv6ExtHdrFragment(offset=10, nh=17) / b"data",
    "to a group": ip(4, dst="224.0.0.251") / UDP(),
    "to all hosts": ip(4, dst="255.255.255.255") / UDP(),
    "to a group, IPv6": ip(6, dst="ff02::fb") / UDP(),
    "a segment cut short": ip(4, proto=6) / Raw(b"x" * 12),
    "a segment cut short, IPv6": ip(6, nh=6) / Raw(b"x" * 19),
    "a header longer than its segment": ip(4) / TCP(flags="S", dataofs=9),
    "a header shorter than any": ip(6) / TCP(flags="S", dataofs=4),
    "from nowhere": ip(4, src="0.0.0.0") / UDP(),
    "from this network": ip(4, src="0.1.2.3") / UDP(),
    "from loopback": ip(4, src="127.0.0.1") / UDP(),
    "from a group": ip(4, src="224.0.0.1") / UDP(),
    "from all hosts": ip(4, src="255.255.255.255") / TCP(flags="S"),
    "from nowhere, IPv6": ip(6, src="::") / UDP(),
    "from a group, IPv6": ip(6, src="ff02::1") / UDP(),
}


@pytest.mark.parametrize("case", UNANSWERED)
def test_what_is_never_answered(bench: Bench, case: str) -> None:
    """RFC 1122, section 3.2.2; RFC 4443, section 2.4 (e); RFC 9293, section 3.10.7.1."""
    check_unanswered(bench, UNANSWERED[case])


@pytest.mark.parametrize("mac", ["ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"])
def test_group_frames_are_never_answered(bench: Bench, mac: str) -> None:
    for packet in (ip(4) / UDP(), ip(6) / TCP(flags="S")):
        outcome = bench.run("left", Ether(src=bench.mac("left"), dst=mac) / packet)
        assert outcome.egress is None
        assert ("received", "left", "reject_limit") in outcome.counted


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """Budgets are per CPU: stay on one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def windows(bench: Bench) -> list[int]:
    """The rate limit's window on each CPU: struct reject_budget is window, sent."""
    return [window for window, _ in struct.iter_unpack("=II", bench.shared("rejects")[0])]


@pytest.mark.usefixtures("one_cpu")
def test_answers_are_limited(bench: Bench) -> None:
    """RFC 1812, section 4.3.2.8: so many in a window, however many packets come."""
    packet = bytes(frame(bench, ip(4) / UDP()))
    while True:  # until it happens within one window
        bench.clear()
        verdicts = [bench.execute("left", packet)[0]]
        before = windows(bench)
        verdicts += [bench.execute("left", packet)[0] for _ in range(BURST + 9)]
        if windows(bench) == before:
            break
    assert verdicts == [bpf.XDP_REDIRECT] * BURST + [bpf.XDP_DROP] * 10


TWO = """
name: bench-two
saps:
  left: {kind: host, ip: [10.0.1.10/16, 2001:db8:1::10/32]}
  right: {kind: host, ip: [10.0.2.10/16, 2001:db8:2::10/32]}
vnfs:
  near: {type: firewall, rules: [{name: out, action: accept, direction: forward}]}
  far: {type: firewall, default: reject, connections: 2000}
chains:
  wire: {path: [left, near, far, right]}
"""


@pytest.fixture(scope="module")
def two() -> Iterator[Bench]:
    with closing(Bench(TWO)) as bench:
        yield bench


def check_back_through_near(outcome: Outcome, size: int) -> None:
    assert outcome.egress == "left"
    assert outcome.counted["reason", "far", "rejected"] == (1, size)
    assert outcome.counted["rule", "near", "out"] == (2, size + len(outcome.frame))


@pytest.mark.parametrize("version", [4, 6])
def test_the_answer_passes_the_functions_before(two: Bench, version: int) -> None:
    """A stateful one sees the connection end, and lets the error in as related."""
    two.clear()
    syn = frame(two, ip(version) / TCP(flags="S", sport=40000, dport=23))
    check_back_through_near(two.run("left", syn), len(syn))
    layout = two.function_maps("near").layout(f"connections{version}")
    ((_, value),) = two.map_of("near", f"connections{version}").items()
    assert number(layout.unpack(value)["state"]) == State.CLOSED
    query = frame(two, ip(version) / UDP(sport=40000, dport=53))
    check_back_through_near(two.run("left", query), len(query))


def test_each_way_is_answered_where_it_came_in(two: Bench) -> None:
    two.clear()
    outcome = two.run("right", ether(two, "right", "left") / back(4) / UDP())
    assert outcome.egress == "right"
    assert ("reason", "far", "rejected") in outcome.counted
    assert not [key for key in outcome.counted if "near" in key]


def test_nothing_but_ip_is_answered(bench: Bench) -> None:
    outcome = bench.run("left", Ether(type=0x88CC) / Raw(b"\0" * 46))
    assert (outcome.egress, outcome.reason) == (None, "ethertype")
