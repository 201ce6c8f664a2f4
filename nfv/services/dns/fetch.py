"""Zones from other servers: what has changed (IXFR, RFC 1995), or all (AXFR, RFC 5936)."""

from __future__ import annotations

import asyncio

import dns.exception
import dns.message
import dns.transaction
import dns.tsig
import dns.xfr
from dns.name import Name
from dns.rcode import Rcode
from dns.rdataclass import RdataClass
from dns.rdataset import Rdataset
from dns.rdatatype import RdataType

from nfv.services.dns.changes import Drafts
from nfv.services.dns.connection import MakeSocket, Server, connection, receive, send
from nfv.services.dns.upstream import Unanswered, Upstream
from nfv.services.dns.zone import Zone
from nfv.services.dns.zonecheck import is_served

PATIENCE = 30.0
"""Seconds that a primary server may take for one message."""


class NotTransferred(Exception):
    """A zone was not transferred; says why."""


async def fetch(
    server: Server, make: MakeSocket, origin: Name, zone: Zone | None, key: dns.tsig.Key | None
) -> tuple[Zone, RdataType]:
    """The zone as a server has it, and whether all of it came (AXFR) or what has changed (IXFR).

    `zone` is the version that is known; a server that cannot say what has changed since is asked
    for the whole zone. Raises `NotTransferred`.
    """
    if zone is not None:
        try:
            return await _transfer(server, make, Drafts(origin, zone, _check), zone.serial, key)
        except NotTransferred:
            pass
    return await _transfer(server, make, Drafts(origin, None, _check), None, key)


async def serial_of(
    server: Server, make: MakeSocket, origin: Name, key: dns.tsig.Key | None
) -> int:
    """The serial number of the version that a server has. Raises `NotTransferred`."""
    query = dns.message.make_query(origin, RdataType.SOA)
    if key is not None:
        query.use_tsig(key)
    try:
        answer = await Upstream(server, make).ask(query)
    except Unanswered as error:
        raise NotTransferred(str(error)) from error
    found = answer.get_rrset(answer.answer, origin, RdataClass.IN, RdataType.SOA)
    if found is None:
        raise NotTransferred(f"it does not have the zone ({Rcode.to_text(answer.rcode())})")
    return int(found[0].serial)


async def _transfer(
    server: Server, make: MakeSocket, drafts: Drafts, serial: int | None, key: dns.tsig.Key | None
) -> tuple[Zone, RdataType]:
    query, _ = dns.xfr.make_query(drafts, serial)
    if key is not None:
        query.use_tsig(key)
    kind = query.question[0].rdtype
    try:
        async with connection(server, make, PATIENCE) as (reader, writer):
            await send(writer, query.to_wire())
            with dns.xfr.Inbound(drafts, kind, serial) as inbound:
                await _take_in(reader, query, inbound)
    except (OSError, EOFError, asyncio.TimeoutError, Unanswered) as error:
        raise NotTransferred(str(error) or "no answer in time") from error
    except (dns.exception.DNSException, ValueError) as error:
        raise NotTransferred(str(error) or type(error).__name__) from error
    if drafts.zone is None:
        raise NotTransferred("the zone is empty")
    return drafts.zone, RdataType.IXFR if inbound.incremental else RdataType.AXFR


async def _take_in(
    reader: asyncio.StreamReader, query: dns.message.Message, inbound: dns.xfr.Inbound
) -> None:
    """Read messages until the transfer is complete."""
    context = None
    done = False
    while not done:
        wire = await asyncio.wait_for(receive(reader), PATIENCE)
        message = dns.message.from_wire(
            wire,
            keyring=query.keyring,
            request_mac=query.mac or b"",
            xfr=True,
            tsig_ctx=context,
            multi=True,
            one_rr_per_rrset=query.question[0].rdtype == RdataType.IXFR,
        )
        if message.id != query.id:
            raise NotTransferred("the answer belongs to another query")
        done = inbound.process_message(message)
        context = message.tsig_ctx


def _check(name: Name, found: Rdataset) -> None:
    if not is_served(found.rdtype):
        message = f"{name} has {found.rdtype.name} records, and signed zones are not served"
        raise NotTransferred(message)
