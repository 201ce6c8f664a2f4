"""Zone transfers to secondary servers (AXFR, RFC 5936), and word to them of a change (RFC 1996).

An incremental transfer (IXFR, RFC 1995) is what has changed since, as far as that is known, or the
whole zone; over UDP it is the SOA record alone, which sends the secondary to TCP (section 2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dns.exception
import dns.message
import dns.opcode
import dns.tsig
from dns.flags import Flag
from dns.name import Name
from dns.rdataset import Rdataset
from dns.rdatatype import RdataType

from nfv.chain.fields import Network
from nfv.services.dns.changes import Change
from nfv.services.dns.clients import is_in
from nfv.services.dns.connection import MakeSocket, Server
from nfv.services.dns.history import History
from nfv.services.dns.message import Query, Records, Reply, Sequel, render
from nfv.services.dns.serials import is_reached
from nfv.services.dns.upstream import Unanswered, Upstream
from nfv.services.dns.zone import Zone

_TRIES = 4
_FIRST_WAIT = 1.0  # seconds; doubled after each try
_MESSAGE = 16384  # bytes, within which pointers of compression reach


@dataclass(frozen=True)
class Secondaries:
    """Who may have zones, and who is told of changes; without a key whoever is a client."""

    clients: Sequence[Network]
    key: dns.tsig.Key | None
    notified: Sequence[Server]
    history: History

    def may_have(self, query: Query, client: str) -> bool:
        """Whether zones are transferred to a client."""
        if self.clients and not is_in(client, self.clients):
            return False
        signed = query.signature
        return self.key is None or (signed is not None and signed.key == self.key)


def transfer(query: Query, zone: Zone, changes: Sequence[Change] | None) -> Iterator[bytes]:
    """The messages of a transfer; `changes` lead to the zone from the version of an IXFR."""
    has_it = query.serial is not None and is_reached(query.serial, zone.serial)
    if query.type == RdataType.IXFR and (has_it or not query.is_stream):
        yield render(query, Reply(flags=Flag.AA, answer=[(zone.origin, zone.soa)]))
        return
    sequel = Sequel(query, _MESSAGE)
    for name, found in _whole(zone) if changes is None else _parts(zone, changes):
        try:
            sequel.add(name, found)
        except dns.exception.TooBig:
            yield sequel.end()
            sequel.add(name, found)
    yield sequel.end()


def _whole(zone: Zone) -> Iterator[Records]:
    """Every record by itself, the SOA record first and last (RFC 5936, section 2.2)."""
    yield zone.origin, zone.soa
    for name, found in zone:
        if found.rdtype != RdataType.SOA:
            yield from _alone(name, found)
    yield zone.origin, zone.soa


def _parts(zone: Zone, changes: Sequence[Change]) -> Iterator[Records]:
    """What was removed and what was added, version by version (RFC 1995, section 4)."""
    yield zone.origin, zone.soa
    for change in changes:
        for soa, sets in ((change.before, change.removed), (change.after, change.added)):
            yield zone.origin, soa
            for name, found in sets:
                yield from _alone(name, found)
    yield zone.origin, zone.soa


def _alone(name: Name, found: Rdataset) -> Iterator[Records]:
    """The records of a set one by one: a message may have room for some of them only."""
    for rdata in found:
        alone = Rdataset(found.rdclass, found.rdtype)
        alone.add(rdata, found.ttl)
        yield name, alone


async def notify(server: Server, zone: Name, key: dns.tsig.Key | None, make: MakeSocket) -> bool:
    """Tell a secondary that a zone has changed; whether it said that it knows."""
    query = dns.message.make_query(zone, RdataType.SOA, flags=Flag.AA)
    query.set_opcode(dns.opcode.NOTIFY)
    if key is not None:
        query.use_tsig(key)
    wait = _FIRST_WAIT
    for _ in range(_TRIES):
        try:
            await Upstream(server, make).ask(query)
        except Unanswered:
            await asyncio.sleep(wait)
            wait *= 2
        else:
            return True
    return False
