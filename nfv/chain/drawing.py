"""A topology as a picture: what stands in it, what chains join, and both as text of two languages.

Mermaid (mermaid.js.org) is drawn by code forges and editors where it stands in a text. DOT is the
language of Graphviz (graphviz.org), which makes SVG of it, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nfv.chain.path import Attachment, Chain
from nfv.chain.topology import Topology


@dataclass(frozen=True)
class Note:
    """What is to be said of a SAP or function beyond its declaration; `alarm` marks it."""

    lines: Sequence[str]
    alarm: bool = False


@dataclass(frozen=True)
class Node:
    """A SAP or a function, with the lines that its box shows; the first is its name."""

    name: str
    lines: Sequence[str]
    is_sap: bool
    alarm: bool


@dataclass(frozen=True)
class Link:
    """One step of a chain, from one node to the next."""

    near: str
    far: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Drawing:
    """Nodes in the order of the file, and the links of each chain from its near to its far end."""

    name: str
    nodes: Sequence[Node]
    links: Sequence[Link]


def draw(topology: Topology, notes: Mapping[str, Note]) -> Drawing:
    """The picture of a topology; `notes` by the name of a SAP or function."""
    return Drawing(
        topology.name,
        list(_nodes(topology, notes)),
        [link for chain in topology.chains.values() for link in _links(topology, chain)],
    )


def _nodes(topology: Topology, notes: Mapping[str, Note]) -> Iterator[Node]:
    nothing = Note(())
    for name, sap in topology.saps.items():
        note = notes.get(name, nothing)
        addresses = [str(address) for address in sap.addresses]
        yield Node(name, [name, sap.kind, *addresses, *note.lines], True, note.alarm)
    for name, function in topology.vnfs.items():
        note = notes.get(name, nothing)
        yield Node(name, [name, function.type, *note.lines], False, note.alarm)


def _links(topology: Topology, chain: Chain) -> Iterator[Link]:
    stations = [chain.near.node, *chain.functions, chain.far.node]
    title = [chain.name, *_match(topology, chain)]
    for place, (near, far) in enumerate(pairwise(stations)):
        lines = title if place == 0 else []
        if place == 0:
            lines = [*lines, *_interface(chain.near)]
        if place == len(stations) - 2:
            lines = [*lines, *_interface(chain.far)]
        yield Link(near, far, lines)


def _interface(place: Attachment) -> list[str]:
    return [] if place.interface is None else [str(place)]


def _match(topology: Topology, chain: Chain) -> list[str]:
    """The chain's classifier as the file has it."""
    written: Any = topology.source.data["chains"][chain.name].get("match")
    return [f"{key} {_value(value)}" for key, value in (written or {}).items()]


def _value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def mermaid(drawing: Drawing) -> str:
    """The text of a Mermaid flowchart."""
    numbers = {node.name: f"n{number}" for number, node in enumerate(drawing.nodes)}
    lines = ["flowchart LR"]
    for node in drawing.nodes:
        opening, closing = ("([", "])") if node.is_sap else ("[", "]")
        lines.append(f"  {numbers[node.name]}{opening}{_quoted(node.lines)}{closing}")
    for link in drawing.links:
        label = f"|{_quoted(link.lines)}|" if link.lines else ""
        lines.append(f"  {numbers[link.near]} ---{label} {numbers[link.far]}")
    alarmed = ",".join(numbers[node.name] for node in drawing.nodes if node.alarm)
    if alarmed:
        lines += ["  classDef alarm stroke:#c00,stroke-width:3px", f"  class {alarmed} alarm"]
    return "\n".join([*lines, ""])


def _quoted(lines: Sequence[str]) -> str:
    """Lines as Mermaid's text: what could be markup is written as entities."""
    escaped = [
        line.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
        for line in lines
    ]
    return '"' + "<br>".join(escaped) + '"'


def dot(drawing: Drawing) -> str:
    """The text of a DOT graph."""
    lines = [
        f"graph {_string([drawing.name])} {{",
        "  rankdir=LR",
        '  node [shape=box fontname="sans-serif" fontsize=11]',
        '  edge [fontname="sans-serif" fontsize=9]',
    ]
    for node in drawing.nodes:
        style = " style=rounded" if node.is_sap else ""
        alarm = ' color="#cc0000" penwidth=3' if node.alarm else ""
        label = f"label={_string(node.lines)}"
        lines.append(f"  {_string([node.name])} [{label}{style}{alarm}]")
    for link in drawing.links:
        label = f" [label={_string(link.lines)}]" if link.lines else ""
        lines.append(f"  {_string([link.near])} -- {_string([link.far])}{label}")
    return "\n".join([*lines, "}", ""])


def _string(lines: Sequence[str]) -> str:
    escaped = [line.replace("\\", "\\\\").replace('"', '\\"') for line in lines]
    return '"' + "\\n".join(escaped) + '"'
