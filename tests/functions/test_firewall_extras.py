"""What rules do besides deciding: limits, marks, counts, lines in the log; and groups of rules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.packet import Raw

from nfv.chain.sap import Hook
from nfv.dataplane.kernel.ring import Ring
from nfv.ebpf.logged import document
from tests.functions.bench import Bench
from tests.functions.firewalling import counted, firewall
from tests.functions.frames import back, ether, ip

pytestmark = pytest.mark.root

ALL = (
    "action: accept, proto: 254, limit: {rate: 1/day, by: source}, log: 1",
    "action: accept, proto: 254, mark: ef",
)
"""Rules that no packet is for, so that programs are compiled for all of it."""


@pytest.fixture(
    scope="module",
    params=[(0, Hook.XDP), (0, Hook.TC), (1025, Hook.XDP)],
    ids=["one word", "one word, TC", "groups"],
)
def loaded(request: pytest.FixtureRequest) -> Iterator[tuple[Bench, int]]:
    count, hook = request.param
    with closing(Bench(rules(count=count), hook=hook)) as bench:
        yield bench, count


def rules(*some: str, count: int, **keys: object) -> str:
    """A stateless firewall with these rules, and so many others that no packet is for."""
    filling = [f"action: drop, proto: tcp, sport: 9, dport: {port}" for port in range(count)]
    return firewall(*some, *filling, *ALL, **{"stateless": "true", **keys})


def configure(loaded: tuple[Bench, int], *some: str, **keys: object) -> Bench:
    bench, count = loaded
    bench.configure("fw", rules(*some, count=count, **keys))
    bench.clear()
    return bench


def udp(dport: int = 53, version: int = 4, **fields: Any) -> Any:
    return ip(version, **fields) / UDP(sport=7, dport=dport) / Raw(b"x" * 20)


def test_a_count_lets_the_packet_go_on(loaded: tuple[Bench, int]) -> None:
    bench = configure(
        loaded,
        "name: all, action: count",
        "name: dns, action: count, proto: udp, dport: 53",
        "name: udp, action: accept, proto: udp",
        "name: behind, action: count",
    )
    for _ in range(2):
        assert counted(bench, udp(53)) == ["all", "dns", "udp"]
        assert counted(bench, udp(54)) == ["all", "udp"]
        assert counted(bench, ip(4) / TCP()) == ["all", "behind", "default"]


@pytest.mark.parametrize("version", [4, 6])
def test_as_many_as_the_limit_says_and_the_next_rule_for_the_others(
    loaded: tuple[Bench, int], version: int
) -> None:
    bench = configure(
        loaded,
        f"name: few{version}, action: accept, limit: {{rate: 1/day, burst: 3}}",
        "name: others, action: drop",
    )
    found = [counted(bench, udp(port, version)) for port in range(1, 6)]
    assert found == [[f"few{version}"]] * 3 + [["others"]] * 2


def test_a_limit_by_source(loaded: tuple[Bench, int]) -> None:
    bench = configure(
        loaded, "name: few, action: accept, limit: {rate: 1/hour, burst: 2, by: source}"
    )
    for version, sources in ((4, ("10.0.1.1", "10.0.1.2")), (6, ("2001:db8::1", "2001:db8::2"))):
        for source in sources:
            found = [counted(bench, udp(53, version, src=source)) for _ in range(3)]
            assert found == [["few"], ["few"], ["default"]], source


def test_a_limit_fills_again(loaded: tuple[Bench, int]) -> None:
    """A thousand a second are one in less than the time that a test run takes."""
    bench = configure(loaded, "name: few, action: accept, limit: {rate: 1000/second, burst: 1}")
    found = [counted(bench, udp()) for _ in range(400)]
    assert found.count(["few"]) > 1


@pytest.mark.parametrize("version", [4, 6])
def test_a_mark_is_the_dscp_of_what_leaves(loaded: tuple[Bench, int], version: int) -> None:
    bench = configure(loaded, "action: accept, mark: af41")
    for ecn in range(4):
        field = {"tos" if version == 4 else "tc": 46 << 2 | ecn}
        packet, marked = (
            udp(53, version, **dict.fromkeys(field, value))
            for value in (46 << 2 | ecn, 34 << 2 | ecn)
        )
        header = ether(bench, "left", "right")
        for _ in range(2):
            assert bench.run("left", header / packet).frame == bytes(header / marked)


def test_the_log_says_which_packet_and_by_which_rule(loaded: tuple[Bench, int]) -> None:
    bench = configure(
        loaded,
        "name: seen, action: count, log: 1, proto: tcp",
        "name: refused, action: drop, log: 1",
    )
    ring = Ring(bench.map_of("fw", "log"))
    names = {place: name for name, place in bench.counters["fw"].items()}
    list(ring.read())  # of earlier tests
    counted(bench, ip(4) / TCP(sport=40000, dport=80, flags="SA") / Raw(b"x" * 100))
    counted(bench, back(6) / UDP(sport=7, dport=53), "right")
    found = [document(entry, names) for entry in ring.read()]
    ring.close()
    web = {
        "direction": "forward", "src": "10.0.1.10", "dst": "10.0.2.10", "proto": "tcp",
        "length": 140, "sport": 40000, "dport": 80, "tcp_flags": "syn,ack", "sample": 1,
    }  # fmt: skip
    name = {
        "direction": "reverse", "src": "2001:db8:2::10", "dst": "2001:db8:1::10", "proto": "udp",
        "length": 48, "sport": 7, "dport": 53, "sample": 1,
    }  # fmt: skip
    assert found == [
        {"rule": "seen", "action": "count", **web},
        {"rule": "refused", "action": "drop", **web},
        {"rule": "refused", "action": "drop", **name},
    ]


def test_one_packet_in_so_many_is_logged(loaded: tuple[Bench, int]) -> None:
    """Each is chosen by chance: of 2,000 packets about 200, and 100 to 300 but once in 10^12."""
    bench = configure(loaded, "name: seen, action: accept, log: 10")
    ring = Ring(bench.map_of("fw", "log"))
    list(ring.read())
    frame = bytes(ether(bench, "left", "right") / udp())
    for _ in range(2000):
        bench.execute("left", frame)
    assert 100 < len(list(ring.read())) < 300
    ring.close()


def test_a_jump_leads_to_a_group_and_back(loaded: tuple[Bench, int]) -> None:
    groups = (
        "{web: [{name: plain, action: drop, dport: 80, proto: tcp}, {action: jump, to: late}],"
        " late: [{name: high, action: accept, proto: tcp, dport: 1000-2000}]}"
    )
    bench = configure(
        loaded,
        "name: to-web, action: jump, to: web, proto: tcp, dport: 80-1500",
        "name: rest, action: accept, proto: tcp",
        groups=groups,
    )
    hits = {port: counted(bench, ip(4) / TCP(dport=port)) for port in (80, 81, 1000, 1501)}
    assert hits == {80: ["web/plain"], 81: ["rest"], 1000: ["late/high"], 1501: ["rest"]}


def test_a_packet_that_too_many_rules_let_go_on_is_dropped(loaded: tuple[Bench, int]) -> None:
    for many, passes in ((16, True), (17, False)):
        bench = configure(loaded, *["action: count"] * many, "name: it, action: accept")
        frame = ether(bench, "left", "right") / udp()
        assert (bench.run("left", frame).egress == "right") == passes


@pytest.mark.parametrize("hook", Hook)
def test_all_packets_of_a_connection_are_marked_and_none_is_limited(hook: Hook) -> None:
    """With connections rules see the first packet of each."""
    rule = "name: it, action: accept, proto: udp, mark: cs1, limit: {rate: 1/day, burst: 1}"
    with closing(Bench(firewall(rule), hook=hook)) as bench:
        there = ether(bench, "left", "right") / udp()
        again = ether(bench, "right", "left") / back(4) / UDP(sport=53, dport=7)
        for _ in range(3):
            assert bench.run("left", there).frame[15] == 8 << 2
            assert bench.run("right", again).frame[15] == 8 << 2
        other = ether(bench, "left", "right") / udp(54)
        assert bench.run("left", other).egress is None
