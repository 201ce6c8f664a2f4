"""The C texts of a topology, with the places that each is loaded for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nfv.chain.graph import entries
from nfv.chain.hook import Hooks, hooks, slots
from nfv.chain.path import Attachment
from nfv.chain.topology import Topology
from nfv.ebpf.compose import Unit, compose


@dataclass(frozen=True)
class Rendered:
    """One text, and what it is bound to at each entry that it is loaded for."""

    digest: str
    text: str
    programs: tuple[str, ...]
    bindings: Mapping[Attachment, Unit]


def render(topology: Topology, chosen: Hooks | None = None) -> list[Rendered]:
    """Every text once, in the order of the first entries that need them.

    Without other `chosen` hooks, for those that the topology asks for.
    """
    graph = entries(topology)
    shared: dict[str, dict[Attachment, Unit]] = {}
    for place, hook in slots(topology, hooks(topology) if chosen is None else chosen):
        unit = compose(topology, graph, graph[place], hook)
        shared.setdefault(unit.text, {})[place] = unit
    return [_rendered(text, bindings) for text, bindings in shared.items()]


def _rendered(text: str, bindings: Mapping[Attachment, Unit]) -> Rendered:
    first = next(iter(bindings.values()))
    return Rendered(first.digest, text, first.programs, bindings)
