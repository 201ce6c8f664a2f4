"""The chain graph: for every place where packets enter, the walks that they can take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

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
    resumes: bool = False  # at a service's tap: each frame says which of the walks it goes on


SERVICE = "service"
"""The attachment of a function's service, a tap, stands where another's interface would."""


def attachments(topology: Topology) -> Iterator[Attachment]:
    """Every SAP, interface and service of a function, in the order of the file."""
    for sap in topology.saps:
        yield Attachment(sap, None)
    for name, function in topology.vnfs.items():
        for interface in function.interfaces:
            yield Attachment(name, interface)
        if function.service:
            yield Attachment(name, SERVICE)


def ports(topology: Topology) -> Iterator[Attachment]:
    """The attachments that have a device, in the order of the file.

    A port of a switch has none if it is in no chain, or if its chain is a cable: all that leaves
    there goes straight to the SAP.
    """
    graph = entries(topology)
    for place in attachments(topology):
        if not floods(topology, place) or _has_walk(topology, graph[place]):
            yield place


def floods(topology: Topology, place: Attachment) -> bool:
    """Whether an attachment is the port of a switch or a hub."""
    function = topology.vnfs.get(place.node)
    return function is not None and function.floods


def _has_walk(topology: Topology, entry: Entry) -> bool:
    """Whether what leaves a switch there has to pass a program."""
    filters = topology.vnfs[entry.attachment.node].filters
    return bool(entry.walks) and (filters or cable(entry) is None)


def is_service(topology: Topology, place: Attachment) -> bool:
    """Whether an attachment is the tap of a function's service."""
    function = topology.vnfs.get(place.node)
    return function is not None and bool(function.service) and place.interface is not None


def entries(topology: Topology) -> dict[Attachment, Entry]:
    """The chain graph. Attachments in no chain have an entry without walks: packets end there."""
    walks: dict[Attachment, list[Walk]] = {place: [] for place in attachments(topology)}
    for chain in topology.chains.values():
        for direction in Direction:
            walk = _walk(chain, direction)
            start = chain.near if direction is Direction.FORWARD else chain.far
            walks[start].append(walk)
            for place, rest in _resumed(walk):
                if is_service(topology, place):
                    walks[place].append(rest)
    return {
        place: Entry(place, tuple(found), is_service(topology, place))
        for place, found in walks.items()
    }


def cable(entry: Entry) -> Attachment | None:
    """The SAP that every packet goes to, passing no function."""
    if len(entry.walks) == 1:
        (walk,) = entry.walks
        if walk.match is None and not walk.functions and walk.end.interface is None:
            return walk.end
    return None


def stage(entry: Entry, walk: Walk) -> int:
    """The number of the rest of a walk, behind the function that has a service, at its entry.

    The two directions of a chain follow each other: the number of an answer's way differs in the
    lowest bit.
    """
    known = [(rest.chain, rest.direction) for rest in entry.walks]
    return known.index((walk.chain, walk.direction))


def _resumed(walk: Walk) -> Iterator[tuple[Attachment, Walk]]:
    """Behind each function, what is left of a walk."""
    for index, name in enumerate(walk.functions):
        rest = replace(walk, functions=walk.functions[index + 1 :], match=None)
        yield Attachment(name, SERVICE), rest


def _walk(chain: Chain, direction: Direction) -> Walk:
    if direction is Direction.FORWARD:
        return Walk(chain.name, direction, chain.functions, chain.far, chain.match)
    return Walk(chain.name, direction, chain.functions[::-1], chain.near, chain.match)
