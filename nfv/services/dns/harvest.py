"""What is taken from an answer of another name server: what was asked for, and nothing beside.

Credibility by RFC 2181 section 5.4.1: the answer's own chain of aliases, and for negative answers
the SOA record (RFC 2308) with the DNSSEC records that prove them (RFC 4035), if they are wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

import dns.message
from dns.flags import Flag
from dns.name import Name
from dns.rcode import Rcode
from dns.rdataset import Rdataset
from dns.rdatatype import RdataType
from dns.rdtypes.svcbbase import ParamKey

from nfv.services.dns.authority import MAX_CHAIN
from nfv.services.dns.cache import Known
from nfv.services.dns.message import Query, Records

_USABLE = frozenset({Rcode.NOERROR, Rcode.NXDOMAIN})
_PROOFS = frozenset({RdataType.NSEC, RdataType.NSEC3, RdataType.RRSIG})
_ADDRESSES = frozenset({RdataType.A, RdataType.AAAA})
_SERVICES = frozenset({RdataType.SVCB, RdataType.HTTPS})
_HINTS = (ParamKey.IPV4HINT, ParamKey.IPV6HINT)
_TRANSLATED = ip_network("64:ff9b::/96")  # the well-known prefix of RFC 6052, section 2.1


@dataclass(frozen=True)
class Bounds:
    """What is not taken as it comes; times in seconds."""

    max_ttl: int
    max_negative_ttl: int


def is_usable(answer: dns.message.Message) -> bool:
    """Whether a server could answer at all."""
    return answer.rcode() in _USABLE


def harvest(query: Query, answer: dns.message.Message, bounds: Bounds, now: float) -> Known:
    """What is kept of a usable answer."""
    chain = list(_chain(query, answer))
    is_positive = any(found.rdtype == query.type for _, found in chain) or (
        query.type == RdataType.ANY and bool(chain)
    )
    authority = [] if is_positive else list(_denial(query, answer))
    most = bounds.max_ttl if is_positive else bounds.max_negative_ttl
    for _, found in (*chain, *authority):
        found.ttl = min(found.ttl, most)
    return Known(
        answer.rcode(),
        Flag.RA | (answer.flags & Flag.AD),
        chain,
        authority,
        now,
        _lifetime(chain, authority, is_positive),
    )


def _lifetime(chain: list[Records], authority: list[Records], is_positive: bool) -> int:
    """Seconds; a negative answer without a SOA record is not kept (RFC 2308, section 5)."""
    if not is_positive and not any(found.rdtype == RdataType.SOA for _, found in authority):
        return 0
    return min((found.ttl for _, found in (*chain, *authority)), default=0)


def _chain(query: Query, answer: dns.message.Message) -> Iterator[Records]:
    """The records that were asked for, and the aliases that lead there."""
    name, seen = query.name, set[Name]()
    while name not in seen and len(seen) <= MAX_CHAIN:
        seen.add(name)
        following = None
        for found in answer.answer:
            if found.rdtype == RdataType.DNAME and name != found.name:
                if name.is_subdomain(found.name):
                    yield found.name, found.to_rdataset()
            elif found.name != name:
                continue
            elif found.rdtype == RdataType.CNAME and query.type != RdataType.CNAME:
                yield found.name, found.to_rdataset()
                following = found[0].target
            elif query.type in (found.rdtype, RdataType.ANY) or (
                found.rdtype == RdataType.RRSIG and query.wants_dnssec
            ):
                yield found.name, found.to_rdataset()
        if following is None:
            return
        name = following


def _denial(query: Query, answer: dns.message.Message) -> Iterator[Records]:
    """The SOA record, whose TTL is also bounded by its own last field, and the proofs."""
    for found in answer.authority:
        rdataset: Rdataset = found.to_rdataset()
        if found.rdtype == RdataType.SOA:
            rdataset.ttl = min(found.ttl, found[0].minimum)
            yield found.name, rdataset
        elif found.rdtype in _PROOFS and query.wants_dnssec:
            yield found.name, rdataset


def has_private_address(known: Known) -> bool:
    """Whether an answer leads to an address that is not of the public internet (rebinding)."""
    return any(
        not is_public(address)
        for _, found in known.answer
        for rdata in found
        for address in _addresses(rdata)
    )


def is_public(text: str) -> bool:
    """Whether an address is one of the public internet, the one in it too (RFC 6052)."""
    address = ip_address(text)
    if address in _TRANSLATED:
        address = ip_address(int(address) & 0xFFFFFFFF)
    return address.is_global


def _addresses(rdata: Any) -> Iterator[str]:
    """Those that a client would connect to, also by the hints of RFC 9460, section 7.3."""
    if rdata.rdtype in _ADDRESSES:
        yield rdata.address
    elif rdata.rdtype in _SERVICES:
        for hint in map(rdata.params.get, _HINTS):
            yield from hint.addresses if hint else ()
