"""Observed walks: the same walks, which take notes of every packet (nfv/ebpf/include/observe.h).

No program stands in front that would spare a packet its walk. All else is as in the walks that run
without being observed: the same functions, on the same maps, with the same verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from typing import ClassVar

from nfv.chain.graph import Entry, Walk
from nfv.chain.path import Attachment
from nfv.chain.pattern import Direction
from nfv.chain.sap import Hook
from nfv.chain.topology import Topology
from nfv.ebpf.compose import Unit, write
from nfv.ebpf.walks import Walks

NOTES = "notes"
"""Kind of the link constant that says which number the first note of an entry has."""


class Moment(Enum):
    """When a note is taken."""

    ENTER = "enter"  # parsed, or found to be malformed, before any function
    FUNCTION = "function"  # a function has spoken
    ONWARD = "onward"  # on to the walk of another port
    ANSWER = "answer"  # turned into the answer, which goes back
    END = "end"  # dropped, or leaving by a port; the answer to a reject comes after it


@dataclass(frozen=True)
class Note:
    """A place in the programs of an entry where a note is taken."""

    entry: Attachment
    moment: Moment
    function: str = ""  # that has spoken
    chain: str = ""  # in which it stands
    direction: Direction | None = None  # of the packet along that chain
    interface: str | None = None  # by which the packet came in, of a function that has some


@dataclass(frozen=True)
class ObservedUnit(Unit):
    """The C text of observed walks."""

    notes: tuple[Note, ...] = ()  # in the order of their numbers


def compose_observed(
    topology: Topology, graph: Mapping[Attachment, Entry], entry: Entry, hook: Hook
) -> ObservedUnit:
    """The C text of one entry, observed."""
    walks = ObservedWalks(topology, graph, entry)
    unit = write(walks, hook)
    values = {member.name: getattr(unit, member.name) for member in fields(unit)}
    return ObservedUnit(**values, notes=tuple(walks.notes))


class ObservedWalks(Walks):
    """Writes walks that take notes."""

    headers: ClassVar[tuple[str, ...]] = (*Walks.headers, "observe.h")

    def __init__(self, topology: Topology, graph: Mapping[Attachment, Entry], entry: Entry) -> None:
        self.notes: list[Note] = []
        super().__init__(topology, graph, entry)

    @property
    def cached(self) -> bool:
        """Every packet walks."""
        return False

    @property
    def hopped(self) -> bool:
        """Every packet walks."""
        return False

    @property
    def finish(self) -> list[str]:
        """End as walks do that are not observed, and take a note of it."""
        return [f"return observe_finish(ctx, pkt, verdict, {self._lone(Moment.END)});"]

    def _number(self, note: Note) -> str:
        """The number of a place, which is known when the program is loaded."""
        self.notes.append(note)
        return f"{self.link(NOTES, self.entry.attachment)} + {len(self.notes) - 1}"

    def _take(self, number: str, verdict: str = "verdict") -> str:
        return f"observe_note(ctx, pkt, {number}, {verdict});"

    def _lone(self, moment: Moment) -> str:
        """The number of a place that is the same wherever the walk passes it."""
        note = Note(self.entry.attachment, moment)
        if note not in self.notes:
            return self._number(note)
        return f"{self.link(NOTES, self.entry.attachment)} + {self.notes.index(note)}"

    def _begin(self) -> list[str]:
        lines = super()._begin()
        parsed = next(number for number, text in enumerate(lines, 1) if "parse_" in text)
        enter = self._take(self._lone(Moment.ENTER))
        begun = ["verdict = NF_NEXT;"] if self._leave else []
        return [*begun, "observe_enter();", *lines[:parsed], enter, *lines[parsed:]]

    def _call(self, name: str, way: Walk | Attachment) -> list[str]:
        if isinstance(way, Walk):
            note = Note(self.entry.attachment, Moment.FUNCTION, name, way.chain, way.direction)
        else:
            note = Note(self.entry.attachment, Moment.FUNCTION, name, interface=way.interface)
        return [
            "pkt->counter = OBSERVE_UNCOUNTED;",
            *super()._call(name, way),
            self._take(self._number(note)),
        ]

    @property
    def _leave(self) -> list[str]:
        leave = super()._leave
        end = self._lone(Moment.END) if leave else ""
        return [line for call in leave for line in ("observe_quiet(ctx, pkt)", _told(call, end))]

    def _flood(self, end: Attachment) -> list[str]:
        return [self._take(self._lone(Moment.END), "NF_FLOOD"), *super()._flood(end)]

    def _onward(self) -> str:
        numbers = f"{self._lone(Moment.ONWARD)}, {self._lone(Moment.END)}"
        return f"return observe_jump(ctx, pkt, {numbers});"

    def _answer(self) -> list[str]:
        return [*super()._answer(), self._take(self._lone(Moment.ANSWER), "NF_NEXT")]


def _told(call: str, end: str) -> str:
    """A call that may end the packet before its walk, and a note of that."""
    return f"observe_leave(ctx, pkt, {call}, {end})"
