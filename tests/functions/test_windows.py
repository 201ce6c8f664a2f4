"""TCP segments in and outside the windows of their connection, and resets and SYNs (RFC 5961)."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from scapy.layers.inet import TCP
from scapy.packet import Raw

from nfv.chain.sap import Hook
from nfv.ebpf.connections import State
from tests.functions.bench import Bench
from tests.functions.firewalling import cross, firewall
from tests.functions.frames import back, ether, ip
from tests.functions.test_connections import states
from tests.functions.test_segments import segmented

pytestmark = pytest.mark.root

TOPOLOGY = firewall("action: accept", windows="strict")
WINDOW = 1000


class Talk:
    """A connection from the left to the right: `said` and `heard` are the sides' next numbers."""

    def __init__(self, bench: Bench, version: int, start: int = 1000, other: int = 500000) -> None:
        self.bench, self.version = bench, version
        self.said, self.heard = start, other

    def right(self, flags: str, ahead: int = 0, ack: int = 0, **more: Any) -> str:
        """A segment of the left side: numbers are relative to what was said and heard."""
        return self._cross("left", flags, self.said + ahead, self.heard + ack, more)

    def left(self, flags: str, ahead: int = 0, ack: int = 0, **more: Any) -> str:
        """A segment of the right side."""
        return self._cross("right", flags, self.heard + ahead, self.said + ack, more)

    def _cross(self, side: str, flags: str, seq: int, ack: int, more: dict[str, Any]) -> str:
        data = more.pop("data", b"")
        fields = {"window": WINDOW, **more, "flags": flags, "seq": seq % (1 << 32)}
        ports = (40000, 80) if side == "left" else (80, 40000)
        header = ip(self.version) if side == "left" else back(self.version)
        fields["ack"] = ack % (1 << 32) if "A" in flags else 0
        segment = header / TCP(sport=ports[0], dport=ports[1], **fields) / Raw(data)
        return cross(self.bench, segment, side)

    def opened(self, *options: tuple[str, Any]) -> Talk:
        """After the handshake, with these options in both SYNs."""
        more: Any = {"options": list(options)}
        assert self.right("S", **more) == "pass"
        self.said += 1
        assert self.left("SA", **more) == "pass"
        self.heard += 1
        assert self.right("A") == "pass"
        assert self.state() == State.ESTABLISHED
        return self

    def state(self) -> State:
        (state,) = states(self.bench, self.version)
        return state


@pytest.fixture(params=[4, 6])
def fresh(request: pytest.FixtureRequest, bench: Bench) -> Talk:
    return Talk(bench, request.param)


@pytest.fixture
def talk(fresh: Talk) -> Talk:
    return fresh.opened()


def test_data_inside_the_window_passes(talk: Talk) -> None:
    assert talk.right("PA", data=b"a" * WINDOW) == "pass"
    assert talk.left("A", ack=WINDOW) == "pass"
    assert talk.right("PA", ahead=WINDOW, data=b"b" * WINDOW) == "pass"
    assert talk.right("PA", data=b"a" * WINDOW) == "pass"  # the first, once more


def test_data_right_of_the_window_is_dropped(talk: Talk) -> None:
    assert talk.right("A", ahead=WINDOW, data=b"begins at its end") == "pass"
    assert talk.right("A", ahead=WINDOW + 1, data=b"begins behind it") == "invalid"
    assert talk.right("A", ahead=1 << 30, data=b"far away") == "invalid"


def test_data_left_of_the_window_is_dropped(talk: Talk) -> None:
    assert talk.right("A", ahead=-WINDOW) == "pass"
    assert talk.right("A", ahead=-WINDOW - 1) == "invalid"
    assert talk.right("A", ahead=-WINDOW - 5, data=b"half in") == "pass"


@pytest.mark.parametrize(("ack", "verdict"), [(0, "pass"), (1, "invalid"), (1 << 30, "invalid")])
def test_what_was_not_sent_cannot_be_acknowledged(talk: Talk, ack: int, verdict: str) -> None:
    assert talk.right("PA", ack=ack, data=b"data") == verdict
    assert talk.left("PA", ack=ack + 4 * (verdict == "pass"), data=b"data") == verdict


def test_an_acknowledgement_of_long_ago_is_dropped(talk: Talk) -> None:
    assert talk.right("PA", ack=-66000, data=b"data") == "pass"
    assert talk.right("PA", ack=-66001, data=b"data") == "invalid"


