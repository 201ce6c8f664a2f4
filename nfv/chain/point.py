"""Places of a topology where packets are captured: at an end of chains, or between two functions.

Whatever is written, it stands for *segments*: what lies between two neighbours on a chain's path.
Packets at a SAP or an interface are those of the segments that begin there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from nfv.chain.path import Attachment, Chain
from nfv.chain.pattern import Direction
from nfv.chain.report import did_you_mean, listed
from nfv.chain.topology import Topology
from nfv.errors import InputError

_BETWEEN = re.compile(r"(?:(?P<chain>[^/]*)/)?(?P<first>.*)\.\.(?P<second>.*)")


@dataclass(frozen=True)
class Segment:
    """What lies between two neighbours of a path: the first and the second from its near end.

    A packet that passes it in the direction `inward` goes in at the point; any other goes out.
    """

    chain: str
    index: int  # of the first neighbour; the near end is 0
    inward: Direction


@dataclass(frozen=True)
class Point:
    """Where to capture, as it was written.

    At a SAP, packets go in that come from what is behind it; at an interface, those that its
    function receives; between A and B (A..B), those on the way from A to B.
    """

    text: str
    segments: tuple[Segment, ...]
    place: Attachment | None  # the SAP or interface, if it is one
    description: str


def find(topology: Topology, text: str) -> Point:
    """The point that a text means: `lan`, `gw:lan`, `fw..gw` or, of one chain, `inside/fw..gw`.

    Raises `InputError`, which lists the points that there are.
    """
    between = _BETWEEN.fullmatch(text)
    if between:
        return _between(topology, text, between["chain"], between["first"], between["second"])
    place = Attachment.parse(text)
    if place not in _ends(topology):
        raise _unknown(topology, text)
    kind = "interface" if place.interface else f"SAP ({topology.saps[place.node].kind})"
    return Point(text, tuple(_touching(topology, place)), place, f"{kind} {text}")


def names(topology: Topology) -> list[str]:
    """Every point of a topology, as it is written: SAPs, interfaces, pairs of neighbours."""
    pairs = [
        f"{first}..{second}"
        for chain in topology.chains.values()
        for first, second in _pairs(chain)
    ]
    return [*map(str, _ends(topology)), *dict.fromkeys(pairs)]


def path(chain: Chain) -> tuple[Attachment, ...]:
    """All that a chain's path has, from the near end to the far one."""
    return chain.near, *map(Attachment, chain.functions), chain.far


def _ends(topology: Topology) -> list[Attachment]:
    """The SAPs and the interfaces."""
    interfaces = [
        Attachment(name, interface)
        for name, function in topology.vnfs.items()
        for interface in function.interfaces
    ]
    return [*map(Attachment, topology.saps), *interfaces]


def _pairs(chain: Chain) -> Iterator[tuple[Attachment, Attachment]]:
    nodes = path(chain)
    return pairwise(nodes)


def _touching(topology: Topology, place: Attachment) -> Iterator[Segment]:
    """The segments that begin at an end of chains. A SAP is entered where a chain begins."""
    for chain in topology.chains.values():
        for end, index, leaving in (
            (chain.near, 0, Direction.FORWARD),
            (chain.far, len(chain.functions), Direction.REVERSE),
        ):
            if end == place:
                inward = leaving if place.interface is None else Direction(1 - leaving)
                yield Segment(chain.name, index, inward)


def _between(
    topology: Topology, text: str, chain_name: str | None, first: str, second: str
) -> Point:
    if chain_name is not None and chain_name not in topology.chains:
        known = topology.chains
        hint = did_you_mean(chain_name, known, f"it has {listed(known)}" if known else None)
        raise InputError(f"topology {topology.name} has no chain '{chain_name}'", hint)
    chains = [topology.chains[chain_name]] if chain_name else list(topology.chains.values())
    segments = []
    for chain in chains:
        for index, (near, far) in enumerate(_pairs(chain)):
            if _means(first, near) and _means(second, far):
                segments.append(Segment(chain.name, index, Direction.FORWARD))
            elif _means(first, far) and _means(second, near):
                segments.append(Segment(chain.name, index, Direction.REVERSE))
    if not segments:
        raise _not_neighbours(topology, chains, first, second)
    where = listed(dict.fromkeys(segment.chain for segment in segments))
    return Point(text, tuple(segments), None, f"between {first} and {second}, chain {where}")


def _means(word: str, node: Attachment) -> bool:
    """Whether a word names something on a path; of an interface the function's name will do."""
    return word in (str(node), node.node)


def _not_neighbours(topology: Topology, chains: list[Chain], first: str, second: str) -> InputError:
    nodes = {node.node for chain in topology.chains.values() for node in path(chain)}
    for word in (first, second):
        if word.partition(":")[0] not in nodes:
            return _unknown(topology, word)
    pairs = [f"{near}..{far}" for chain in chains for near, far in _pairs(chain)]
    return InputError(
        f"'{first}' and '{second}' are not neighbours on any path",
        f"neighbours are {listed(dict.fromkeys(pairs))}",
    )


def _unknown(topology: Topology, text: str) -> InputError:
    known = names(topology)
    message = f"topology {topology.name} has no '{text}' to capture at"
    node = text.partition(":")[0]
    around = [name for name in known if node in re.split(r"\.\.|:", name)]
    if node in topology.vnfs and around:
        return InputError(message, f"at {node} there are {listed(around)}")
    return InputError(message, did_you_mean(text, known, f"it has {listed(known)}"))
