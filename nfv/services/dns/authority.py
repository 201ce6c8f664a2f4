"""Answers from our own zones: the algorithm of RFC 1034, section 4.3.2.

Wildcards by RFC 4592, DNAME by RFC 6672, negative answers by RFC 2308, QTYPE ANY by RFC 8482.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import dns.name
from dns.flags import Flag
from dns.name import Name
from dns.rcode import Rcode
from dns.rdataclass import RdataClass
from dns.rdataset import Rdataset
from dns.rdatatype import RdataType
from dns.rdtypes.ANY.CNAME import CNAME

from nfv.services.dns.message import Query, Records, Reply
from nfv.services.dns.zone import Found, Node, Zone

MAX_CHAIN = 16
"""Aliases (CNAME, DNAME) that one answer follows."""

_TARGETS = {RdataType.NS: "target", RdataType.MX: "exchange", RdataType.SRV: "target"}
_ADDRESSES = (RdataType.A, RdataType.AAAA)


class Authority:
    """The zones that a server has."""

    def __init__(
        self,
        zones: Iterable[Zone],
        missing: Iterable[Name] = (),
        divided: Iterable[Name] = (),
        *,
        is_recursive: bool = False,
    ) -> None:
        """`is_recursive`: other names are resolved, too, which answers say (RA).

        `missing` are zones of which nothing is known: whoever asks is told of failure. `divided`
        are zones of which not all clients are told the same.
        """
        self._divided = tuple(divided)
        self.flags = Flag.RA if is_recursive else Flag(0)
        self.zones: Mapping[Name, Zone] = {zone.origin: zone for zone in zones}
        # By labels, since a name of the library takes long to be hashed, and to be made.
        self._origins = {_lowered(origin): origin for origin in (*self.zones, *missing)}
        self._depths = sorted({len(labels) for labels in self._origins}, reverse=True)

    def zone_of(self, name: Name, rdtype: RdataType = RdataType.ANY) -> Zone | None:
        """The zone closest to a name, if it is known."""
        origin = self._origin_of(name, rdtype)
        return None if origin is None else self.zones.get(origin)

    def _origin_of(self, name: Name, rdtype: RdataType) -> Name | None:
        """The zone closest to a name; what DS says of a zone is above it (RFC 4035, 3.1.4.1)."""
        labels = _lowered(name)
        for depth in self._depths:
            origin = self._origins.get(labels[-depth:]) if depth <= len(labels) else None
            if origin is None:
                continue
            if rdtype == RdataType.DS and depth == len(labels) and self._has_above(origin):
                continue
            return origin
        return None

    def is_common(self, query: Query, reply: Reply) -> bool:
        """Whether all clients are answered the same."""
        if not self._divided:
            return True
        names = [query.name]
        for owner, found in (*reply.answer, *reply.authority, *reply.glue, *reply.additional):
            names.append(owner)
            if found.rdtype == RdataType.CNAME:
                names.append(found[0].target)
        return not any(name.is_subdomain(origin) for name in names for origin in self._divided)

    def leads_to(self, query: Query, reply: Reply) -> Name | None:
        """The name in none of the zones at which the answer's aliases end."""
        if not reply.answer or reply.authority or query.type in (RdataType.CNAME, RdataType.ANY):
            return None
        last = reply.answer[-1][1]
        if last.rdtype != RdataType.CNAME:
            return None
        target: Name = last[0].target
        return None if self._origin_of(target, query.type) else target

    def _has_above(self, origin: Name) -> bool:
        above = (one for one in self._origins.values() if one != origin)
        return any(origin.is_subdomain(one) for one in above)

    def answer(self, query: Query) -> Reply | None:
        """The answer to a query, or None if the name is in none of the zones."""
        origin = self._origin_of(query.name, query.type)
        if origin is None:
            return None
        zone = self.zones.get(origin)
        if zone is None:
            return Reply(Rcode.SERVFAIL, self.flags)
        return _Answering(self, query.type).run(zone, query.name)


def _lowered(name: Name) -> tuple[bytes, ...]:
    return tuple(label.lower() for label in name.labels)


