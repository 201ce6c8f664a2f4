"""The chain graph: for every place where packets enter, the walks that they can take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nfv.chain.match import Match
from nfv.chain.pattern import Direction
from nfv.chain.topology import Attachment, Chain, Topology


@dataclass(frozen=True)
class Walk:
    """One chain in one direction: the functions met on the way, and where it ends."""

    chain: str
    direction: Direction
    functions: tuple[str, ...]
    end: Attachment
    match: Match | None


@dataclass(frozen=True)
class Entry:
    """A place where packets enter the chains, with its walks in the order of the file.

    A walk without a classifier takes what no other does; there is at most one, the last.
    """

    attachment: Attachment
    walks: tuple[Walk, ...]


def attachments(topology: Topology) -> Iterator[Attachment]:
    """Every SAP and every interface of a function: the ports, in the order of the file."""
    for sap in topology.saps:
        yield Attachment(sap, None)
    for name, function in topology.vnfs.items():
        for interface in function.interfaces:
            yield Attachment(name, interface)


def entries(topology: Topology) -> dict[Attachment, Entry]:
    """The chain graph. Attachments in no chain have an entry without walks: packets end there."""
    walks: dict[Attachment, list[Walk]] = {place: [] for place in attachments(topology)}
    for chain in topology.chains.values():
        for direction in Direction:
            walk = _walk(chain, direction)
            start = chain.near if direction is Direction.FORWARD else chain.far
            walks[start].append(walk)
    return {place: Entry(place, tuple(found)) for place, found in walks.items()}


def _walk(chain: Chain, direction: Direction) -> Walk:
    if direction is Direction.FORWARD:
        return Walk(chain.name, direction, chain.functions, chain.far, chain.match)
    return Walk(chain.name, direction, chain.functions[::-1], chain.near, chain.match)
