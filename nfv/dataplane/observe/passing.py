"""Packets that pass through an applied topology, each explained as a trace does.

Observed programs note every step of a packet that passes the filter where it begins: at a SAP, at
an interface where Linux sends it, or where a service does. What other packets of the topology meet
are the same programs, which take no notes of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from nfv.chain import names
from nfv.chain.path import Attachment
from nfv.dataplane.observe import routing
from nfv.dataplane.observe.explanation import Explainer, Explanation
from nfv.dataplane.observe.following import Following, Session, Waiting
from nfv.dataplane.observe.journey import CPU_SHIFT
from nfv.dataplane.observe.notes import Record
from nfv.dataplane.state import State
from nfv.ebpf.observed import Moment
from nfv.ebpf.sources import verdicts
from nfv.traffic.filter import Filter

_SHOWN = 2048  # bytes of a frame
_FIRST = frozenset({Moment.ENTER, Moment.END})  # of a packet that is dropped before its walk
_ANSWERED = frozenset({verdicts()["REJECT"], verdicts()["ANSWER"]})


@dataclass(frozen=True)
class Wanted:
    """Which packets are to be traced."""

    filter: Filter  # of the frame as it comes in
    sap: str | None  # where they enter; None: anywhere
    most: int | None  # packets


@dataclass(frozen=True)
class Passed:
    """A packet that has passed."""

    moment: int  # when it came in, nanoseconds since the epoch
    explanation: Explanation


class Passing(Following["_Session"]):
    """Traces packets that pass; as a context, whose programs run meanwhile.

    Raises `InputError` if there is no such SAP, or if somebody else observes the topology.
    """

    def __init__(self, applied: State, wanted: Wanted, waiting: Waiting) -> None:
        self.traced = 0
        self.lost = 0  # notes, so a packet or a step of its way each
        self._wanted = wanted
        super().__init__(applied, waiting)

    @property
    def complete(self) -> bool:
        """Whether as many packets were traced as were asked for."""
        return self.traced == self._wanted.most

    def observe(self, applied: State, waiting: Waiting) -> _Session:
        """Load observed programs for a state of the topology."""
        return _Session(applied, self._wanted, waiting)

    def leave(self, session: _Session) -> None:
        """Count what was lost."""
        self.lost += session.observed.lost

    def read(self) -> Iterator[Passed]:
        """Packets whose ways have ended since the last call; waits half a second for one."""
        self.renew()
        return self._counted(self.session.passed(self.session.notes()))

    def rest(self) -> Iterator[Passed]:
        """Those that were not read yet. Nothing is traced any more."""
        self.leave(self.session)
        return self._counted(self.session.rest())

    def _counted(self, found: Iterator[Passed]) -> Iterator[Passed]:
        for one in found:
            if self.complete:
                return
            self.traced += 1
            yield one


class _Session(Session):
    """The observed programs of one state of the topology."""

    def __init__(self, applied: State, wanted: Wanted, waiting: Waiting) -> None:
        places = None if wanted.sap is None else [Attachment(wanted.sap)]
        super().__init__(applied, applied.topology(), waiting, places, wanted.filter.program)
        self._filter = wanted.filter
        self._open: dict[int, list[Record]] = {}  # notes of a packet that is under way, by CPU
        self.learn()
        for number, note in enumerate(self.observed.notes):
            size = _SHOWN if note.moment in _FIRST else 0
            self.observed.want([number], size, first=True, followed=_SHOWN)

    def learn(self) -> None:
        """Rules and routes may be written elsewhere, and have other words."""
        topology = self.topology = self.applied.topology()
        route = routing.running(topology, partial(names.node_netns, topology.name))
        self._explainer = Explainer(topology, self.applied, self.observed.notes, route, None)

    def passed(self, notes: Iterator[Record]) -> Iterator[Passed]:
        """Packets whose ways have ended, by their notes."""
        for note in notes:
            for records in self._ended(note):
                yield from self._explained(records)

    def rest(self) -> Iterator[Passed]:
        """All that is left, also of packets of which notes were lost."""
        yield from self.passed(self.last_notes())
        for records in self._open.values():
            yield from self._explained(records)
        self._open.clear()

    def _ended(self, record: Record) -> Iterator[Sequence[Record]]:
        """Take the next note; gives the notes of a packet whose way has ended.

        Packets of several CPUs alternate, those of one follow each other.
        """
        cpu = record.packet >> CPU_SHIFT
        former = self._open.get(cpu)
        if former is not None and former[0].packet != record.packet:
            yield self._open.pop(cpu)
        self._open.setdefault(cpu, []).append(record)
        is_end = self.observed.place(record).moment is Moment.END
        if is_end and record.verdict not in _ANSWERED:
            yield self._open.pop(cpu)

    def _explained(self, records: Sequence[Record]) -> Iterator[Passed]:
        first = records[0]
        if self._filter.matches(first.wire, first.wire_length):
            explanation = self._explainer.explain(records)
            yield Passed(first.time + self.epoch, explanation)
