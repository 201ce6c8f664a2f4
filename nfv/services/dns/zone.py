"""A zone in memory: the record sets of every name, and the way down the tree to one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dns.name import Name
from dns.rdata import Rdata
from dns.rdataset import Rdataset
from dns.rdatatype import RdataType

from nfv.services.dns.denial import Denial

WILDCARD = b"*"

Node = Mapping[RdataType, Rdataset]
"""The record sets of a name by type; none for an empty non-terminal."""


@dataclass(frozen=True)
class Found:
    """Where the way down to a name ends (RFC 1034, section 4.3.2, step 3)."""

    name: Name  # the last one that exists on the way, or the cut above it
    node: Node
    is_match: bool  # it is the name itself
    is_cut: bool  # a zone cut: what is below belongs to somebody else


class Zone:
    """The records of one zone; it never changes."""

    def __init__(self, origin: Name, records: Iterable[tuple[Name, int, Rdata]]) -> None:
        """`records` are owner, TTL in seconds, data; of unlike TTLs in a set the least holds."""
        nodes: dict[Name, dict[RdataType, Rdataset]] = {origin: {}}
        for name, ttl, rdata in records:
            sets = nodes.setdefault(name, {})
            found = sets.get(rdata.rdtype)
            if found is None:
                found = sets[rdata.rdtype] = Rdataset(rdata.rdclass, rdata.rdtype)
            found.add(rdata, ttl)
        for name in list(nodes):
            add_ancestors(nodes, name, origin)
        self.origin = origin
        self.nodes: Mapping[Name, Node] = nodes

    @classmethod
    def of(cls, origin: Name, nodes: Mapping[Name, Node]) -> Zone:
        """A zone of names that are complete, empty non-terminals too."""
        made = cls(origin, ())
        made.nodes = nodes
        return made

    @property
    def serial(self) -> int:
        """The version of the zone (RFC 1982)."""
        return int(self.soa[0].serial)

    def renumbered(self, serial: int) -> Zone:
        """The same zone as another version."""
        soa = Rdataset(self.soa.rdclass, RdataType.SOA)
        soa.add(self.soa[0].replace(serial=serial), self.soa.ttl)
        apex = {**self.nodes[self.origin], RdataType.SOA: soa}
        return Zone.of(self.origin, {**self.nodes, self.origin: apex})

    @property
    def soa(self) -> Rdataset:
        return self.nodes[self.origin][RdataType.SOA]

    @cached_property
    def negative(self) -> Rdataset:
        """The SOA record as it stands in negative answers (RFC 2308, section 3)."""
        shortened = Rdataset(self.soa.rdclass, RdataType.SOA)
        shortened.add(self.soa[0], min(self.soa.ttl, self.soa[0].minimum))
        return shortened

    @cached_property
    def denial(self) -> Denial:
        """That record, ready to be sent."""
        return Denial(self.origin, self.negative)

    @cached_property
    def _is_undivided(self) -> bool:
        """Whether no name is a zone cut or renames what is below it."""
        apex = self.nodes[self.origin]
        divided = (RdataType.NS in node or RdataType.DNAME in node for node in self.nodes.values())
        return sum(divided) == (RdataType.NS in apex) and RdataType.DNAME not in apex

    @cached_property
    def _has_wildcards(self) -> bool:
        return any(name.is_wild() for name in self.nodes)

    @cached_property
    def _apex(self) -> Node:
        return self.nodes[self.origin]

    def find(self, name: Name) -> Found:
        """The end of the way from the origin down to a name that is in this zone."""
        if not self._is_undivided:
            return self._walk(name)
        if len(name) == len(self.origin):
            return Found(self.origin, self._apex, True, False)
        node = self.nodes.get(name)
        if node is not None:
            return Found(name, node, True, False)
        if len(name) == len(self.origin) + 1:
            return Found(self.origin, self._apex, False, False)
        return self._walk(name)

    def _walk(self, name: Name) -> Found:
        node, last = self._apex, self.origin
        for depth in range(len(self.origin) + 1, len(name) + 1):
            step = name.split(depth)[1]
            below = self.nodes.get(step)
            if below is None:
                return Found(last, node, False, False)
            node, last = below, step
            if RdataType.NS in node:
                return Found(last, node, depth == len(name), True)
            if RdataType.DNAME in node and depth < len(name):
                return Found(last, node, False, False)
        return Found(last, node, True, False)

    def wildcard(self, encloser: Name) -> Node | None:
        """What stands for the names that do not exist below a name (RFC 4592)."""
        if not self._has_wildcards:
            return None
        return self.nodes.get(Name((WILDCARD, *encloser.labels)))

    def is_authoritative(self, name: Name) -> bool:
        """Whether a name of the zone is above every zone cut."""
        return not self.find(name).is_cut

    def __iter__(self) -> Iterator[tuple[Name, Rdataset]]:
        """Every record set."""
        for name, node in self.nodes.items():
            for found in node.values():
                yield name, found


def add_ancestors(nodes: dict[Name, Any], name: Name, origin: Name) -> None:
    """Make empty non-terminals of the names between a name and the origin."""
    while len(name) > len(origin) + 1:
        name = name.parent()
        if name in nodes:
            return
        nodes[name] = {}
