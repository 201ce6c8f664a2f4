"""Conditions of rules on what only some rules ask for: MAC addresses, length, DSCP, fragments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6ExtHdrFragment
from scapy.packet import Packet, Raw

from nfv.chain.sap import Hook
from tests.functions.bench import Bench
from tests.functions.firewalling import counted, cross, firewall
from tests.functions.frames import ether, ip

pytestmark = pytest.mark.root

ASKING = (
    'action: drop, proto: 254, src_mac: "06:00:00:00:00:01", length: 1, dscp: 3, fragment: later'
)
"""A last rule that no packet is for, so that programs are compiled for all these conditions."""

LISTS = "{near: [10.0.0.0/8, 2001:db8::/32]}"


@pytest.fixture(
    scope="module",
    params=[(1, Hook.XDP), (1, Hook.TC), (1025, Hook.XDP)],
    ids=["one word", "one word, TC", "groups"],
)
def loaded(request: pytest.FixtureRequest) -> Iterator[tuple[Bench, int]]:
    count, hook = request.param
    with closing(Bench(rules(count=count), hook=hook)) as bench:
        yield bench, count


def rules(*some: str, count: int) -> str:
    """A stateless firewall with these rules, and so many others that no packet is for."""
    filling = [f"action: drop, proto: tcp, sport: 9, dport: {port}" for port in range(1, count)]
    return firewall(*some, *filling, ASKING, prefix_lists=LISTS, stateless="true")


def udp(version: int = 4, size: int = 0, **fields: Any) -> Any:
    return ip(version, **fields) / UDP(sport=7, dport=53) / Raw(b"x" * size)


def later(version: int) -> Any:
    if version == 4:
        return ip(4, frag=2, id=7, proto=17) / Raw(b"x" * 16)
    return ip(6) / IPv6ExtHdrFragment(nh=17, offset=2, id=7) / Raw(b"x" * 16)


def first(version: int) -> Any:
    if version == 4:
        return ip(4, flags="MF", id=7) / UDP(sport=7, dport=53) / Raw(b"x" * 8)
    return ip(6) / IPv6ExtHdrFragment(nh=17, m=1, id=7) / UDP(sport=7, dport=53) / Raw(b"x" * 8)


FRAGMENTS = [later(4), later(6), first(4), first(6)]

# Rule, packets it is for, packets it is not for.
CONDITIONS: list[tuple[str, Sequence[Packet], Sequence[Packet]]] = [
    ("dscp: ef", [udp(tos=46 << 2), udp(tos=46 << 2 | 3), udp(6, tc=46 << 2)],
     [udp(), udp(tos=45 << 2), udp(6, tc=47 << 2), udp(6, fl=0xFFFFF)]),
    ("dscp: [0, 63]", [udp(), udp(6), udp(tos=0xFC), udp(6, tc=0xFF), udp(tos=3)],
     [udp(tos=4), udp(6, tc=0xF8)]),
    ("length: 28", [udp()], [udp(size=1), udp(6)]),
    ("length: 48-300", [udp(size=20), udp(6), udp(size=272), udp(6, size=252)],
     [udp(size=19), udp(size=273), udp(6, size=253)]),
    ("length: [100, 200-1500]", [udp(size=72), udp(size=1472)], [udp(size=73), udp(size=171)]),
    ("fragment: none", [udp(), udp(6), udp(flags="DF")], FRAGMENTS),
    ("fragment: first", [first(4), first(6)], [udp(), udp(6), later(4), later(6)]),
    ("fragment: later", [later(4), later(6)], [udp(), udp(6), first(4), first(6)]),
    ("fragment: [first, later], proto: udp", FRAGMENTS, [udp()]),
    ("unless: {src: 10.0.0.0/8}", [udp(src="11.0.0.1"), udp(src="9.255.255.255"), udp(6)],
     [udp(), udp(src="10.0.0.0"), udp(src="10.255.255.255")]),
    ("unless: {dst: near}", [udp(dst="192.0.2.1"), udp(6, dst="2001:db9::1")], [udp(), udp(6)]),
    ("src: near, unless: {src: 10.0.1.0/28}", [udp(src="10.0.1.16"), udp(6)], [udp()]),
    ("unless: {proto: [udp, icmp]}", [ip(4) / TCP(), ip(6) / TCP()], [udp(), udp(6)]),
    ("proto: [tcp, udp], unless: {dport: [53, 80-90]}",
     [ip(4) / UDP(dport=54), ip(4) / TCP(dport=79)], [udp(), ip(6) / TCP(dport=85), later(4)]),
    ("unless: {dscp: ef, length: 29}", [udp()], [udp(tos=46 << 2), udp(size=1)]),
    ("unless: {fragment: [first, later]}", [udp(), udp(6)], FRAGMENTS),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "meant", "others"), CONDITIONS)
def test_condition(
    loaded: tuple[Bench, int], rule: str, meant: Sequence[Packet], others: Sequence[Packet]
) -> None:
    bench, count = loaded
    bench.configure("fw", rules(f"name: it, action: accept, {rule}", count=count))
    for packet in meant:
        bench.clear()
        assert cross(bench, packet) == "pass", packet.summary()
        assert counted(bench, packet) == ["it"], packet.summary()
    for packet in others:
        bench.clear()
        assert cross(bench, packet) == "rule", packet.summary()
        assert counted(bench, packet) == ["default"], packet.summary()


def test_mac_addresses(loaded: tuple[Bench, int]) -> None:
    bench, count = loaded
    cases = {
        'src_mac: "02:11:22:33:44:55"': [True, False, False, False],
        'src_mac: "02:11:22:00:00:00/24"': [True, True, False, False],
        'dst_mac: "02:11:22:33:44:55"': [False, False, True, False],
        'unless: {src_mac: "02:11:22:00:00:00/24"}': [False, False, True, True],
    }
    near, far = "02:11:22:33:44:55", "06:00:00:00:00:02"
    pairs = [(near, far), ("02:11:22:ff:ff:ff", far), (far, near), ("02:11:23:00:00:00", far)]
    for rule, expected in cases.items():
        bench.configure("fw", rules(f"action: accept, {rule}", count=count))
        found = []
        for src, dst in pairs:
            frame = ether(bench, "left", "right") / udp()
            frame.src, frame.dst = src, dst
            found.append(bench.run("left", frame).egress == "right")
        assert found == expected, rule


@pytest.mark.parametrize(
    ("rule", "other"),
    [
        ("length: 100-200", udp(size=20)),
        ("dscp: ef", udp(tos=0)),
    ],
)
def test_a_packet_unlike_the_one_before_is_judged_for_itself(
    loaded: tuple[Bench, int], rule: str, other: Packet
) -> None:
    """What such rules ask for is no part of a flow's name."""
    bench, count = loaded
    bench.configure("fw", rules(f"action: accept, {rule}", count=count))
    meant = udp(size=100, tos=46 << 2)
    for _ in range(2):
        assert cross(bench, meant) == "pass"
        assert cross(bench, other) == "rule"


