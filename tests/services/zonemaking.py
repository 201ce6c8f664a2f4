"""Random zones that are right, and questions that find their corners."""

from __future__ import annotations

import random
from collections.abc import Iterator

from dns.name import Name, from_text
from dns.rdatatype import RdataType

from nfv.services.dns.zone import Zone
from nfv.services.dns.zonecheck import check_zone
from nfv.services.dns.zonefile import Record, parse_records

LABELS = ("a", "b", "c", "*", "ns")
TYPES = ("A", "AAAA", "TXT", "MX", "CNAME", "DNAME", "NS", "SRV", "DS", "TYPE65400")
QUESTIONS = (*TYPES, "SOA", "HINFO")

_HEAD = """$TTL 300
@ SOA ns.top hostmaster 7 3600 600 86400 {minimum}
@ NS ns.top
ns.top A 192.0.2.53
"""


def make_text(seed: int, origin: Name) -> str:
    """The text of a zone; some of its records may be wrong."""
    dice = random.Random(seed)
    lines = [_HEAD.format(minimum=dice.choice((60, 900)))]
    for _ in range(dice.randint(5, 40)):
        kind = dice.choice(TYPES)
        ttl = 100 + TYPES.index(kind)
        lines.append(f"{_owner(dice)} {ttl} {kind} {_data(dice, kind, origin)}\n")
    return "".join(dict.fromkeys(lines))


def _owner(dice: random.Random) -> str:
    return ".".join(dice.choice(LABELS) for _ in range(dice.randint(1, 4)))


def _data(dice: random.Random, kind: str, origin: Name) -> str:
    target = _owner(dice) if dice.random() < 0.8 else f"{_owner(dice)}.elsewhere.test."
    number = dice.randint(0, 250)
    return {
        "A": f"192.0.2.{number}",
        "AAAA": f"2001:db8::{number:x}",
        "TXT": f'"text {number}" "more"',
        "MX": f"{number} {target}",
        "SRV": f"{number} 1 53 {target}",
        "DS": f"{number} 13 2 {number:064x}",
        "TYPE65400": rf"\# 2 {number:04x}",
    }.get(kind, target)


def make_records(seed: int, origin: Name) -> list[Record]:
    """Records of a zone with which nothing is wrong."""
    records = parse_records(make_text(seed, origin), origin, f"zone {seed}")
    while wrong := {finding.place for finding in check_zone(origin, records)}:
        assert None not in wrong
        records = [record for record in records if record.place not in wrong]
    return records


def make_zone(origin: Name, records: list[Record]) -> Zone:
    return Zone(origin, ((record.name, record.ttl, record.rdata) for record in records))


def to_text(records: list[Record]) -> str:
    """A zone file of records, every name in full."""
    lines = (
        f"{record.name} {record.ttl} IN {RdataType.to_text(record.rdata.rdtype)} {record.rdata}\n"
        for record in records
    )
    return "".join(lines)


def questions(seed: int, origin: Name, records: list[Record], count: int) -> Iterator[Name]:
    """Names in, beside, above and below those of a zone, in mixed case."""
    dice = random.Random(seed)
    owners = [record.name for record in records]
    for _ in range(count):
        name = dice.choice(owners)
        kind = dice.random()
        if kind < 0.3:
            name = from_text(_owner(dice), name)
        elif kind < 0.5:
            name = from_text(_owner(dice), origin)
        elif kind < 0.6 and name != origin:
            name = name.parent()
        yield Name(label.upper() if dice.random() < 0.2 else label for label in name.labels)
