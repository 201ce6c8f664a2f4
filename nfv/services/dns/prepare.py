"""Puts the answers of all zones on the fast path, before somebody asks."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Iterator

from dns.rdataclass import RdataClass

from nfv.services.dns import fastpath, message
from nfv.services.dns.authority import Authority
from nfv.services.dns.fastpath import Answers

_KIND = struct.Struct("!HH")
_STEP = 0.002  # seconds in which nobody else is served


async def prepare_all(authority: Authority, answers: Answers) -> int:
    """Every name that exists, with the types that it has, and with addresses in any case.

    Gives way often: queries come first. Returns how many answers there were.
    """
    count = 0
    begun = time.monotonic()
    for query in _queries(authority):
        reply = authority.answer(query)
        if reply is not None and authority.is_common(query, reply):
            prepared = fastpath.prepare(query, message.render(query, reply))
            if prepared is not None:
                answers.put(query, prepared, lasting=True)
                count += 1
        if time.monotonic() - begun > _STEP:
            await asyncio.sleep(0)
            begun = time.monotonic()
    return count


def _queries(authority: Authority) -> Iterator[message.Query]:
    for zone in authority.zones.values():
        for name, node in zone.nodes.items():
            wire = name.to_wire()
            assert wire is not None
            for rdtype in fastpath.types_of(node):
                question = wire + _KIND.pack(rdtype, RdataClass.IN)
                yield message.Query(
                    0, 0, name, rdtype, RdataClass.IN, message.MAX_UDP, question=question
                )