class _Answering:
    """Makes one answer."""

    def __init__(self, authority: Authority, rdtype: RdataType) -> None:
        self._authority = authority
        self._type = rdtype
        self._reply = Reply(flags=Flag.AA | authority.flags)

    def run(self, zone: Zone, name: Name) -> Reply:
        """Follow aliases from a name as far as our zones go."""
        at: Zone | None = zone
        seen: list[Name] = []
        while at is not None and name not in seen and len(seen) < MAX_CHAIN:
            seen.append(name)
            target = self._step(at, name)
            if target is None:
                break
            name = target
            at = self._authority.zone_of(name, self._type)
        return self._reply

    def _step(self, zone: Zone, name: Name) -> Name | None:
        """Answer from one zone; the name to go on with if there is an alias."""
        found = zone.find(name)
        if found.is_cut and not (found.is_match and self._type == RdataType.DS):
            self._refer(zone, found)
        elif found.is_match:
            return self._match(zone, name, found.node)
        elif RdataType.DNAME in found.node:
            return self._rename(name, found)
        else:
            return self._expand(zone, name, found)
        return None

    def _match(self, zone: Zone, owner: Name, node: Node) -> Name | None:
        """Step 3a: the records of a name, or of the wildcard that stands for it."""
        if RdataType.CNAME in node and self._type not in (RdataType.CNAME, RdataType.ANY):
            alias = node[RdataType.CNAME]
            self._reply.answer.append((owner, alias))
            target: Name = alias[0].target
            return target
        chosen = self._choose(node)
        if chosen is None:
            self._deny(zone, Rcode.NOERROR)
        else:
            self._reply.answer.append((owner, chosen))
            self._add_addresses(zone, chosen)
        return None

    def _choose(self, node: Node) -> Rdataset | None:
        """The set of the type that is asked for; for ANY just one (RFC 8482, section 4.1)."""
        if self._type == RdataType.ANY:
            return node[min(node)] if node else None
        return node.get(self._type)

    def _refer(self, zone: Zone, found: Found) -> None:
        """Step 3b: to the servers of the zone below, with their addresses if they are in here."""
        servers = found.node[RdataType.NS]
        if not self._reply.answer:
            self._reply.flags &= ~Flag.AA
        self._reply.authority.append((found.name, servers))
        for server in servers:
            addresses = self._addresses(zone, server.target)
            if server.target.is_subdomain(found.name):
                self._reply.glue += addresses
            else:
                self._reply.additional += addresses

    def _rename(self, name: Name, found: Found) -> Name | None:
        """RFC 6672, section 3.2: a DNAME, and the CNAME that follows from it for this name."""
        alias = found.node[RdataType.DNAME]
        self._reply.answer.append((found.name, alias))
        try:
            target: Name = name.relativize(found.name).derelativize(alias[0].target)
        except dns.name.NameTooLong:
            self._reply.rcode = Rcode.YXDOMAIN
            return None
        made = Rdataset(RdataClass.IN, RdataType.CNAME)
        made.add(CNAME(RdataClass.IN, RdataType.CNAME, target), alias.ttl)
        self._reply.answer.append((name, made))
        return None if self._type == RdataType.CNAME else target

    def _expand(self, zone: Zone, name: Name, found: Found) -> Name | None:
        """Step 3c: the wildcard at the closest encloser, or the name does not exist."""
        node = zone.wildcard(found.name)
        if node is not None:
            return self._match(zone, name, node)
        self._deny(zone, Rcode.NXDOMAIN)
        return None

    def _deny(self, zone: Zone, rcode: Rcode) -> None:
        self._reply.rcode = rcode
        self._reply.authority.append((zone.origin, zone.negative))
        if not self._reply.answer:
            self._reply.denial = zone.denial

    def _add_addresses(self, zone: Zone, sets: Rdataset) -> None:
        """Addresses of the names that records lead to (RFC 1034, step 6), if they are ours."""
        member = _TARGETS.get(sets.rdtype)
        if member is None:
            return
        for rdata in sets:
            target: Name = getattr(rdata, member)
            if target.is_subdomain(zone.origin) and zone.is_authoritative(target):
                self._reply.additional += self._addresses(zone, target)

    def _addresses(self, zone: Zone, name: Name) -> list[Records]:
        node = zone.nodes.get(name, {})
        return [(name, node[rdtype]) for rdtype in _ADDRESSES if rdtype in node]
