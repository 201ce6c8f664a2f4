"""Dynamic updates of a zone (RFC 2136): what one asks for, and the zone that comes of it."""

from __future__ import annotations

import dns.rdataset
import dns.update
from dns.name import Name
from dns.rcode import Rcode
from dns.rdata import Rdata
from dns.rdataclass import RdataClass
from dns.rdataset import Rdataset
from dns.rdatatype import RdataType
from dns.rrset import RRset

from nfv.services.dns.changes import Draft, Drafts, difference
from nfv.services.dns.serials import is_reached
from nfv.services.dns.zone import Zone
from nfv.services.dns.zonecheck import is_meta, is_served

_AT_APEX = frozenset({RdataType.SOA, RdataType.NS})


class Rejected(Exception):
    """An update is not done; nothing has changed."""

    def __init__(self, rcode: Rcode) -> None:
        super().__init__(Rcode.to_text(rcode))
        self.rcode = rcode


def updated(zone: Zone, message: dns.update.UpdateMessage) -> Zone | None:
    """The zone after an update; None if that changes nothing. Raises `Rejected`."""
    for wanted in (*message.prerequisite, *message.update):
        if not wanted.name.is_subdomain(zone.origin):
            raise Rejected(Rcode.NOTZONE)
    _check_prerequisites(zone, message.prerequisite)
    for wanted in message.update:
        _check_form(wanted)
    drafts = Drafts(zone.origin, zone)
    with drafts.writer() as draft:
        for wanted in message.update:
            _do(draft, zone.origin, wanted)
        soa = draft.get(zone.origin, RdataType.SOA)
        if soa == zone.soa:
            draft.update_serial(name=zone.origin)
    made = drafts.zone
    assert made is not None
    change = difference(zone, made)
    is_same = soa == zone.soa and soa.ttl == zone.soa.ttl
    return None if is_same and not change.removed and not change.added else made


def _check_prerequisites(zone: Zone, wanted: list[RRset]) -> None:
    """Section 3.2."""
    values: dict[tuple[Name, RdataType], set[Rdata]] = {}
    for one in wanted:
        if one.ttl:
            raise Rejected(Rcode.FORMERR)
        node = zone.nodes.get(one.name, {})
        is_there = bool(node) if one.rdtype == RdataType.ANY else one.rdtype in node
        if one.deleting == RdataClass.ANY and not is_there:
            raise Rejected(Rcode.NXDOMAIN if one.rdtype == RdataType.ANY else Rcode.NXRRSET)
        if one.deleting == RdataClass.NONE and is_there:
            raise Rejected(Rcode.YXDOMAIN if one.rdtype == RdataType.ANY else Rcode.YXRRSET)
        if one.deleting is None:
            values.setdefault((one.name, one.rdtype), set()).update(one)
    for (name, rdtype), data in values.items():
        if set(zone.nodes.get(name, {}).get(rdtype, ())) != data:
            raise Rejected(Rcode.NXRRSET)


def _check_form(wanted: RRset) -> None:
    """Section 3.4.1; and nothing that zones here cannot have."""
    rdtype = wanted.rdtype
    if wanted.deleting is not None and wanted.ttl:
        raise Rejected(Rcode.FORMERR)
    if rdtype == RdataType.ANY and wanted.deleting == RdataClass.ANY:
        return
    if is_meta(rdtype) or rdtype == RdataType.OPT:
        raise Rejected(Rcode.FORMERR)
    if wanted.deleting is None and not is_served(rdtype):
        raise Rejected(Rcode.REFUSED)


def _do(draft: Draft, origin: Name, wanted: RRset) -> None:
    """Section 3.4.2."""
    protected = _AT_APEX if wanted.name == origin else frozenset[RdataType]()
    if wanted.deleting is None:
        _add(draft, origin, wanted)
    elif wanted.deleting == RdataClass.NONE:
        _delete_records(draft, wanted, protected)
    else:
        kinds = draft.sets(wanted.name) if wanted.rdtype == RdataType.ANY else [wanted.rdtype]
        for rdtype in kinds:
            if rdtype not in protected:
                draft.delete(wanted.name, rdtype)


def _add(draft: Draft, origin: Name, wanted: RRset) -> None:
    """Section 3.4.2.2; what contradicts what is there is ignored."""
    name, rdtype = wanted.name, wanted.rdtype
    others = draft.sets(name).keys() - {rdtype}
    if others if rdtype == RdataType.CNAME else RdataType.CNAME in others:
        return
    former = draft.get(name, rdtype) or ()
    if rdtype == RdataType.SOA:
        is_later = former and not is_reached(former[0].serial, wanted[0].serial)
        if name != origin or not is_later:
            return
    is_single = rdtype in (RdataType.CNAME, RdataType.DNAME, RdataType.SOA)
    kept: list[Rdata] = [] if is_single else [one for one in former if one not in wanted]
    made: Rdataset = dns.rdataset.from_rdata_list(wanted.ttl, [*kept, *wanted])
    draft.replace(name, made)


def _delete_records(draft: Draft, wanted: RRset, protected: frozenset[RdataType]) -> None:
    """Section 3.4.2.4: a zone keeps its SOA record, and one name server."""
    former = draft.get(wanted.name, wanted.rdtype) or ()
    is_last = all(rdata in wanted for rdata in former)
    if wanted.rdtype in protected and (wanted.rdtype == RdataType.SOA or is_last):
        return
    draft.delete(wanted.name, wanted.to_rdataset())
