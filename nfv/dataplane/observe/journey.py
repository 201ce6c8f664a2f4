"""The way of a packet, from the notes that observed programs take of it.

A note says what a function said, and has the frame as that left it. Where the packet was before is
known from the notes before, and which of several chains it took often only from the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from nfv.chain.graph import Entry, Walk, cable, floods
from nfv.chain.path import Attachment
from nfv.chain.pattern import Direction
from nfv.chain.topology import Topology
from nfv.dataplane.observe.notes import Record
from nfv.ebpf.observed import Moment, Note
from nfv.ebpf.sources import verdicts
from nfv.traffic.pcapngwriter import Flow

CPU_SHIFT = 48
"""Where a packet's number has the CPU."""


class At(NamedTuple):
    """At a SAP or an interface: a packet goes in that a SAP sends, or a function receives."""

    place: Attachment
    flow: Flow


class Between(NamedTuple):
    """In a segment of a chain, counted from the near end."""

    chain: str
    segment: int
    direction: Direction


Where: TypeAlias = At | Between


class Sight(NamedTuple):
    """A packet seen somewhere: the note has its frame as it was there."""

    where: Where
    record: Record


@dataclass(frozen=True)
class Ending:
    """How a walk ended: by the last function that was asked, if any was."""

    verdict: int  # enum nf_verdict
    reason: int  # enum nf_reason
    function: str
    counter: int  # place where that has counted the packet, or UNCOUNTED


@dataclass
class Journey:
    """A packet from where it entered the programs to where it left them."""

    packet: int
    entry: Attachment
    sights: list[Sight] = field(default_factory=list)
    ending: Ending | None = None  # None: notes were lost
    asked: Record | None = None  # note of the function that spoke last
    function: str = ""  # which that was
    at: Between | None = None
    begun: Record | None = None  # note of the beginning of a walk that is one of `walks`
    walks: Sequence[Walk] = ()
    onward: bool = False  # the next note is of the beginning of a walk that is known already

    def cross(self, where: Between, record: Record) -> None:
        """The packet passes a segment."""
        self.at = where
        self.sights.append(Sight(where, record))


