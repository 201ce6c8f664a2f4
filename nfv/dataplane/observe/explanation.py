"""A trace in words: which functions saw the packet, what each said and why, and what it changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address

from nfv.chain import names
from nfv.chain.graph import SERVICE
from nfv.chain.path import Attachment
from nfv.chain.topology import Topology
from nfv.dataplane import statistics
from nfv.dataplane.observe.known import Flows
from nfv.dataplane.observe.notes import UNCOUNTED, Record
from nfv.dataplane.observe.routing import Explain
from nfv.dataplane.state import State
from nfv.ebpf.observed import Moment, Note
from nfv.ebpf.sources import reasons, verdicts
from nfv.errors import Position
from nfv.traffic.changes import FieldChange, changes, summary

_NAMES = {number: name for name, number in verdicts().items()}
_SAID = {
    "NEXT": "passes",
    "DROP": "drops",
    "FORWARD": "forwards",
    "PUNT": "hands to Linux",
    "REJECT": "rejects",
    "SERVE": "hands to its service",
    "ANSWER": "answers",
    "FLOOD": "floods",
}
_BY_ROUTE = frozenset({"forwarded", "blackhole"})


@dataclass(frozen=True)
class Step:
    """A packet at one place on its way."""

    node: str  # the SAP, interface or function
    verdict: str  # what becomes of it there
    reason: str | None = None  # as `nfvctl stats` names it
    because: str | None = None  # the rule or route that decided
    position: Position | None = None  # where that is written
    chain: str | None = None
    direction: str | None = None  # "forward" or "reverse", along the chain
    changes: tuple[FieldChange, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Outcome:
    """How a packet's way ended."""

    kind: str  # "forwarded", "dropped", "kernel", "service", "rejected", "answered", "flooded"
    node: str  # where that was decided
    reason: str
    egress: str | None = None  # the SAP or interface that it, or its answer, left by


@dataclass(frozen=True)
class Explanation:
    """The way of a packet."""

    packet: str  # in a line
    steps: tuple[Step, ...]
    outcome: Outcome

    @property
    def path(self) -> tuple[tuple[Step, ...], Outcome]:
        """What packets have in common that took the same way."""
        return self.steps, self.outcome