def test_another_mac_address_behind_a_router(loaded: tuple[Bench, int]) -> None:
    """The frame is rewritten at the end of the walk; rules see it as it will be."""
    text = """
name: bench-behind
saps:
  left: {kind: host, ip: 10.0.1.10/24, gateway: 10.0.1.1}
  right: {kind: host, ip: 10.0.2.10/24, gateway: 10.0.2.1, mac: "02:00:00:00:00:22"}
vnfs:
  gw:
    type: router
    interfaces: {left: {ip: 10.0.1.1/24}, right: {ip: 10.0.2.1/24}}
  fw:
    type: firewall
    stateless: true
    rules:
      - {name: it, action: accept, dst_mac: "02:00:00:00:00:22"}
chains:
  one: {path: [left, "gw:left"]}
  two: {path: ["gw:right", fw, right]}
"""
    with closing(Bench(text, hook=loaded[0].hook)) as bench:
        packet = IP(src="10.0.1.10", dst="10.0.2.10") / UDP(sport=7, dport=53) / Raw(b"x" * 20)
        for _ in range(2):
            outcome = bench.run("left", ether(bench, "left", "gw:left") / packet)
            assert outcome.egress == "right"
            assert outcome.frame[:6] == bytes.fromhex("020000000022")
            assert ("rule", "fw", "it") in outcome.counted
