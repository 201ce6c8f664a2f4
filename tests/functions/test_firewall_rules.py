"""Rules, one condition at a time: which packets they are for, in both kinds of firewall."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLReport,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6Unknown,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP, GRE, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from tests.functions.bench import Bench
from tests.functions.firewalling import counted, cross, firewall
from tests.functions.frames import back, ip

pytestmark = pytest.mark.root

LISTS = "{web: [10.0.2.0/24, 2001:db8:2::/64], none: [192.0.2.0/24]}"


@pytest.fixture(scope="module", params=["stateful", "stateless"])
def loaded(request: pytest.FixtureRequest) -> Iterator[Bench]:
    text = firewall("action: accept", stateless=str(request.param == "stateless").lower())
    with closing(Bench(text)) as bench:
        yield bench


def tcp(dport: int = 80, sport: int = 40000, flags: str = "S", version: int = 4) -> Any:
    return ip(version) / TCP(sport=sport, dport=dport, flags=flags)


def udp(dport: int = 53, sport: int = 40000, version: int = 4) -> Any:
    return ip(version) / UDP(sport=sport, dport=dport)


def icmp(kind: int = 8, code: int = 0) -> Any:
    return ip(4) / ICMP(type=kind, code=code)


def icmp6(kind: int = 128, code: int = 0, hops: int = 64) -> Any:
    body = b"\0\7\0\1data"
    return ip(6, hlim=hops) / ICMPv6Unknown(type=kind, code=code, msgbody=body)


TCP6, UDP6, ECHO6 = tcp(version=6), udp(version=6), ip(6) / ICMPv6EchoRequest(id=1)

# Rule, packets it is for, packets it is not for.
CONDITIONS: list[tuple[str, Sequence[Packet], Sequence[Packet]]] = [
    ("", [tcp(), udp(), icmp(), TCP6, UDP6, ECHO6, ip(4) / GRE(), ip(4, proto=99)], []),
    ("proto: tcp", [tcp(), TCP6], [udp(), icmp(), UDP6, ECHO6]),
    ("proto: udp", [udp(), UDP6], [tcp(), icmp(), TCP6]),
    ("proto: icmp", [icmp(8), icmp(13)], [tcp(), udp(), ECHO6]),
    ("proto: icmpv6", [ECHO6], [tcp(), icmp(), UDP6]),
    ("proto: [tcp, gre]", [tcp(), ip(4) / GRE()], [udp(), icmp()]),
    ("proto: 99", [ip(4, proto=99), ip(6, nh=99)], [tcp(), ip(4, proto=98)]),
    ("proto: igmp", [ip(4, proto=2) / Raw(b"\x22")], [udp()]),
    ("proto: udp, dport: 53", [udp(53), udp(53, version=6)], [udp(52), udp(54), tcp(53)]),
    ("proto: tcp, sport: 20", [tcp(sport=20)], [tcp(sport=21), tcp(dport=20)]),
    ("proto: tcp, dport: 0", [tcp(0)], [tcp(1), tcp(256)]),
    ("proto: tcp, dport: 65535", [tcp(65535)], [tcp(65534), tcp(255)]),
    ("proto: tcp, dport: 1000-2000", [tcp(1000), tcp(1024), tcp(2000)], [tcp(999), tcp(2001)]),
    ("proto: [tcp, udp], dport: [53, 80-90]", [udp(53), tcp(85), udp(90)], [tcp(54), udp(91)]),
    ("proto: udp, sport: 67, dport: 68", [udp(68, 67)], [udp(67, 68), udp(68, 68)]),
    ("proto: sctp, dport: 3868", [ip(4) / SCTP(dport=3868)], [ip(4) / SCTP(dport=1), tcp(3868)]),
    ("proto: icmp, icmp_type: echo-request", [icmp(8), icmp(8, 3)], [icmp(13), ECHO6]),
    ("proto: icmp, icmp_type: [9, 10]", [icmp(9), icmp(10)], [icmp(8), icmp(13)]),
    ("proto: icmp, icmp_type: 5/1", [icmp(5, 1)], [icmp(5, 0), icmp(5, 2), icmp(8, 1)]),
    ("proto: icmpv6, icmp_type: echo-request", [icmp6(128)], [icmp6(138), icmp(128)]),
    ("proto: icmpv6, icmp_type: [144, 145/0]",
     [icmp6(144), icmp6(144, 9), icmp6(145, 0)], [icmp6(145, 1), icmp6(146)]),
    ("proto: tcp, tcp_flags: syn", [tcp(flags="S"), tcp(flags="SEC")], [tcp(flags="A")]),
    ('proto: tcp, tcp_flags: "syn/syn,ack"', [tcp(flags="S"), tcp(flags="SE")],
     [tcp(flags="A"), tcp(flags="FA")]),
    ('proto: tcp, tcp_flags: "none/syn"', [tcp(flags="A"), tcp(flags="FA")], [tcp(flags="S")]),
    ("family: ipv4", [tcp(), icmp()], [TCP6, ECHO6]),
    ("family: ipv6", [TCP6, ECHO6], [tcp(), icmp()]),
    ("src: 10.0.1.10", [tcp()], [ip(4, src="10.0.1.11") / UDP(), TCP6]),
    ("src: 10.0.1.0/30", [ip(4, src="10.0.1.3") / UDP()], [ip(4, src="10.0.1.4") / UDP(), tcp()]),
    ("dst: 10.0.2.0/24", [tcp()], [ip(4, dst="10.0.3.1") / UDP(), TCP6]),
    ("dst: 0.0.0.0/0", [tcp(), ip(4, dst="255.255.255.254") / UDP()], [TCP6]),
    ('src: "2001:db8:1::10"', [TCP6], [ip(6, src="2001:db8:1::11") / UDP(), tcp()]),
    ('dst: "2001:db8:2::/65"', [TCP6], [ip(6, dst="2001:db8:2:0:8000::1") / UDP(), tcp()]),
    ('src: ["2001:db8::/32", 10.0.0.0/8]', [tcp(), TCP6], [ip(4, src="11.0.0.1") / UDP()]),
    ("dst: web", [tcp(), TCP6], [ip(4, dst="10.0.3.1") / UDP()]),
    ("dst: [none, web]", [tcp(), TCP6, ip(4, dst="192.0.2.1") / UDP()], [ip(4, dst="8.8.8.8")]),
]  # fmt: skip


def default_drop(*rules: str, **keys: object) -> str:
    return firewall(*rules, prefix_lists=LISTS, **keys)


@pytest.mark.parametrize(("rule", "meant", "others"), CONDITIONS)
def test_condition(
    bench: Bench, rule: str, meant: Sequence[Packet], others: Sequence[Packet]
) -> None:
    bench.configure("fw", default_drop(f"name: it, action: accept, {rule}".rstrip(", ")))
    for packet in meant:
        bench.clear()
        assert counted(bench, packet) == ["it"], packet.summary()
        bench.clear()
        assert cross(bench, packet) == "pass", packet.summary()
    for packet in others:
        bench.clear()
        assert cross(bench, packet) == "rule", packet.summary()
        assert counted(bench, packet) == ["default"], packet.summary()


@pytest.mark.parametrize(("way", "sides"), [("forward", "left"), ("reverse", "right")])
@pytest.mark.parametrize("version", [4, 6])
def test_direction(bench: Bench, way: str, sides: str, version: int) -> None:
    bench.configure("fw", default_drop(f"action: accept, direction: {way}"))
    for side, packet in (("left", ip(version) / UDP()), ("right", back(version) / UDP())):
        bench.clear()
        assert cross(bench, packet, side) == ("pass" if side == sides else "rule")


@pytest.mark.parametrize("version", [4, 6])
def test_actions(bench: Bench, version: int) -> None:
    rules = [
        "name: yes, action: accept, proto: udp, dport: 1",
        "name: no, action: drop, proto: udp, dport: 2",
    ]
    bench.configure("fw", default_drop(*rules, default="accept"))
    packets = {port: ip(version) / UDP(dport=port) for port in (1, 2, 3)}
    assert [cross(bench, packet) for packet in packets.values()] == ["pass", "rule", "pass"]
    bench.clear()
    rules_hit = [counted(bench, packet) for packet in packets.values()]
    assert rules_hit == [["yes"], ["no"], ["default"]]


def test_the_first_rule_that_matches_decides(bench: Bench) -> None:
    rules = [
        "name: narrow, action: drop, proto: udp, dport: 7",
        "name: wide, action: accept, proto: udp",
        "name: late, action: drop, proto: udp, dport: 8",
        "name: last, action: accept",
    ]
    bench.configure("fw", default_drop(*rules))
    hit = [counted(bench, packet) for packet in (udp(7), udp(8), udp(9), tcp())]
    assert hit == [["narrow"], ["wide"], ["wide"], ["last"]]


@pytest.mark.parametrize("position", [0, 1, 31, 32, 62, 63])
def test_every_place_of_a_rule_decides(bench: Bench, position: int) -> None:
    rules = [f"name: r{i}, action: accept, proto: udp, dport: {1000 + i}" for i in range(64)]
    bench.configure("fw", default_drop(*rules))
    assert counted(bench, udp(1000 + position)) == [f"r{position}"]
    assert counted(bench, udp(1064)) == ["default"]


def test_counts_stay_with_rules_that_move(bench: Bench) -> None:
    one, two = (f"name: {name}, action: drop, proto: udp, dport: {port}" for name, port in
                (("one", 1), ("two", 2)))  # fmt: skip
    bench.configure("fw", default_drop(one, two))
    counted(bench, udp(1))
    place = bench.counters["fw"]["one"]
    bench.configure("fw", default_drop(two, one))
    assert bench.counters["fw"]["one"] == place
    assert counted(bench, udp(1)) == ["one"]
    assert counted(bench, udp(2)) == ["two"]


LINK_LAYER: list[Packet] = [
    ARP(pdst="10.0.2.10"),
    ip(6, hlim=255) / ICMPv6ND_NS(tgt="2001:db8:2::10"),
    ip(6, hlim=255) / ICMPv6ND_RA(),
    ip(6, dst="ff02::16", hlim=1) / IPv6ExtHdrHopByHop() / ICMPv6MLReport(),
    icmp6(143, hops=1),
]


@pytest.mark.parametrize("packet", LINK_LAYER, ids=lambda packet: packet.summary())
@pytest.mark.parametrize("side", ["left", "right"])
def test_arp_and_neighbour_discovery_pass_any_rule(bench: Bench, packet: Packet, side: str) -> None:
    bench.configure("fw", default_drop("action: drop"))
    assert cross(bench, packet, side) == "pass"
    assert counted(bench, packet, side) == []


@pytest.mark.parametrize(
    "packet",
    [
        ip(6, hlim=254) / ICMPv6ND_NS(tgt="2001:db8:2::10"),
        icmp6(137, hops=255),
        icmp6(143, hops=2),
    ],
    ids=["routed solicitation", "redirect", "routed listener report"],
)
def test_what_only_looks_like_discovery_is_matched(bench: Bench, packet: Packet) -> None:
    """RFC 4861, section 7.1: discovery that came through a router is forged."""
    bench.configure("fw", default_drop("action: drop"))
    assert cross(bench, packet) == "rule"


OTHERS: list[Packet] = [
    Ether(type=0x88CC) / Raw(b"\x02\x07\x04"),
    Ether(type=0x8100) / Dot1Q(vlan=5) / ip(4) / UDP(dport=53),
    Ether(type=0x86DE) / Raw(b"x" * 46),
    Ether(type=0x0030) / Raw(b"\xaa\xaa\x03"),
]


@pytest.mark.parametrize("frame", OTHERS, ids=["LLDP", "VLAN", "unassigned", "802.3"])
@pytest.mark.parametrize(
    ("default", "expected"), [("accept", "pass"), ("drop", "ethertype"), ("reject", "ethertype")]
)
def test_the_default_speaks_of_other_ethertypes(
    bench: Bench, frame: Packet, default: str, expected: str
) -> None:
    rule = f"action: {'accept' if expected != 'pass' else 'drop'}"
    bench.configure("fw", default_drop(rule, default=default))
    outcome = bench.run("left", frame)
    assert outcome.egress == ("right" if expected == "pass" else None)
    assert outcome.reason == ("forwarded" if expected == "pass" else expected)


def test_ports_are_behind_ipv6_extension_headers(bench: Bench) -> None:
    bench.configure("fw", default_drop("name: dns, action: accept, proto: udp, dport: 53"))
    options = IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt()
    assert counted(bench, ip(6) / options / UDP(dport=53)) == ["dns"]
    assert counted(bench, ip(6) / options / UDP(dport=54)) == ["default"]


def test_ports_are_behind_ipv4_options(bench: Bench) -> None:
    bench.configure("fw", default_drop("name: dns, action: accept, proto: udp, dport: 53"))
    header = ip(4, options=[b"\x01" * 40])
    assert counted(bench, header / UDP(dport=53)) == ["dns"]
    assert counted(bench, header / UDP(dport=54)) == ["default"]