def test_windows_are_scaled_as_both_syns_say(fresh: Talk) -> None:
    talk = fresh.opened(("MSS", 1460), ("NOP", None), ("WScale", 3))
    assert talk.right("A", ahead=WINDOW, data=b"d") == "pass"  # the SYN's is not scaled
    assert talk.right("A", ahead=WINDOW + 2, data=b"d") == "invalid"
    assert talk.left("A") == "pass"
    assert talk.right("A", ahead=WINDOW << 3) == "pass"
    assert talk.right("A", ahead=(WINDOW << 3) + 2) == "invalid"


def test_one_syn_with_scaling_is_not_enough(fresh: Talk) -> None:
    assert fresh.right("S", options=[("WScale", 7)]) == "pass"
    fresh.said += 1
    assert fresh.left("SA") == "pass"
    fresh.heard += 1
    assert fresh.right("A") == "pass"
    assert fresh.left("A", ahead=WINDOW) == "pass"
    assert fresh.left("A", ahead=WINDOW + 1) == "invalid"


def test_the_probe_of_a_closed_window_passes(talk: Talk) -> None:
    assert talk.right("A", data=b"a" * WINDOW) == "pass"
    assert talk.left("A", ack=WINDOW, window=0) == "pass"
    talk.said += WINDOW
    assert talk.right("A", data=b"1") == "pass"
    assert talk.right("A", ahead=2, data=b"more") == "invalid"


def test_a_keepalive_passes(talk: Talk) -> None:
    assert talk.right("A", ahead=-1) == "pass"
    assert talk.left("A") == "pass"
    assert talk.right("A", ahead=-1, data=b"\0") == "pass"


@pytest.mark.parametrize("flags", ["R", "RA"])
def test_a_reset_with_the_expected_number_closes(talk: Talk, flags: str) -> None:
    assert talk.left(flags) == "pass"
    assert talk.state() == State.CLOSED


def test_a_reset_that_acknowledges_what_was_not_sent_is_dropped(talk: Talk) -> None:
    assert talk.left("RA", ack=1) == "invalid"
    assert talk.state() == State.ESTABLISHED


def test_a_reset_behind_data_under_way_closes(talk: Talk) -> None:
    assert talk.right("PA", data=b"data") == "pass"
    assert talk.right("R", ahead=4) == "pass"
    assert talk.state() == State.CLOSED


@pytest.mark.parametrize("ahead", [1, 500, WINDOW])
def test_a_reset_elsewhere_in_the_window_changes_nothing(talk: Talk, ahead: int) -> None:
    """RFC 5961, section 3.2: it passes, for the receiver to challenge it."""
    assert talk.left("R", ahead=ahead) == "pass"
    assert talk.state() == State.ESTABLISHED


@pytest.mark.parametrize("ahead", [-1, WINDOW + 1, 1 << 30, -(1 << 30)])
def test_a_reset_outside_the_window_is_dropped(talk: Talk, ahead: int) -> None:
    assert talk.left("R", ahead=ahead) == "invalid"
    assert talk.right("R", ahead=ahead) == "invalid"
    assert talk.state() == State.ESTABLISHED


def test_a_syn_of_a_connection_changes_nothing(talk: Talk) -> None:
    """RFC 5961, section 4: it passes, for the receiver to challenge it."""
    assert talk.right("S", ahead=77777) == "pass"
    assert talk.left("S") == "invalid"
    assert talk.state() == State.ESTABLISHED
    assert talk.left("A") == "pass"
    assert talk.right("A", ahead=WINDOW + 1) == "invalid"
    assert talk.right("R") == "pass"  # the answer of one that knows nothing of the connection
    assert talk.state() == State.CLOSED


def test_a_connection_that_both_ends_have_lost_begins_anew(talk: Talk) -> None:
    assert talk.right("S", ahead=77777) == "pass"
    talk.said += 77778
    talk.heard = 9000
    assert talk.left("SA") == "pass"
    talk.heard += 1
    assert talk.right("A") == "pass"
    assert talk.left("PA", data=b"hello") == "pass"
    assert talk.state() == State.ESTABLISHED


def test_a_syn_is_answered_by_a_reset_that_acknowledges_it(fresh: Talk) -> None:
    assert fresh.right("S") == "pass"
    assert fresh.left("R") == "invalid"
    assert fresh.left("RA", ack=2) == "invalid"
    assert fresh.state() == State.NEW
    assert fresh.left("RA", ack=1) == "pass"
    assert fresh.state() == State.CLOSED


def test_a_syn_ack_has_to_acknowledge_the_syn(fresh: Talk) -> None:
    assert fresh.right("S") == "pass"
    assert fresh.left("SA", ack=2) == "invalid"
    assert fresh.left("SA", ack=-100000) == "invalid"
    assert fresh.left("SA", ack=1) == "pass"


