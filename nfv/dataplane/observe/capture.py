"""Packets captured at points of an applied topology, by observed programs.

Each is known with what became of it, so it is told when its walk has ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nfv.chain import point
from nfv.chain.graph import floods, ports
from nfv.chain.path import Attachment
from nfv.chain.pattern import Direction
from nfv.chain.point import Point
from nfv.chain.reach import neighbours
from nfv.chain.sap import Hook
from nfv.chain.topology import Topology
from nfv.dataplane.kernel.bpf import TC_ACT_REDIRECT, TC_ACT_SHOT, XDP_DROP, XDP_REDIRECT
from nfv.dataplane.observe.following import Following, Session, Waiting
from nfv.dataplane.observe.journey import At, Between, Journey, Journeys, Where
from nfv.dataplane.observe.notes import MAX_FRAME
from nfv.dataplane.observe.outcome import Outcome, Outcomes
from nfv.dataplane.state import State
from nfv.dataplane.wiring import wire
from nfv.ebpf.observed import Moment, Note
from nfv.traffic.filter import Filter
from nfv.traffic.pcapngwriter import Flow, Verdict

_TOLD = 1  # bytes of a frame that is not asked for: the note alone
_LEAST = 512  # bytes of a frame that filters and checksums are about, also where fewer are kept
_ACTIONS = {
    (Hook.XDP, True): (Verdict.XDP, XDP_DROP),
    (Hook.XDP, False): (Verdict.XDP, XDP_REDIRECT),
    (Hook.TC, True): (Verdict.TC, TC_ACT_SHOT),
    (Hook.TC, False): (Verdict.TC, TC_ACT_REDIRECT),
}


class Captured(NamedTuple):
    """A packet at a point."""

    point: int  # which of those asked for
    flow: Flow
    moment: int  # nanoseconds since the epoch
    data: bytes
    whole: int  # bytes of the frame
    segments: int  # frames on the wire that it stands for
    hook: Hook  # of the program that it met
    outcome: Outcome

    @property
    def action(self) -> tuple[Verdict, int]:
        """What its program told the kernel to do with it."""
        return _ACTIONS[self.hook, self.outcome.kind == "dropped"]


@dataclass(frozen=True)
class Wanted:
    """What is to be captured."""

    points: Sequence[str]
    filter: Filter
    flows: frozenset[Flow]
    longest: int  # bytes kept of a frame
    most: int | None  # packets


@dataclass
class Count:
    """Packets at a point, of the directions asked for; those that were lost may be of any."""

    captured: int = 0
    lost: int = 0


class Capture(Following["_Session"]):
    """Captures at points of a topology; as a context, whose programs run meanwhile.

    Raises `InputError` if there is no such point, or if somebody else observes the topology.
    """

    def __init__(self, applied: State, wanted: Wanted, waiting: Waiting) -> None:
        self.counts = [Count() for _ in wanted.points]
        self._left = wanted.most
        self._wanted = wanted
        super().__init__(applied, waiting)

    @property
    def points(self) -> Sequence[Point]:
        """The points, in the order in which they were asked for."""
        return self.session.points

    @property
    def complete(self) -> bool:
        """Whether as many packets were captured as were asked for."""
        return self._left == 0

    def observe(self, applied: State, waiting: Waiting) -> _Session:
        """Load observed programs for a state of the topology."""
        return _Session(applied, self._wanted, waiting)

    def leave(self, session: _Session) -> None:
        """Count what was lost."""
        for count, lost in zip(self.counts, session.lost(), strict=True):
            count.lost += lost

    def read(self) -> list[Captured]:
        """What was captured since the last call, by time; waits half a second for something.

        Raises `KernelError` if the topology was destroyed, `InputError` if a change of it has
        removed a point.
        """
        self.renew()
        return self._taken(self.session.read())

    def rest(self) -> list[Captured]:
        """What was captured and not read yet. Nothing is captured any more."""
        self.leave(self.session)
        return self._taken(self.session.rest())

    def _taken(self, journeys: Sequence[Journey]) -> list[Captured]:
        """What is asked for of journeys that have ended, by time."""
        found = [one for journey in journeys for one in self.session.captured(journey)]
        longest = self._wanted.longest
        return [
            one if len(one.data) <= longest else one._replace(data=one.data[:longest])
            for one in sorted(found, key=lambda one: one.moment)
            if self._takes(one)
        ]

    def _takes(self, one: Captured) -> bool:
        if one.flow not in self._wanted.flows or self.complete:
            return False
        if not self._wanted.filter.matches(one.data, one.whole):
            return False
        self.counts[one.point].captured += 1
        if self._left is not None:
            self._left -= 1
        return True


class _Session(Session):
    """The observed programs of one state of the topology."""

    def __init__(self, applied: State, wanted: Wanted, waiting: Waiting) -> None:
        topology = applied.topology()
        self.points = [point.find(topology, text) for text in wanted.points]
        places = _reaching(topology, self.points)
        super().__init__(applied, topology, waiting, places, wanted.filter.program)
        self._ports = wire(topology, applied.ports).ports
        self._meant = _meant(self.points)
        self._outcomes = Outcomes(applied)
        self._journeys = Journeys(topology, self.graph, applied.ports, self.observed.notes)
        self._bearing: dict[Where, list[int]] = {}  # notes that have the frame, but by egress
        self._want(min(max(wanted.longest, _LEAST), MAX_FRAME))

    def learn(self) -> None:
        """Rules may have other places, and other words."""
        self._outcomes = Outcomes(self.applied)

    def lost(self) -> list[int]:
        """Packets that were lost at each point, in both directions."""
        found = [0] * len(self.points)
        for where, meanings in self._meant.items():
            lost = sum(self.observed.lost_at(number) for number in self._bearing.get(where, ()))
            lost += sum(self.observed.lost_to(port) for port in self._leaving(where))
            for asked, _ in meanings:
                found[asked] += lost
        return found

    def read(self) -> list[Journey]:
        """Journeys that have ended."""
        return [one for record in self.notes() for one in self._journeys.follow(record)]

    def rest(self) -> list[Journey]:
        """All that is left, once no note is taken any more."""
        ended = [one for record in self.last_notes() for one in self._journeys.follow(record)]
        return [*ended, *self._journeys.rest()]

    def captured(self, journey: Journey) -> Iterator[Captured]:
        """Where the packet of a journey was at one of the points."""
        outcome = self._outcomes.of(journey)
        hook = self._ports[journey.entry].hook
        for sight in journey.sights:
            for number, flow in self._meant.get(sight.where, ()):
                record = sight.record
                yield Captured(
                    number,
                    flow,
                    record.time + self.epoch,
                    record.wire,
                    record.wire_length,
                    record.segments,
                    hook,
                    outcome,
                )

    def _want(self, size: int) -> None:
        """Have notes taken with frames where the points need them.

        Of packets that are captured, the rest of their way is noted too, without frames.
        """
        self.observed.want_egress(port for where in self._meant for port in self._leaving(where))
        for number, note in enumerate(self.observed.notes):
            bears = [where for where in self._borne(note) if where in self._meant]
            place = Attachment(note.function, note.interface)
            is_router = note.interface is not None and not floods(self.topology, place)
            by_egress = note.moment is Moment.END or is_router
            if not by_egress:
                for where in bears:
                    self._bearing.setdefault(where, []).append(number)
            self.observed.want(
                [number],
                size if bears else 0,
                by_egress=by_egress,
                followed=_TOLD,
                ended=note.moment is Moment.FUNCTION and self._journeys.is_known(note.entry),
            )

    def _leaving(self, where: Where) -> list[int]:
        """The ports by which packets leave a function, or the chains, that come there."""
        if isinstance(where, At):
            places = [where.place] if where.flow is Flow.OUT else []
        else:
            places = [
                place
                for place, entry in self.graph.items()
                if not entry.resumes
                and place.interface is not None
                and where in map(self._journeys.first, entry.walks)
            ]
        cables, numbers = self._journeys.cables, self.applied.ports
        names = [str(cables.get(place, place)) for place in places]
        return [numbers[name] for name in names if name in numbers]

    def _borne(self, note: Note) -> Iterator[Where]:
        """Everywhere that a packet may be when a note of it is taken."""
        if note.moment is Moment.ENTER:
            flow = Flow.IN if note.entry.interface is None else Flow.OUT
            yield from self._beginning(At(note.entry, flow))
        elif note.direction is not None:
            yield self._journeys.behind(note.function, note.chain, note.direction)
        elif note.moment is Moment.FUNCTION:
            for name in self.topology.vnfs[note.function].interfaces:
                yield from self._out(Attachment(note.function, name))
        elif note.moment is Moment.ANSWER:
            yield from (where for where in self._meant if isinstance(where, Between))
        elif note.moment is Moment.END:
            yield from (At(Attachment(sap), Flow.OUT) for sap in self.topology.saps)
            for port in self._journeys.cables:
                yield from self._out(port)

    def _out(self, place: Attachment) -> Iterator[Where]:
        """Where packets are that leave a function by an interface."""
        yield from self._beginning(At(place, Flow.OUT))
        if place in self._journeys.cables:
            yield At(self._journeys.cables[place], Flow.OUT)

    def _beginning(self, where: At) -> Iterator[Where]:
        yield where
        yield from map(self._journeys.first, self.graph[where.place].walks)


def _meant(points: Sequence[Point]) -> dict[Where, list[tuple[int, Flow]]]:
    """Which points mean a place of packets, and which way packets go there at each."""
    found: dict[Where, list[tuple[int, Flow]]] = {}
    for number, one in enumerate(points):
        for where, flow in _of_point(one):
            found.setdefault(where, []).append((number, flow))
    return found


def _of_point(one: Point) -> Iterator[tuple[Where, Flow]]:
    """A packet comes to an interface by a segment, and is known to leave where it does."""
    if one.place is not None:
        yield At(one.place, Flow.OUT), Flow.OUT
    if one.place is not None and one.place.interface is None:
        yield At(one.place, Flow.IN), Flow.IN
        return
    for segment in one.segments:
        yield Between(segment.chain, segment.index, segment.inward), Flow.IN
        if one.place is None:
            outward = Direction(1 - segment.inward)
            yield Between(segment.chain, segment.index, outward), Flow.OUT


def _reaching(topology: Topology, points: Sequence[Point]) -> list[Attachment]:
    """The ports from which packets can come to the points."""
    nodes = [*topology.saps, *topology.vnfs]
    ends = [(chain.near.node, chain.far.node) for chain in topology.chains.values()]
    near = neighbours(nodes, ends)
    chains = [topology.chains[segment.chain] for one in points for segment in one.segments]
    wanted = {one.place.node for one in points if one.place} | {chain.near.node for chain in chains}
    reached = {node for start in wanted for node in near[start]}
    for chain in topology.chains.values():
        if chain.near.node in reached:
            reached.update(chain.functions)  # their services send, too
    return [place for place in ports(topology) if place.node in reached]