class Explainer:
    """Explains the notes of a topology's packets, one packet after the other."""

    def __init__(
        self,
        topology: Topology,
        known: State,
        notes: Sequence[Note],
        route: Explain,
        flows: Flows | None,
    ) -> None:
        """`known` has numbers of ports and places of counters, `flows` what was connected.

        Without `flows` a connection that was known is not told from one that begins.
        """
        self._topology = topology
        self._notes = notes
        self._route = route
        self._flows = flows
        self._places = {number: Attachment.parse(name) for name, number in known.ports.items()}
        self._rules: dict[str, Mapping[int, tuple[str, Position]]] = {}
        for name, places in known.counters.items():
            rules = statistics.rules(topology, name)
            whole = topology.source.position(("vnfs", name))
            self._rules[name] = {
                place: (f"rule {rules[key].text}", rules[key].position)
                if key in rules
                else (f"counted as {key}", whole)
                for key, place in places.items()
            }

    def explain(self, records: Sequence[Record]) -> Explanation:
        """The way of a packet, from all notes of it."""
        first = records[0]
        outcome = Outcome("lost", str(self._notes[first.number].entry), "none")
        steps: list[Step] = []
        before = first.frame
        for record in records:
            note = self._notes[record.number]
            if note.moment is Moment.FUNCTION:
                steps.append(self._function(note, record, before))
            elif note.moment is Moment.ANSWER:
                node = steps[-1].node if steps else str(note.entry)
                steps.append(Step(node, "sends an answer", because=summary(record.frame)))
            elif note.moment is Moment.END:
                outcome = self._end(outcome, note, record, steps)
            elif not steps:
                steps.append(Step(str(note.entry), "enters"))
            before = record.frame
        return Explanation(summary(first.frame), tuple(_chained(steps)), outcome)

    def _function(self, note: Note, record: Record, before: bytes) -> Step:
        verdict = _NAMES[record.verdict]
        step = Step(
            note.function,
            _SAID[verdict],
            None if verdict == "NEXT" else reasons()[record.reason][0],
            chain=note.chain or None,
            direction=None if note.direction is None else note.direction.name.lower(),
            changes=tuple(changes(before, record.frame)) if verdict != "ANSWER" else (),
        )
        function = self._topology.vnfs[note.function]
        if verdict == "FORWARD" and function.next_hops:
            step = replace(step, verdict=f"forwards out of {self._places[record.egress]}")
        if function.next_hops:
            return self._routed(step, before)
        rule = self._rules.get(note.function, {}).get(record.counter)
        if record.counter == UNCOUNTED or rule is None:
            return step
        known = verdict == "NEXT" and self._is_known(note.function, record.frame)
        words, position = rule
        because = f"known connection, {words}" if known else words
        return replace(step, because=because, position=position)

    def _is_known(self, firewall: str, frame: bytes) -> bool:
        """Whether the connection of a packet that passes a firewall was there before."""
        return self._flows is not None and self._flows.meet(firewall, frame)

    def _routed(self, step: Step, before: bytes) -> Step:
        """The route that a router has found, where it is that which decided."""
        address = _destination(before)
        if address is None or step.reason not in _BY_ROUTE:
            return step
        found = self._route(step.node, address)
        return replace(step, because=found.text, position=found.position) if found else step

    def _end(self, former: Outcome, note: Note, record: Record, steps: list[Step]) -> Outcome:
        verdict, reason = _NAMES[record.verdict], reasons()[record.reason][0]
        node = steps[-1].node if steps else str(note.entry)
        if former.kind in ("rejected", "answered"):
            return self._sent_back(former, verdict, record, steps)
        if verdict in ("REJECT", "ANSWER"):
            return Outcome("rejected" if verdict == "REJECT" else "answered", node, reason)
        if verdict == "DROP":
            if not steps or not steps[-1].reason:
                steps.append(Step(node, "dropped", reason))
            return Outcome("dropped", node, reason)
        if verdict == "FLOOD":
            return self._flooded(node, reason, steps)
        place = self._places[record.egress]
        if place.interface is not None:
            return self._handed_over(place, reason, steps)
        steps.append(Step(str(place), "leaves"))
        return Outcome("forwarded", node, reason, str(place))

    def _flooded(self, node: str, reason: str, steps: list[Step]) -> Outcome:
        """The end of a trace: each copy has a way of its own."""
        ports = ", ".join(self._topology.vnfs[node].interfaces)
        steps[-1] = replace(steps[-1], because=f"a copy to each other port of {ports}")
        return Outcome("flooded", node, reason)

    def _sent_back(
        self, former: Outcome, verdict: str, record: Record, steps: list[Step]
    ) -> Outcome:
        """The end of an answer's way."""
        if verdict == "DROP":
            reason = reasons()[record.reason][0]
            steps.append(Step(former.node, "no answer", reason))
            return replace(former, reason=reason)
        place = self._places[record.egress]
        if place.interface is not None:
            self._handed_over(place, former.reason, steps)
        else:
            steps.append(Step(str(place), "leaves"))
        return replace(former, egress=str(place))

    def _handed_over(self, place: Attachment, reason: str, steps: list[Step]) -> Outcome:
        """The slow path: on to Linux, or to the process of a service."""
        is_service = place.interface == SERVICE and bool(self._topology.vnfs[place.node].service)
        if is_service:
            steps.append(Step(str(place), "goes on in its service"))
            return Outcome("service", place.node, reason, str(place))
        netns = names.node_netns(self._topology.name, place.node)
        steps.append(Step(str(place), "goes on in Linux", because=f"namespace {netns}"))
        return Outcome("kernel", place.node, reason, str(place))


def _chained(steps: Sequence[Step]) -> Iterator[Step]:
    """The steps; where a packet enters, the chain is that of the first function."""
    chain = next((step for step in steps if step.chain), None)
    for step in steps:
        if step.verdict == "enters" and chain is not None:
            yield replace(step, chain=chain.chain, direction=chain.direction)
        else:
            yield step


def _destination(frame: bytes) -> IPv4Address | IPv6Address | None:
    if frame[12:14] == b"\x08\x00":
        return IPv4Address(frame[30:34])
    if frame[12:14] == b"\x86\xdd":
        return IPv6Address(frame[38:54])
    return None
