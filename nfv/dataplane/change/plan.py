"""A plan: how what runs differs from what a file declares, and the steps that mend it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum

from nfv.chain.topology import Topology
from nfv.dataplane.change.transaction import Step
from nfv.errors import Position


class Symbol(str, Enum):
    """What happens to a part of the topology."""

    ADD = "+"
    CHANGE = "~"
    REMOVE = "-"
    REPLACE = "-/+"


class Phase(IntEnum):
    """The order of steps across all parts. What is removed goes last, once nothing can fail.

    The agent fills the maps that programs are about to be loaded with.
    """

    BEGIN = 0
    RETIRE = 1  # out of the way, under another name
    NAMESPACE = 2
    DEVICE = 3
    ADDRESS = 4
    MAP = 5
    TABLE = 6
    STATE = 7
    AGENT = 8
    PROGRAM = 9
    SETTLE = 10  # what had to wait for the programs
    PURGE = 11


@dataclass(frozen=True)
class Element:
    """A part of the topology as the user knows it."""

    kind: str  # "sap", "vnf", "chain" or "topology"
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def element_named(node: str, topology: Topology, former: Topology | None) -> Element:
    """The SAP or function of that name; the topology if neither has it."""
    for known in (topology, former):
        if known is not None and node in known.saps:
            return Element("sap", node)
        if known is not None and node in known.vnfs:
            return Element("vnf", node)
    return Element("topology", topology.name)


@dataclass(frozen=True)
class Change:
    """One difference of one element, and its steps by phase."""

    element: Element
    symbol: Symbol
    reason: str = ""
    reload: bool = False  # programs are exchanged; otherwise the change is live
    steps: Sequence[tuple[Phase, Step]] = ()


@dataclass(frozen=True)
class Line:
    """What the user is told of one element."""

    symbol: Symbol
    kind: str
    name: str
    type: str  # a SAP's kind or a function's type
    reason: str
    mode: str  # "live" or "reload" for a change of what runs
    position: Position | None


@dataclass(frozen=True)
class Plan:
    """Lines for the user and steps for the executor; empty when nothing differs."""

    topology: str
    lines: tuple[Line, ...] = ()
    steps: tuple[Step, ...] = field(default=(), repr=False)
    purge: tuple[Step, ...] = field(default=(), repr=False)  # removal, once all steps are done

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.steps and not self.purge


def assemble(desired: Topology | None, before: Topology | None, changes: Iterable[Change]) -> Plan:
    """Put changes in the order of execution, and one line for each element, in the file's order."""
    found = list(changes)
    steps = sorted(
        ((phase, number, step) for number, (phase, step) in enumerate(_steps(found))),
        key=lambda entry: entry[:2],
    )
    topology = desired or before
    assert topology is not None
    return Plan(
        topology.name,
        tuple(_lines(found, desired, before)),
        tuple(step for phase, _, step in steps if phase is not Phase.PURGE),
        tuple(step for phase, _, step in steps if phase is Phase.PURGE),
    )


def _steps(changes: Iterable[Change]) -> Iterable[tuple[Phase, Step]]:
    return (step for change in changes for step in change.steps)


def _lines(
    changes: Sequence[Change], desired: Topology | None, before: Topology | None
) -> Iterable[Line]:
    by_element: dict[Element, list[Change]] = {}
    for change in changes:
        by_element.setdefault(change.element, []).append(change)
    for element in sorted(by_element, key=lambda e: _place(e, desired)):
        line = _line(element, by_element[element], desired, before)
        if line.kind != "topology" or line.reason or line.symbol is not Symbol.CHANGE:
            yield line


def _place(element: Element, desired: Topology | None) -> tuple[int, int]:
    kinds = ("topology", "sap", "vnf", "chain")
    names = list(_section(element.kind, desired))
    index = names.index(element.name) if element.name in names else len(names)
    return kinds.index(element.kind), index


def _section(kind: str, topology: Topology | None) -> Iterable[str]:
    if topology is None or kind == "topology":
        return ()
    return {"sap": topology.saps, "vnf": topology.vnfs, "chain": topology.chains}[kind]


def _line(
    element: Element, changes: Sequence[Change], desired: Topology | None, before: Topology | None
) -> Line:
    symbols = [change.symbol for change in changes]
    order = (Symbol.REPLACE, Symbol.ADD, Symbol.REMOVE, Symbol.CHANGE)
    symbol = next(candidate for candidate in order if candidate in symbols)
    if Symbol.ADD in symbols and Symbol.REMOVE in symbols:
        symbol = Symbol.REPLACE
    mode = ""
    if symbol is Symbol.CHANGE:
        mode = "reload" if any(change.reload for change in changes) else "live"
    home = desired if element.name in _section(element.kind, desired) else before
    reasons = dict.fromkeys(change.reason for change in changes if change.reason)
    return Line(
        symbol,
        element.kind,
        element.name,
        _type(element, home),
        "; ".join(reasons),
        mode,
        _position(element, home),
    )


def _type(element: Element, topology: Topology | None) -> str:
    if topology is None:
        return ""
    if element.kind == "sap":
        return str(topology.saps[element.name].kind)
    return str(topology.vnfs[element.name].type) if element.kind == "vnf" else ""


def _position(element: Element, topology: Topology | None) -> Position | None:
    if topology is None or element.kind == "topology":
        return None
    return topology.source.position((f"{element.kind}s", element.name), key=True)
