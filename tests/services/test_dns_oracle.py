"""Answers from zones, compared by section with those of Knot DNS and NSD."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import dns.message
import pytest
from dns.flags import Flag
from dns.name import Name, from_text
from dns.rcode import Rcode
from dns.rdatatype import RdataType

from nfv.services.dns import message
from nfv.services.dns.authority import Authority
from nfv.services.dns.zonefile import Record
from tests.integration.scratch import scratch_namespace
from tests.services import oracle, zonemaking

pytestmark = pytest.mark.root

ZONES = 30
QUERIES = 60  # of each zone

Zones = Mapping[Name, list[Record]]


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    with scratch_namespace() as name:
        yield name


@pytest.fixture(scope="module")
def zones() -> Zones:
    origins = [from_text(f"zone{seed}.test") for seed in range(ZONES)]
    return {origin: zonemaking.make_records(seed, origin) for seed, origin in enumerate(origins)}


def _questions(zones: Zones) -> Iterator[tuple[Name, RdataType]]:
    dice = random.Random(1)
    for seed, (origin, records) in enumerate(zones.items()):
        for name in zonemaking.questions(seed, origin, records, QUERIES):
            yield name, RdataType.make(dice.choice(zonemaking.QUESTIONS))


def _answer(authority: Authority, wire: bytes) -> dns.message.Message:
    query = message.read(wire)
    assert isinstance(query, message.Query)
    reply = authority.answer(query)
    assert reply is not None
    return dns.message.from_wire(message.render(query, reply))


def _section(answer: dns.message.Message, section: int) -> set[tuple[Name, int, str, int]]:
    return {
        (found.name, int(found.rdtype), rdata.to_text().lower(), found.ttl)
        for found in answer.sections[section]
        for rdata in found
    }


def _outline(answer: dns.message.Message) -> tuple[object, ...]:
    """What two servers must agree on; which addresses they add is up to them."""
    authority = _section(answer, 2)
    if answer.rcode() == Rcode.NOERROR and answer.answer:  # name servers may be added
        authority = set()
    return (
        Rcode.to_text(answer.rcode()),
        bool(answer.flags & Flag.AA),
        bool(answer.flags & Flag.TC),
        _section(answer, 1),
        authority,
    )


@pytest.mark.parametrize("server", [oracle.knot, oracle.nsd], ids=["knot", "nsd"])
def test_answers_are_those_of_other_servers(
    server: oracle.Starter, zones: Zones, place: str, tmp_path: Path
) -> None:
    texts = {origin: zonemaking.to_text(records) for origin, records in zones.items()}
    authority = Authority(
        zonemaking.make_zone(origin, records) for origin, records in zones.items()
    )
    different = []
    count = 0
    with server(place, tmp_path, texts) as other:
        for name, rdtype in _questions(zones):
            wire = dns.message.make_query(name, rdtype, use_edns=0).to_wire()
            ours = _answer(authority, wire)
            theirs = dns.message.from_wire(other.ask(wire))
            count += 1
            if _outline(ours) != _outline(theirs):
                different.append(f"{name} {rdtype.name}\nours:\n{ours}\ntheirs:\n{theirs}\n")
    assert count == ZONES * QUERIES
    assert not different, f"{len(different)} of {count} differ:\n" + "\n".join(different[:5])