def test_half_open(fresh: Talk) -> None:
    """RFC 9293, section 3.5.1: the other side knows a former connection."""
    assert fresh.right("S") == "pass"
    assert fresh.left("A", ahead=30, ack=987654) == "pass"
    assert fresh.right("R", ahead=987654) == "pass"
    assert fresh.state() == State.CLOSED
    assert fresh.right("S") == "pass"
    assert fresh.state() == State.NEW


def test_simultaneous_open(fresh: Talk) -> None:
    """RFC 9293, section 3.5, figure 8."""
    assert fresh.right("S") == "pass"
    assert fresh.left("S") == "pass"
    assert fresh.right("SA", ack=1) == "pass"
    assert fresh.left("SA", ack=1) == "pass"
    fresh.said += 1
    fresh.heard += 1
    assert fresh.left("A") == "pass"
    assert fresh.state() == State.ESTABLISHED
    assert fresh.right("PA", data=b"data") == "pass"
    assert fresh.right("A", ahead=WINDOW + 1) == "invalid"


def test_data_flows_on_after_half_a_close(talk: Talk) -> None:
    assert talk.right("FA") == "pass"
    talk.said += 1
    for _ in range(5):
        assert talk.left("PA", data=b"d" * 900) == "pass"
        talk.heard += 900
        assert talk.right("A") == "pass"
    assert talk.state() == State.CLOSING
    assert talk.left("A", ahead=WINDOW + 1) == "invalid"
    assert talk.left("FA") == "pass"
    talk.heard += 1
    assert talk.right("A") == "pass"
    assert talk.state() == State.CLOSED
    talk.said, talk.heard = 5, 6
    assert talk.right("S") == "pass"
    assert talk.state() == State.NEW


def test_a_fin_outside_the_window_closes_nothing(talk: Talk) -> None:
    assert talk.right("FA", ahead=WINDOW + 1) == "invalid"
    assert talk.right("FA", ahead=-WINDOW - 2) == "invalid"
    assert talk.state() == State.ESTABLISHED


@pytest.mark.parametrize("start", [(1 << 32) - 1, (1 << 32) - 1500, (1 << 31) - 1500])
def test_sequence_numbers_wrap_around(fresh: Talk, start: int) -> None:
    fresh.said, fresh.heard = start, start + 700
    talk = fresh.opened()
    for _ in range(4):
        assert talk.right("PA", data=b"d" * 900) == "pass"
        talk.said += 900
        assert talk.left("PA", data=b"d" * 800) == "pass"
        talk.heard += 800
        assert talk.right("A", ahead=WINDOW + 900) == "invalid"
    assert talk.left("R") == "pass"


def test_what_is_picked_up_is_not_dropped_by_its_window(fresh: Talk) -> None:
    assert fresh.right("PA", data=b"in the middle") == "pass"
    assert fresh.right("A", ahead=200000000, ack=700) == "pass"
    assert fresh.left("A", ahead=3) == "pass"
    assert fresh.left("A", ahead=1 << 30, ack=1 << 30) == "pass"
    assert fresh.right("R", ahead=-1) == "invalid"
    assert fresh.state() == State.ESTABLISHED


@pytest.mark.parametrize("flags", ["FR", "RFA", "SRA", "", "U", "SAU", "F"])
def test_flags_that_no_tcp_sends(fresh: Talk, flags: str) -> None:
    assert fresh.right(flags) == "invalid"
    assert fresh.opened().right(flags) == "invalid"


def test_every_segment_walks(talk: Talk) -> None:
    """The flow cache knows no sequence numbers."""
    for _ in range(3):
        assert talk.right("PA", data=b"data") == "pass"
    assert talk.right("PA", ahead=WINDOW + 5, data=b"data") == "invalid"


@pytest.mark.parametrize("version", [4, 6])
def test_a_frame_of_many_segments(version: int) -> None:
    """At TC it is as long as all of them."""
    with closing(Bench(TOPOLOGY, hook=Hook.TC)) as bench:
        talk = Talk(bench, version).opened()
        assert talk.left("A", window=8000) == "pass"
        header = ip(version) / TCP(sport=40000, dport=80, flags="A", seq=talk.said, ack=talk.heard)
        frame = ether(bench, "left", "right") / header / Raw(b"d" * 3000)
        assert bench.run("left", frame, segmented(1000)).egress == "right"
        assert talk.left("A", ack=3001) == "invalid"
        assert talk.left("A", ack=3000) == "pass"
