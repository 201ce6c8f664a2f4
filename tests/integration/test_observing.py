"""Observed programs on passing packets: what they note, and that nobody notices them."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.l2 import Ether

from nfv.chain.path import Attachment
from nfv.dataplane import state
from nfv.dataplane.observe import notes, observing
from nfv.dataplane.observe.notes import Record
from nfv.dataplane.observe.observed import Observed
from nfv.dataplane.observe.observing import Observer
from nfv.ebpf.observed import Moment
from nfv.errors import InputError
from tests.integration.helpers import traffic
from tests.integration.helpers.lab import Lab, applied, example
from tests.integration.helpers.load import load

pytestmark = pytest.mark.root

PATIENCE = 10.0
SNAP = 128


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with applied(example("quickstart"), "observed") as made:
        made.run("lan", "ping -n -c 1 -W 2 192.0.2.254")  # so that neighbours are known
        made.settle()
        yield made


def observer(lab: Lab, *places: str) -> Observer:
    found = state.load(lab.name)
    assert found is not None
    chosen = [Attachment.parse(place) for place in places] or None
    return Observer(found, pytest.fail, chosen)


def gather(observed: Observed, enough: Callable[[list[Record]], bool]) -> list[Record]:
    """Notes, until there are enough."""
    found: list[Record] = []
    deadline = time.monotonic() + PATIENCE
    while not enough(found):
        left = deadline - time.monotonic()
        assert left > 0, f"only {found}"
        select.select([observed.ring], [], [], left)
        found += observed.ring.records()
    return found


def want_all(observed: Observed) -> None:
    observed.want(range(len(observed.notes)), SNAP)


def pings(records: Iterable[Record]) -> Iterator[Record]:
    """Those of echoes: hosts speak by themselves as well."""
    return (record for record in records if ICMP in Ether(record.frame))


def test_a_packet_is_noted_at_every_step_of_its_way(lab: Lab) -> None:
    with observer(lab) as observed:
        want_all(observed)
        lab.run("lan", "ping -n -c 1 -W 2 192.0.2.254")
        found = gather(observed, lambda records: len(list(pings(records))) >= 8)
        asked = next(pings(found)).packet
        first = [record for record in found if record.packet == asked]
        steps = [observed.place(record) for record in first]
        assert [step.moment for step in steps] == [
            Moment.ENTER,
            Moment.FUNCTION,
            Moment.FUNCTION,
            Moment.END,
        ]
        assert {step.entry for step in steps} == {Attachment("lan")}
        assert [step.function for step in steps] == ["", "fw", "gw", ""]
        before, _, after, last = (Ether(record.frame) for record in first)
        assert before[IP].ttl == 64
        assert after[IP].ttl == last[IP].ttl == 63
        assert after.dst != before.dst
        assert bytes(last[ICMP]) == bytes(before[ICMP])
        del after[IP].chksum
        assert bytes(last[IP]) == bytes(IP(bytes(after[IP])))
        assert observed.lost == 0
    assert not observing.is_observed(lab.name)


def test_a_rejected_packet_is_noted_with_its_answer(lab: Lab) -> None:
    with observer(lab, "lan") as observed:
        want_all(observed)
        assert traffic.outcome(lab.netns("lan"), "192.0.2.254", 23) == "refused"

        def is_answered(records: list[Record]) -> bool:
            return any(observed.place(record).moment is Moment.ANSWER for record in records)

        found = gather(observed, is_answered)
        answer = next(
            Ether(record.frame)
            for record in found
            if observed.place(record).moment is Moment.ANSWER
        )
        assert answer[IP].src == "192.0.2.254"
        assert answer[TCP].flags == "RA"


def test_no_packet_is_lost_where_programs_are_exchanged(lab: Lab) -> None:
    programs = lab.programs()
    with load(lab.netns("lan"), "10.0.1.10", lab.netns("wan"), "192.0.2.254", 5201) as running:
        for _ in range(3):
            with observer(lab) as observed:
                want_all(observed)
                gather(observed, lambda records: len(records) > 100)
                assert lab.programs() != programs
        counts = running.stop()
    assert counts.lost == 0
    assert counts.tcp_lost == 0
    assert lab.programs() == programs
    assert lab.plan().empty


def test_notes_that_have_no_room_are_counted(lab: Lab) -> None:
    with observer(lab, "lan") as observed:
        want_all(observed)
        before = lab.statistics()
        with load(lab.netns("lan"), "10.0.1.10", lab.netns("wan"), "192.0.2.254", 5201) as running:
            deadline = time.monotonic() + PATIENCE
            while not observed.lost:  # nobody reads
                assert time.monotonic() < deadline
                select.select([], [], [], 0.1)
            counts = running.stop()
        assert counts.lost == 0
        assert before != lab.statistics()


def test_one_process_at_a_time_observes(lab: Lab) -> None:
    with observer(lab), pytest.raises(InputError, match=f"by process {os.getpid()}"):
        observer(lab)


def test_what_a_killed_process_leaves_works_and_is_put_back(lab: Lab) -> None:
    programs = lab.programs()
    child = os.fork()
    if child == 0:
        observer(lab).__enter__()
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert lab.programs() != programs
    lab.run("lan", "ping -n -c 1 -W 2 192.0.2.254")
    assert traffic.outcome(lab.netns("lan"), "192.0.2.254", 23) == "refused"  # by a tail call
    with observer(lab):
        pass
    assert lab.programs() == programs
    assert lab.plan().empty


def test_observed_programs_are_no_change(lab: Lab) -> None:
    programs = lab.programs()
    with observer(lab) as observed:
        assert lab.plan().empty
        lab.apply()
        assert observed.running
        assert lab.programs() != programs
    assert lab.programs() == programs
    assert lab.plan().empty


def test_a_note_lies_in_memory_as_it_is_read(lab: Lab) -> None:
    found = state.load(lab.name)
    assert found is not None
    with closing(Observer(found, pytest.fail)) as observed:
        size = observed.path.maps[lab.pins / "observe_record"].value_size
    assert size == notes.HEAD.size + notes.MAX_FRAME


def test_an_error_while_notes_are_read_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(data: bytes) -> Record:
        raise ValueError("a note that cannot be read")

    def misread() -> None:
        with observer(lab) as observed:
            want_all(observed)
            lab.run("lan", "ping -n -c 1 -W 2 192.0.2.254")
            monkeypatch.setattr(notes, "decode", fail)
            list(observed.ring.records())

    with pytest.raises(ValueError, match="a note that cannot be read"):
        misread()
