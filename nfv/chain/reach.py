"""Which parts of a topology packets can come to from each other."""

from __future__ import annotations

from collections.abc import Iterable


def neighbours(nodes: Iterable[str], ends: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    """For each node, those that chains connect it to, over however many functions; and itself.

    `ends` are the nodes at the two ends of each chain.
    """
    groups = {node: frozenset({node}) for node in nodes}
    for one, other in ends:
        whole = groups[one] | groups[other]
        groups.update(dict.fromkeys(whole, whole))
    return groups