class Journeys:
    """Puts notes together; packets of several CPUs alternate, those of one follow each other."""

    def __init__(
        self,
        topology: Topology,
        graph: Mapping[Attachment, Entry],
        ports: Mapping[str, int],
        notes: Sequence[Note],
    ) -> None:
        """`ports` are the numbers of ports, `notes` the places of notes by number."""
        self._topology = topology
        self._graph = graph
        self._places = {number: Attachment.parse(name) for name, number in ports.items()}
        with_device = {*self._places.values()}
        self.cables = {
            place: sap
            for place, entry in graph.items()
            if floods(topology, place) and place not in with_device and (sap := cable(entry))
        }
        """SAPs by the ports of switches that lead straight to them."""
        self._sockets = {
            sap: place for place, sap in self.cables.items() if len(graph[sap].walks) == 1
        }
        self._notes = notes
        self._open: dict[int, Journey] = {}

    def follow(self, record: Record) -> Iterator[Journey]:
        """Take the next note; gives a journey when it has ended.

        One whose packet is answered is given twice, the second time with where the answer was.
        """
        note = self._notes[record.number]
        cpu = record.packet >> CPU_SHIFT
        journey = self._open.get(cpu)
        if journey is None or journey.packet != record.packet:
            if journey is not None:
                yield journey
            journey = self._open[cpu] = Journey(record.packet, note.entry)
        _STEPS[note.moment](self, journey, note, record)
        if journey.ending is not None:
            yield journey
            self._go_on(cpu, journey)

    def rest(self) -> Iterator[Journey]:
        """Those that have not ended: of packets that are under way, or whose notes were lost."""
        yield from self._open.values()
        self._open.clear()

    def is_known(self, place: Attachment) -> bool:
        """Whether all packets that begin there take the same walk."""
        walks = self._graph[place].walks
        return len(walks) == 1 and walks[0].match is None

    def first(self, walk: Walk) -> Between:
        """The segment in which a walk begins."""
        length, left = len(self._topology.chains[walk.chain].functions), len(walk.functions)
        index = length - left if walk.direction is Direction.FORWARD else left
        return Between(walk.chain, index, walk.direction)

    def behind(self, function: str, chain: str, direction: Direction) -> Between:
        """The segment behind a function, for packets of a direction."""
        index = self._topology.chains[chain].functions.index(function)
        return Between(chain, index + (direction is Direction.FORWARD), direction)

    def _go_on(self, cpu: int, journey: Journey) -> None:
        """Only an answer comes after the end."""
        assert journey.ending is not None
        if journey.ending.verdict in _ANSWERED:
            answer = Journey(journey.packet, journey.entry, at=journey.at)
            self._open[cpu] = answer
        else:
            del self._open[cpu]

    def _begin(self, journey: Journey, place: Attachment, record: Record) -> None:
        walks = self._graph[place].walks
        if not self.is_known(place):
            journey.begun, journey.walks = record, walks
        elif record.verdict in _SENT:
            journey.cross(self.first(walks[0]), record)

    def _enter(self, journey: Journey, note: Note, record: Record) -> None:
        onward, journey.onward = journey.onward, False
        if onward and not floods(self._topology, note.entry):
            return
        flow = Flow.IN if note.entry.interface is None else Flow.OUT
        journey.sights.append(Sight(At(note.entry, flow), record))
        self._begin(journey, note.entry, record)

    def _function(self, journey: Journey, note: Note, record: Record) -> None:
        journey.asked, journey.function = record, note.function
        if note.direction is None:
            self._interface(journey, Attachment(note.function, note.interface), record)
            return
        which = note.chain, note.direction
        self._resolve(journey, lambda walk: (walk.chain, walk.direction) == which)
        behind = self.behind(note.function, note.chain, note.direction)
        if record.verdict == _VERDICTS["NEXT"]:
            journey.cross(behind, record)
        else:
            before = behind.segment + (-1 if note.direction is Direction.FORWARD else 1)
            journey.at = behind._replace(segment=before)

    def _interface(self, journey: Journey, place: Attachment, record: Record) -> None:
        """A function has received the packet by an interface, and may send it by another.

        What leaves a switch is seen where the walk begins that is behind its port, or ends.
        """
        self._resolve(journey, lambda walk: not walk.functions and walk.end == place)
        if record.verdict == _VERDICTS["FLOOD"]:
            for other in self.cables:
                if other.node == place.node and other != place:
                    self._deliver(journey, other, record)
        elif record.verdict == _VERDICTS["FORWARD"] and not floods(self._topology, place):
            leaving = self._places[record.egress]
            journey.sights.append(Sight(At(leaving, Flow.OUT), record))
            self._begin(journey, leaving, record)

    def _onward(self, journey: Journey, note: Note, record: Record) -> None:
        journey.onward = True

    def _answer(self, journey: Journey, note: Note, record: Record) -> None:
        """The answer goes back the way that the packet came."""
        if journey.at is not None:
            back = Direction(1 - journey.at.direction)
            journey.cross(journey.at._replace(direction=back), record)

    def _end(self, journey: Journey, note: Note, record: Record) -> None:
        if record.verdict in _SENT:
            leaving = self._places[record.egress]
            self._resolve(journey, lambda walk: not walk.functions and walk.end == leaving)
            if leaving in self._sockets:
                self._deliver(journey, self._sockets[leaving], record)
            elif leaving.interface is None:
                journey.sights.append(Sight(At(leaving, Flow.OUT), record))
        counter = journey.asked.counter if journey.asked else record.counter
        journey.ending = Ending(record.verdict, record.reason, journey.function, counter)

    def _deliver(self, journey: Journey, port: Attachment, record: Record) -> None:
        """Out of a switch by a port that is a cable to a SAP."""
        journey.sights.append(Sight(At(port, Flow.OUT), record))
        journey.cross(self.first(self._graph[port].walks[0]), record)
        journey.sights.append(Sight(At(self.cables[port], Flow.OUT), record))

    def _resolve(self, journey: Journey, fits: Callable[[Walk], bool]) -> None:
        """It has turned out which walk had begun."""
        begun, journey.begun = journey.begun, None
        walk = next(filter(fits, journey.walks), None)
        if begun is not None and walk is not None:
            journey.cross(self.first(walk), begun)


_STEPS: Mapping[Moment, Callable[[Journeys, Journey, Note, Record], None]] = {
    Moment.ENTER: Journeys._enter,
    Moment.FUNCTION: Journeys._function,
    Moment.ONWARD: Journeys._onward,
    Moment.ANSWER: Journeys._answer,
    Moment.END: Journeys._end,
}
_VERDICTS = verdicts()
_SENT = frozenset({_VERDICTS["NEXT"], _VERDICTS["FORWARD"]})
_ANSWERED = frozenset({_VERDICTS["REJECT"], _VERDICTS["ANSWER"]})
