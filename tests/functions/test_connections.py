"""Connection tracking: what belongs to a connection passes, and in which state it is then."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest
from scapy.packet import Raw

from nfv.ebpf.connections import State
from tests.functions.bench import Bench, number
from tests.functions.firewalling import counted, cross, firewall
from tests.functions.frames import back, ip

pytestmark = pytest.mark.root

SIZE = 8
OUTWARD = "name: out, action: accept, direction: forward"
TOPOLOGY = firewall(OUTWARD, connections=SIZE)
CLOSED_TO_ALL = firewall("action: drop", connections=SIZE)


@pytest.fixture(autouse=True)
def outward(bench: Bench) -> None:
    """The left side may begin, the right side may only answer."""
    bench.configure("fw", TOPOLOGY)


@pytest.fixture(params=[4, 6])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def sent(version: int, flags: str, sport: int = 40000, data: bytes = b"") -> Any:
    return ip(version) / TCP(sport=sport, dport=80, flags=flags) / Raw(data)


def answered(version: int, flags: str, sport: int = 40000, data: bytes = b"") -> Any:
    return back(version) / TCP(sport=80, dport=sport, flags=flags) / Raw(data)


def states(bench: Bench, version: int) -> list[State]:
    """The states of all connections."""
    layout = bench.function_maps("fw").layout(f"connections{version}")
    values = bench.map_of("fw", f"connections{version}").items()
    return [State(number(layout.unpack(value)["state"])) for _, value in values]


def converse(bench: Bench, version: int, *segments: str) -> list[State]:
    """TCP segments, ">FLAGS" from the left and "<FLAGS" from the right: the state after each."""
    seen = []
    for segment in segments:
        if segment[0] == ">":
            assert cross(bench, sent(version, segment[1:])) == "pass", segment
        else:
            assert cross(bench, answered(version, segment[1:]), "right") == "pass", segment
        (state,) = states(bench, version)
        seen.append(state)
    return seen


def test_a_tcp_connection_from_beginning_to_end(bench: Bench, version: int) -> None:
    states = converse(bench, version, ">S", "<SA", ">A", ">PA", "<PA", ">FA", "<A", "<FA", ">A")
    assert states == [
        State.NEW,
        State.REPLIED,
        State.ESTABLISHED,
        State.ESTABLISHED,
        State.ESTABLISHED,
        State.CLOSING,
        State.CLOSING,
        State.CLOSED,
        State.CLOSED,
    ]


def test_a_fin_from_one_side_alone_does_not_close(bench: Bench, version: int) -> None:
    assert converse(bench, version, ">S", "<SA", ">A", "<FA", "<FA")[-1] == State.CLOSING


@pytest.mark.parametrize("segment", ["<R", "<RA", ">R", ">RA"])
def test_a_reset_closes(bench: Bench, version: int, segment: str) -> None:
    assert converse(bench, version, ">S", "<SA", ">A", segment)[-1] == State.CLOSED


def test_an_unanswered_syn_stays_new(bench: Bench, version: int) -> None:
    assert converse(bench, version, ">S", ">S") == [State.NEW, State.NEW]


def test_a_closed_connections_ports_may_be_used_again(bench: Bench, version: int) -> None:
    assert converse(bench, version, ">S", "<RA", ">S") == [State.NEW, State.CLOSED, State.NEW]


def test_stragglers_do_not_open_it_again(bench: Bench, version: int) -> None:
    states = converse(bench, version, ">S", "<SA", ">A", "<RA", ">FA", ">PA", ">S")
    assert states[3:] == [State.CLOSED, State.CLOSED, State.CLOSED, State.NEW]


def test_a_syn_after_the_end_is_matched_anew(bench: Bench, version: int) -> None:
    converse(bench, version, ">S", "<SA", ">A")
    bench.configure("fw", CLOSED_TO_ALL)
    assert cross(bench, sent(version, "S")) == "pass"  # a duplicate; the connection is there
    assert cross(bench, answered(version, "R"), "right") == "pass"
    assert cross(bench, sent(version, "S")) == "rule"
    assert cross(bench, answered(version, "S"), "right") == "rule"


def test_the_other_side_may_not_begin(bench: Bench, version: int) -> None:
    assert cross(bench, answered(version, "S"), "right") == "rule"
    assert states(bench, version) == []


def test_other_ports_are_other_connections(bench: Bench, version: int) -> None:
    converse(bench, version, ">S")
    assert cross(bench, answered(version, "SA", sport=40001), "right") == "invalid"
    assert cross(bench, back(version) / UDP(sport=80, dport=40000), "right") == "rule"


@pytest.mark.parametrize("flags", ["A", "PA", "FA"])
def test_picks_up_what_began_before(bench: Bench, version: int, flags: str) -> None:
    """As Linux does: connections survive that this firewall did not see begin."""
    assert cross(bench, answered(version, flags), "right") == "rule"
    assert cross(bench, sent(version, flags)) == "pass"
    assert states(bench, version) == [State.ESTABLISHED]
    assert cross(bench, answered(version, flags), "right") == "pass"


@pytest.mark.parametrize("flags", ["A", "PA", "FA", "R", "RA"])
def test_may_be_told_to_pick_up_nothing(version: int, flags: str) -> None:
    with closing(Bench(firewall("action: accept", pickup="false"))) as strict:
        assert cross(strict, sent(version, flags)) == "invalid"
        assert states(strict, version) == []
        assert converse(strict, version, ">S", "<SA", ">A")[-1] == State.ESTABLISHED


def test_a_reset_out_of_nothing_is_not_remembered(bench: Bench, version: int) -> None:
    assert cross(bench, sent(version, "R")) == "pass"
    assert states(bench, version) == []


NONSENSE = ["", "F", "P", "U", "FPU", "SF", "SFA", "SR", "SRA", "FSRPAUEC", "EC"]


@pytest.mark.parametrize("flags", NONSENSE)
@pytest.mark.parametrize("known", [False, True])
def test_flags_that_no_tcp_sends(bench: Bench, version: int, flags: str, known: bool) -> None:
    if known:
        converse(bench, version, ">S", "<SA", ">A")
    assert cross(bench, sent(version, flags)) == "invalid"


@pytest.mark.parametrize("flags", ["S", "SEC", "SP", "SU", "A", "PA", "FA", "FPUA", "AU", "AEC"])
def test_flags_that_begin_a_connection(bench: Bench, version: int, flags: str) -> None:
    assert cross(bench, sent(version, flags)) == "pass"
    assert len(states(bench, version)) == 1


def test_udp(bench: Bench, version: int) -> None:
    query = ip(version) / UDP(sport=40000, dport=53)
    reply = back(version) / UDP(sport=53, dport=40000)
    assert cross(bench, reply, "right") == "rule"
    assert cross(bench, query) == "pass"
    assert states(bench, version) == [State.NEW]
    assert cross(bench, reply, "right") == "pass"
    assert states(bench, version) == [State.REPLIED]


@pytest.mark.parametrize("protocol", [47, 50, 99])
def test_protocols_without_ports(bench: Bench, version: int, protocol: int) -> None:
    field: dict[str, Any] = {"proto" if version == 4 else "nh": protocol}
    there: Any = ip(version, **field) / Raw(b"whatever it is")
    here: Any = back(version, **field) / Raw(b"whatever it is")
    assert cross(bench, here, "right") == "rule"
    assert cross(bench, there) == "pass"
    assert cross(bench, here, "right") == "pass"
    assert states(bench, version) == [State.REPLIED]


def test_ports_in_any_order(bench: Bench, version: int) -> None:
    for low, high in [(1, 2), (2, 1), (256, 1), (1, 256), (7, 7)]:
        bench.clear()
        assert cross(bench, ip(version) / UDP(sport=low, dport=high)) == "pass"
        assert cross(bench, back(version) / UDP(sport=high, dport=low), "right") == "pass"
        assert states(bench, version) == [State.REPLIED]


def echo(version: int, kind: str, ident: int = 77) -> Any:
    if version == 4:
        return ICMP(type=f"echo-{kind}", id=ident)
    return (ICMPv6EchoRequest if kind == "request" else ICMPv6EchoReply)(id=ident)


def test_echo(bench: Bench, version: int) -> None:
    assert cross(bench, back(version) / echo(version, "reply"), "right") == "invalid"
    assert cross(bench, ip(version) / echo(version, "request")) == "pass"
    assert states(bench, version) == [State.NEW]
    assert cross(bench, back(version) / echo(version, "reply", 78), "right") == "invalid"
    assert cross(bench, back(version) / echo(version, "reply"), "right") == "pass"
    assert states(bench, version) == [State.REPLIED]


def test_nobody_may_send_a_reply_unasked(bench: Bench, version: int) -> None:
    """No rule helps: a reply without a request is part of nothing."""
    assert cross(bench, ip(version) / echo(version, "reply")) == "invalid"


def test_a_request_is_not_the_reply_to_a_request(bench: Bench, version: int) -> None:
    assert cross(bench, ip(version) / echo(version, "request")) == "pass"
    assert cross(bench, back(version) / echo(version, "request"), "right") == "rule"
    assert cross(bench, ip(version) / echo(version, "reply")) == "invalid"


OTHER_ICMP = {4: [5, 9, 13, 14, 15, 17], 6: [137, 138, 139, 141, 200]}


def test_other_icmp_messages_are_no_part_of_an_echo(bench: Bench, version: int) -> None:
    """A redirect whose bytes look like a known identifier is a redirect."""
    assert cross(bench, ip(version) / echo(version, "request", 0x0A00)) == "pass"
    protocol: dict[str, Any] = {"proto": 1} if version == 4 else {"nh": 58}
    for kind in OTHER_ICMP[version]:
        message = bytes((kind, 0, 0, 0, 0x0A, 0, 0, 1)) + b"x" * 40
        assert cross(bench, back(version, **protocol) / Raw(message), "right") == "rule", kind
        assert cross(bench, ip(version, **protocol) / Raw(message)) == "pass", kind
    assert len(states(bench, version)) == 1


def test_the_admitting_rule_counts_every_packet(bench: Bench, version: int) -> None:
    assert counted(bench, sent(version, "S")) == ["out"]
    assert counted(bench, answered(version, "SA"), "right") == ["out"]
    assert counted(bench, sent(version, "PA", data=b"x" * 100)) == ["out"]
    assert counted(bench, answered(version, "S", sport=1), "right") == ["default"]


def test_a_connection_outlives_its_rule(bench: Bench, version: int) -> None:
    converse(bench, version, ">S", "<SA", ">A")
    bench.configure("fw", CLOSED_TO_ALL)
    assert cross(bench, sent(version, "PA")) == "pass"
    assert cross(bench, sent(version, "PA", sport=1)) == "rule"


def test_a_full_table_refuses_what_is_new_and_keeps_what_is_there(
    bench: Bench, version: int
) -> None:
    for sport in range(1, SIZE + 1):
        assert cross(bench, sent(version, "S", sport=sport)) == "pass"
    assert cross(bench, sent(version, "S", sport=SIZE + 1)) == "table_full"
    for sport in range(1, SIZE + 1):
        assert cross(bench, answered(version, "SA", sport=sport), "right") == "pass"
    other = 10 - version
    assert cross(bench, sent(other, "S")) == "pass"
    assert cross(bench, answered(version, "RA", sport=1), "right") == "pass"
    assert cross(bench, sent(version, "S", sport=1)) == "pass"  # in the closed one's place
    assert len(states(bench, version)) == SIZE
