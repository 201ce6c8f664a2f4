"""Carrier grade NAT: blocks of ports, what is logged of them, and what a host inside may have."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.functions.bench import Bench
from tests.functions.natting import (
    INSIDE,
    OTHER,
    OUTSIDE,
    REMOTE,
    age,
    answer,
    ends,
    events,
    mapped,
    nat,
    out,
    pool,
    send,
    sources,
    tcp,
    udp,
)

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("forgotten")]

OPEN = "filtering: independent"
TOPOLOGY = nat(pool("192.0.2.0/30", block=128, blocks=2), OPEN)
ENDED = 320  # seconds after which no mapping by UDP is left


def block_of(packet: Any) -> tuple[str, int]:
    """The block that a packet's source is in."""
    return packet.src, packet.sport // 128


def reasons(bench: Bench, packet: Any) -> set[str]:
    return {key[2] for key in send(bench, packet).counted if key[:2] == ("reason", "nat")}


def test_ports_are_of_one_block_until_that_is_full(bench: Bench) -> None:
    """All protocols, one address; then of a second one, and then there are no more."""
    filled = sources(bench, [(INSIDE, 2000 + number) for number in range(128)])
    first = {(address, port // 128) for address, port in filled}
    assert len(first) == 1
    assert len(set(filled)) == 128
    assert {block_of(out(bench, tcp(sport=2000 + number))) for number in range(4)} == first
    more = sources(bench, [(INSIDE, 3000 + number) for number in range(128)])
    both = {(address, port // 128) for address, port in filled + more}
    assert len(both) == 2
    assert len({address for address, _block in both}) == 1
    refused = send(bench, udp(sport=4000))
    error = Ether(refused.frame)
    assert (error[ICMP].type, error[ICMP].code, error[IP].dst) == (3, 13, INSIDE)
    assert ("reason", "nat", "quota") in refused.counted
    assert block_of(out(bench, udp(sport=2000))) in first
    assert out(bench, udp(src=OTHER)).src.startswith("192.0.2.")


def test_answers_find_back(bench: Bench) -> None:
    for packet in (udp(), tcp(), IP(src=INSIDE, dst=REMOTE) / ICMP(id=5000) / Raw(b"ping")):
        went = out(bench, packet)
        assert ends(out(bench, answer(went), "wan")) == ends(answer(packet))


@pytest.mark.parametrize("other", [(pool("192.0.2.0/31", block=512), OPEN)], indirect=True)
def test_nobody_shares_a_block(other: Bench) -> None:
    """Every block of all addresses is given, then none is left."""
    hosts = [f"10.0.{net}.{host}" for net in range(2) for host in range(126)]
    went = sources(other, [(host, 5000) for host in hosts])
    assert len({(address, port // 512) for address, port in went}) == len(hosts)
    assert "ports" in reasons(other, udp(src="10.99.99.99"))


@pytest.mark.parametrize("protocol", [47, 50])
def test_protocols_without_ports_have_no_block(bench: Bench, protocol: int) -> None:
    packet = IP(src=INSIDE, dst=REMOTE, proto=protocol) / Raw(b"\1\2\3\4")
    assert "ports" in reasons(bench, packet)


def test_a_block_is_logged_when_it_is_given_and_when_it_comes_back(bench: Bench) -> None:
    """Once each, and it is nobody else's before."""
    went = out(bench, udp())
    address, number = block_of(went)
    said = {
        "inside": INSIDE,
        "outside": address,
        "first_port": number * 128,
        "last_port": number * 128 + 127,
    }
    (given,) = events(bench, 5)
    assert 5 <= given.pop("age") < 20
    assert given == {"event": "allocated", **said}
    assert events(bench, 60) == []
    assert events(bench, ENDED) == []  # taken from its holder
    assert block_of(out(bench, udp(src=OTHER))) != (address, number)
    (back, more) = sorted(events(bench, 5), key=lambda each: str(each["event"]), reverse=True)
    assert back == {"event": "released", "age": 0.0, **said}
    assert more["inside"] == OTHER


def test_nothing_changes_hands_that_cannot_be_logged(bench: Bench) -> None:
    out(bench, udp())
    for seconds in (5, ENDED, ENDED + 5, ENDED + 10):
        found = events(bench, seconds, is_written=False)
        assert [each["event"] for each in found] == ["allocated"]
    assert len(list(bench.map_of("nat", "blocks").items())) == 1
    assert [each["event"] for each in events(bench, 400)] == ["allocated"]
    assert [each["event"] for each in events(bench, 400, is_written=False)] == ["released"]
    assert [each["event"] for each in events(bench, 400)] == ["released"]
    assert list(bench.map_of("nat", "blocks").items()) == []


def test_a_block_in_use_is_kept(bench: Bench) -> None:
    """By TCP alone, or when its holder's first block is empty and its second is not."""
    out(bench, tcp())
    events(bench, 5)
    for seconds in (100, 120):
        assert events(bench, seconds) == []
    assert len(list(bench.map_of("nat", "holdings").items())) == 1


@pytest.mark.parametrize("other", [(pool(block=128), OPEN, "hold_down: 120")], indirect=True)
def test_a_block_waits_for_ports_that_are_held_down(other: Bench) -> None:
    """RFC 6888, REQ-8."""
    out(other, udp())
    assert [each["event"] for each in events(other, 5)] == ["allocated"]
    for seconds in (ENDED, 400, 420):
        assert events(other, seconds) == []
    assert events(other, 440) == []
    assert [each["event"] for each in events(other, 445)] == ["released"]


@pytest.mark.parametrize("other", [(pool(), OPEN, "limit: 3")], indirect=True)
def test_a_host_may_have_so_many_mappings(other: Bench) -> None:
    """RFC 6888, REQ-4: others are not affected, what it has goes on, and what ends makes room."""
    for _ in range(2):
        for number in range(3):
            assert out(other, udp(sport=2000 + number)).src == OUTSIDE
    assert "quota" in reasons(other, udp(sport=2003))
    assert "quota" in reasons(other, tcp())
    assert out(other, udp(src=OTHER)).src == OUTSIDE
    assert mapped(other) == 4
    age(other, ENDED)
    assert mapped(other) == 0
    for number in range(3):
        assert out(other, tcp(sport=3000 + number)).src == OUTSIDE
    assert "quota" in reasons(other, tcp(sport=3003))


@pytest.mark.parametrize("other", [(pool(), OPEN, "limit: 3")], indirect=True)
def test_what_has_ended_makes_room_for_as_much(other: Bench) -> None:
    """Where others of the host's mappings go on."""
    for number in range(2):
        out(other, udp(sport=2000 + number))
    out(other, tcp("S", sport=2002))
    out(other, answer(out(other, tcp("S", sport=2002))), "wan")
    out(other, tcp("A", sport=2002))
    assert "quota" in reasons(other, udp(sport=2003))
    age(other, ENDED)
    assert mapped(other) == 1
    for number in range(2):
        assert out(other, udp(sport=3000 + number)).src == OUTSIDE
    assert "quota" in reasons(other, udp(sport=3002))


def test_a_port_comes_back_that_a_killed_agent_has_left(bench: Bench) -> None:
    """It was killed between ending a mapping and freeing its port."""
    out(bench, udp())
    outward = bench.map_of("nat", "outward")
    ((key, _value),) = list(outward.items())
    outward.delete(key)
    age(bench, 30)
    assert len(list(bench.map_of("nat", "inward").items())) == 1
    age(bench, 70)
    assert mapped(bench) == 0
