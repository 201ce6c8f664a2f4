"""A topology as its file and the documentation describe it: a packet's walk, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.property.model import rules
from tests.property.model.answers import answer
from tests.property.model.firewall import Firewall
from tests.property.model.packets import Fragment, Malformed, Packet, parse
from tests.property.model.router import Router
from tests.property.model.rules import Conditions
from tests.property.model.snat import Snat
from tests.property.model.verdicts import NEXT, Action, Bump, Key, Verdict

MAX_TAIL_CALLS = 33
"""A limit of the kernel: a packet that is handed on more often is dropped as `loop`."""

Joint = tuple[str, ...]
"""Names a place where one program's walk meets another's: entry, chain, interface, interface."""

Total = tuple[int, int]


@dataclass(frozen=True)
class Chain:
    """One chain in one direction, from a place where packets enter."""

    name: str
    forward: bool
    functions: tuple[str, ...]
    end: str
    match: Conditions | None

    @property
    def is_empty_to_sap(self) -> bool:
        """Whether it carries every packet, unread."""
        return not self.functions and self.match is None and ":" not in self.end


@dataclass
class Stretch:
    """A part of a walk that is counted at one port, by the reasons it ended with.

    The walk behind a router's interface may be part of the program that the packet entered by, as
    far as there is room: then it is counted there, and not at the interface. `joint` names the
    place where that is open.
    """

    place: str
    joint: Joint | None = None
    reasons: list[tuple[str, int]] = field(default_factory=list)


@dataclass
class Outcome:
    """What becomes of one frame."""

    egress: str | None = None
    frame: bytes = b""
    counted: dict[Key, Total] = field(default_factory=dict)
    stretches: list[Stretch] = field(default_factory=list)
    programs: int = 0  # that the packet passes at most
    endless: bool = False  # it would go on from router to router

    @property
    def joints(self) -> list[Joint]:
        """Where it is open whether a walk goes on in the same program."""
        return [stretch.joint for stretch in self.stretches if stretch.joint]

    def count(self, key: Key, size: int) -> None:
        """Count a frame."""
        packets, octets = self.counted.get(key, (0, 0))
        self.counted[key] = packets + 1, octets + size

    def totals(self, fused: Mapping[Joint, bool]) -> dict[Key, Total]:
        """All counts, if walks go on in the same program where `fused` says so."""
        whole = Outcome(counted=dict(self.counted))
        place = ""
        ends: list[tuple[str, str, int]] = []
        for stretch in self.stretches:
            if stretch.joint and fused[stretch.joint]:
                ends.pop()
            else:
                place = stretch.place
            ends += [(place, reason, size) for reason, size in stretch.reasons]
        for place, reason, size in ends:
            whole.count(("received", place, reason), size)
        return whole.counted


class Network:
    """Functions and chains; the truth about what a frame becomes."""

    def __init__(self, spec: Mapping[str, Any], places: Mapping[str, Mapping[str, int]]) -> None:
        """`spec` is the topology file's content; `places` those of the rules of each firewall.

        MAC addresses of interfaces must be given.
        """
        self._outcome = Outcome()
        self.bumps: dict[str, Bump] = {}
        self.routers: dict[str, Router] = {}
        for name, config in spec["vnfs"].items():
            if config["type"] == "router":
                interfaces = config["interfaces"].items()
                self.routers[name] = Router({key: value["mac"] for key, value in interfaces})
            elif config["type"] == "snat":
                self.bumps[name] = Snat(name, config, self._count)
            else:
                self.bumps[name] = Firewall(name, config, places[name], self._count)
        self._chains = _chains_by_place(spec)
        self._datagrams: dict[tuple[Any, ...], Chain | None] = {}

    @property
    def firewalls(self) -> dict[str, Firewall]:
        """The firewalls by name."""
        return {name: bump for name, bump in self.bumps.items() if isinstance(bump, Firewall)}

    def _count(self, key: Key, size: int) -> None:
        self._outcome.count(key, size)

    def clear(self) -> None:
        """Forget connections and datagrams."""
        for firewall in self.firewalls.values():
            firewall.clear()
        self._datagrams.clear()

    def receive(self, place: str, frame: bytes) -> Outcome:
        """Let a frame come in by a port."""
        self._outcome = Outcome()
        self._enter(place, frame)
        return self._outcome

    # The walk ------------------------------------------------------------------------------------

    def _enter(self, place: str, frame: bytes) -> None:
        """A program begins: it reads the frame, and chooses a chain."""
        outcome = self._outcome
        outcome.programs += 2  # the flow cache has one of its own
        outcome.stretches.append(Stretch(place))
        chains = self._chains[place]
        if len(chains) == 1 and chains[0].is_empty_to_sap:
            self._leave(chains[0].end, frame)
            return
        try:
            packet = parse(frame)
        except Malformed:
            self._end("malformed", len(frame))
            return
        chain = self._choose(place, packet)
        if chain is None:
            self._end("no_chain", len(frame))
            return
        self._walk(place, chain, packet)

    def _choose(self, place: str, packet: Packet) -> Chain | None:
        """The chain whose classifier matches first, or that has none."""
        chains = self._chains[place]
        if not any(chain.match for chain in chains):
            return chains[0] if chains else None
        last = chains[-1] if chains[-1].match is None else None
        if not packet.family or packet.is_discovery:
            return last or chains[0]
        datagram = (
            place,
            packet.family,
            packet.src,
            packet.dst,
            packet.ident,
            packet.protocol if packet.family == 4 else 0,
        )
        if packet.fragment is Fragment.LATER:
            return self._datagrams.get(datagram)
        found = last
        for chain in chains:
            if chain.match and chain.match.hold(packet, chain.forward):
                found = chain
                break
        if packet.fragment is Fragment.FIRST:
            self._datagrams[datagram] = found
        return found

    def _walk(self, place: str, chain: Chain, packet: Packet) -> None:
        """Through the functions of a chain, and what stands at its end."""
        for index, name in enumerate(chain.functions):
            self._outcome.programs += 1
            verdict = self.bumps[name].process(packet, chain.forward)
            if verdict is not NEXT:
                self._stop(name, verdict, packet)
                if verdict.action is Action.REJECT:
                    self._tell(place, chain, index, packet)
                return
        if ":" in chain.end:
            self._route(place, chain, packet)
        else:
            self._leave(chain.end, packet.frame)

    def _route(self, place: str, chain: Chain, packet: Packet) -> None:
        """Through a router, and on behind the interface that it chooses."""
        name, _, arrived = chain.end.partition(":")
        verdict = self.routers[name].process(packet, arrived)
        self._stop(name, verdict, packet)
        if verdict.action is Action.PUNT:
            self._leave(chain.end, packet.frame, counted=False)
        if verdict.action is not Action.FORWARD:
            return
        leaving = f"{name}:{verdict.interface}"
        beyond = self._chains[leaving]
        lone = len(beyond) == 1 and beyond[0].match is None and ":" not in beyond[0].end
        if lone and not beyond[0].functions:
            self._leave(beyond[0].end, packet.frame, counted=False)
        elif lone and leaving != chain.end:
            joint = (place, chain.name, chain.end, leaving)
            self._outcome.stretches.append(Stretch(leaving, joint))
            self._walk(leaving, beyond[0], packet)
        elif len(self._outcome.stretches) > MAX_TAIL_CALLS:
            self._outcome.endless = True
        else:
            self._enter(leaving, packet.frame)

    # Ends ----------------------------------------------------------------------------------------

    def _end(self, reason: str, size: int) -> None:
        self._outcome.stretches[-1].reasons.append((reason, size))

    def _stop(self, name: str, verdict: Verdict, packet: Packet) -> None:
        """The walk ends in a function, or leaves it by an interface."""
        self._outcome.count(("reason", name, verdict.reason), len(packet.frame))
        self._end(verdict.reason, len(packet.frame))

    def _leave(self, place: str, frame: bytes, counted: bool = True) -> None:
        """Leave by a port."""
        if counted:
            self._end("forwarded", len(frame))
        self._outcome.egress, self._outcome.frame = place, frame
        self._outcome.count(("sent", place), len(frame))

    def _tell(self, place: str, chain: Chain, index: int, packet: Packet) -> None:
        """The answer to a rejected packet goes back through the functions that it has passed."""
        told = answer(packet)
        if told is None:
            self._end("reject_limit", len(packet.frame))
            return
        back = parse(told)
        for name in reversed(chain.functions[:index]):
            verdict = self.bumps[name].process(back, not chain.forward)
            if verdict is not NEXT:
                self._stop(name, verdict, back)
                if verdict.action is Action.REJECT:
                    self._end("reject_limit", len(back.frame))  # no answer to an answer
                return
        self._leave(place, back.frame)


def _chains_by_place(spec: Mapping[str, Any]) -> dict[str, list[Chain]]:
    """For every port, the chains that begin or end there, in the order of the file."""
    found: dict[str, list[Chain]] = {name: [] for name in spec["saps"]}
    for name, config in spec["vnfs"].items():
        for interface in config.get("interfaces", ()):
            found[f"{name}:{interface}"] = []
    for name, config in spec["chains"].items():
        near, *inner, far = config["path"]
        match = rules.read(config["match"], {}) if "match" in config else None
        turned = match.turned() if match else None
        found[near].append(Chain(name, True, tuple(inner), far, match))
        found[far].append(Chain(name, False, tuple(inner[::-1]), near, turned))
    return found
