"""Loops: ways on which a switch's frames would come back to it, for ever."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from nfv.chain.path import Attachment
from nfv.chain.report import Report, listed


def check_loops(
    paths: Mapping[str, Sequence[str]], switches: Collection[str], report: Report
) -> None:
    """Report each chain that leads from a segment of switches to the same segment once more.

    `paths` are the chains' by name, `switches` the functions that flood. SAPs and interfaces of
    routers end a segment: they must not be reached from one by two ports.
    """
    links: dict[str, list[tuple[str, str]]] = {}  # node -> chain, node at its other end
    known: set[frozenset[str]] = set()
    for name, path in paths.items():
        ends = frozenset((path[0], path[-1]))
        near, far = (_node(entry, switches) for entry in (path[0], path[-1]))
        if not {near, far} & {*switches} or ends in known:
            continue  # no switch, or the classifiers of several chains choose between these two
        known.add(ends)
        way = _way(links, near, far)
        if way is None:
            links.setdefault(near, []).append((name, far))
            links.setdefault(far, []).append((name, near))
            continue
        others = [f"chain '{chain}'" for chain in way]
        message = f"closes a loop: from {path[0]} to {path[-1]} there is {listed(others)} already"
        if not way:
            message = f"closes a loop: both ends are ports of '{near}'"
        hint = "remove one of the chains; there is no spanning tree that would"
        report.error(("chains", name, "path"), message, hint)


def _node(entry: str, switches: Collection[str]) -> str:
    """A switch as a whole, or any other attachment."""
    node = Attachment.parse(entry).node
    return node if node in switches else entry


def _way(links: Mapping[str, Sequence[tuple[str, str]]], near: str, far: str) -> list[str] | None:
    """The chains that lead from one node to another; None if none do."""
    ways: dict[str, list[str]] = {near: []}
    queue = [near]
    while queue:
        node = queue.pop()
        if node == far:
            return ways[node]
        for chain, other in links.get(node, ()):
            if other not in ways:
                ways[other] = [*ways[node], chain]
                queue.append(other)
    return None
