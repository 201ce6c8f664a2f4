"""What must hold of a zone before it is served; every violation, with its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dns.name import Name
from dns.rdatatype import RdataType

from nfv.services.dns.zonefile import Place, Record

_SIGNED = frozenset(
    {
        RdataType.RRSIG,
        RdataType.NSEC,
        RdataType.NSEC3,
        RdataType.NSEC3PARAM,
        RdataType.DNSKEY,
        RdataType.CDS,
        RdataType.CDNSKEY,
    }
)
_META_FIRST = 128  # RFC 6895, section 3.1: types of queries and of messages
_META_LAST = 255
_AT_CUT = frozenset({RdataType.NS, RdataType.DS})
_ADDRESSES = frozenset({RdataType.A, RdataType.AAAA})
_SINGLE = frozenset({RdataType.CNAME, RdataType.DNAME, RdataType.SOA})
_WILDCARD_UNFIT = frozenset({RdataType.NS, RdataType.DNAME, RdataType.SOA, RdataType.DS})


@dataclass(frozen=True)
class Finding:
    """Something wrong with a zone; without a place it is something missing."""

    place: Place | None
    message: str
    hint: str | None = None


def is_served(rdtype: RdataType) -> bool:
    """Whether a zone here may have records of a type."""
    return rdtype not in _SIGNED and rdtype != RdataType.OPT and not is_meta(rdtype)


def is_meta(rdtype: RdataType) -> bool:
    """Whether a type is one of queries or messages."""
    return _META_FIRST <= rdtype <= _META_LAST


def check_zone(origin: Name, records: Sequence[Record]) -> Iterator[Finding]:
    """Everything that is wrong with the records of a zone."""
    inside = []
    for record in records:
        unfit = _unfit(origin, record)
        if unfit:
            yield Finding(record.place, unfit)
        else:
            inside.append(record)
    zone = _Names(origin, inside)
    yield from zone.check_apex()
    for record in inside:
        yield from zone.check(record)


def _unfit(origin: Name, record: Record) -> str | None:
    """Why a record can stand in no zone, or not in this one."""
    kind = record.rdata.rdtype
    if not record.name.is_subdomain(origin):
        return f"{record.name} is not in the zone {origin}"
    if kind in _SIGNED:
        return f"{kind.name} records are not served: zones are unsigned"
    if kind == RdataType.OPT or is_meta(kind):
        return f"{kind.name} is no type of a record in a zone"
    if kind == RdataType.SOA and record.name != origin:
        return f"a SOA record belongs to the zone's own name, {origin}"
    if record.name.is_wild() and kind in _WILDCARD_UNFIT:
        return f"a wildcard cannot have {kind.name} records"
    return None


class _Names:
    """The records by their names."""

    def __init__(self, origin: Name, records: Sequence[Record]) -> None:
        self._origin = origin
        self._sets: dict[Name, dict[RdataType, list[Record]]] = {}
        for record in records:
            sets = self._sets.setdefault(record.name, {})
            sets.setdefault(record.rdata.rdtype, []).append(record)

    def check_apex(self) -> Iterator[Finding]:
        sets = self._sets.get(self._origin, {})
        for kind in (RdataType.SOA, RdataType.NS):
            if kind not in sets:
                yield Finding(None, f"the zone {self._origin} has no {kind.name} record")

    def check(self, record: Record) -> Iterator[Finding]:
        """What is wrong between a record and the others."""
        kind, place = record.rdata.rdtype, record.place
        sets = self._sets[record.name]
        first = sets[kind][0]
        if record is not first:
            if kind in _SINGLE:
                yield Finding(place, f"a second {kind.name} record of {record.name}")
            elif record.ttl != first.ttl:
                message = f"the {kind.name} records of {record.name} differ in TTL"
                hint = f"the first has {first.ttl} (line {first.place.line})"
                yield Finding(place, message, hint)
        if kind == RdataType.CNAME and len(sets) > 1:
            others = ", ".join(other.name for other in sets if other != kind)
            yield Finding(place, f"{record.name} has a CNAME and other records ({others})")
        if kind == RdataType.CNAME or kind == RdataType.DNAME:
            yield from self._check_alias(record)
        yield from self._check_above(record)
        if kind == RdataType.NS:
            yield from self._check_server(record)

    def _check_alias(self, record: Record) -> Iterator[Finding]:
        """An alias must not lead to itself; of longer loops an answer has one turn."""
        target: Name = record.rdata.target  # type: ignore[attr-defined]
        is_loop = target == record.name
        if record.rdata.rdtype == RdataType.DNAME:
            is_loop = target.is_subdomain(record.name)
        if is_loop:
            yield Finding(record.place, f"{record.name} is an alias of itself")

    def _check_above(self, record: Record) -> Iterator[Finding]:
        """A name below a zone cut is the other zone's, unless it is glue; below a DNAME is none."""
        kind, name = record.rdata.rdtype, record.name
        for above in self._above(name):
            sets = self._sets.get(above, {})
            if RdataType.DNAME in sets and above != name:
                yield Finding(record.place, f"{name} is below the DNAME {above}")
            if above == self._origin or RdataType.NS not in sets:
                continue
            allowed = _AT_CUT if above == name else frozenset[RdataType]()
            if kind not in allowed | _ADDRESSES:
                message = f"{name} is in another zone: {above} is delegated"
                yield Finding(record.place, message, "only addresses of its servers may be here")

    def _above(self, name: Name) -> Iterator[Name]:
        while len(name) >= len(self._origin):
            yield name
            if name == self._origin:
                return
            name = name.parent()

    def _check_server(self, record: Record) -> Iterator[Finding]:
        """A name server in this zone must have an address, and be no alias (RFC 2181, 10.3)."""
        target: Name = record.rdata.target  # type: ignore[attr-defined]
        sets = self._sets.get(target, {})
        if RdataType.CNAME in sets:
            yield Finding(record.place, f"the name server {target} is an alias")
        elif (
            target.is_subdomain(self._origin)
            and not _ADDRESSES & sets.keys()
            and not self._is_elsewhere(target, record.name)
        ):
            yield Finding(record.place, f"the name server {target} has no address in the zone")

    def _is_elsewhere(self, target: Name, cut: Name) -> bool:
        """Whether a target is below another cut than the one it serves."""
        cuts = [
            above
            for above in self._above(target)
            if above != self._origin and RdataType.NS in self._sets.get(above, {})
        ]
        return bool(cuts) and cut not in cuts
