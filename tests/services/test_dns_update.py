"""Updates (RFC 2136): which are done, and what the zone is then; by the RFC's own sections."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import dns.update
import pytest
from dns.name import from_text
from dns.rcode import Rcode
from dns.rdatatype import RdataType
from hypothesis import given
from hypothesis import strategies as st

from nfv.services.dns.changes import changed, difference
from nfv.services.dns.store import Store, Stored
from nfv.services.dns.update import Rejected, updated
from nfv.services.dns.zone import Zone
from nfv.services.dns.zonefile import parse_records
from tests.services.zonemaking import make_zone

ORIGIN = from_text("example.org")
TEXT = """$TTL 300
@ SOA ns hostmaster 7 2 3 4 60
@ NS ns
@ NS ns2.example.net.
ns A 192.0.2.53
www A 192.0.2.80
www A 192.0.2.81
alias CNAME www
a.b.deep TXT "x"
"""


def _zone(text: str = TEXT) -> Zone:
    return make_zone(ORIGIN, parse_records(text, ORIGIN, "text"))


def _lines(zone: Zone) -> set[str]:
    """The records of a zone but its SOA record."""
    return {
        f"{name.relativize(ORIGIN)} {found.ttl} {found.rdtype.name} {rdata}"
        for name, found in zone
        for rdata in found
        if found.rdtype != RdataType.SOA
    }


def _message(*steps: tuple[Any, ...]) -> dns.update.UpdateMessage:
    """An update as it comes from a client; a step is a method of the library, with arguments."""
    made = dns.update.UpdateMessage(ORIGIN)
    for step, *arguments in steps:
        getattr(made, step)(*arguments)
    read = dns.message.from_wire(made.to_wire())
    assert isinstance(read, dns.update.UpdateMessage)
    return read


def _after(*steps: tuple[Any, ...]) -> tuple[set[str], set[str], int]:
    """What an update adds, what it removes, and by how much the serial number advances."""
    before = _zone()
    made = updated(before, _message(*steps)) or before
    old, new = _lines(before), _lines(made)
    return new - old, old - new, made.serial - before.serial


ADDED = "new 60 A 192.0.2.9"


@pytest.mark.parametrize(
    ("steps", "added", "removed"),
    [
        ([("add", "new", 60, "A", "192.0.2.9")], {ADDED}, set()),
        ([("add", "www", 300, "A", "192.0.2.80")], set(), set()),  # it is there
        (  # one TTL for the set (RFC 2181, section 5.2)
            [("add", "www", 60, "A", "192.0.2.80")],
            {"www 60 A 192.0.2.80", "www 60 A 192.0.2.81"},
            {"www 300 A 192.0.2.80", "www 300 A 192.0.2.81"},
        ),
        ([("add", "alias", 60, "A", "192.0.2.9")], set(), set()),  # section 3.4.2.2
        ([("add", "www", 60, "CNAME", "ns")], set(), set()),
        (
            [("add", "alias", 300, "CNAME", "ns.example.org.")],
            {"alias 300 CNAME ns.example.org."},
            {"alias 300 CNAME www.example.org."},
        ),
        ([("delete", "www", "A", "192.0.2.80")], set(), {"www 300 A 192.0.2.80"}),
        ([("delete", "www", "A")], set(), {"www 300 A 192.0.2.80", "www 300 A 192.0.2.81"}),
        ([("delete", "www")], set(), {"www 300 A 192.0.2.80", "www 300 A 192.0.2.81"}),
        ([("delete", "www", "TXT")], set(), set()),
        ([("delete", "nobody")], set(), set()),
        ([("delete", "@")], set(), set()),  # section 3.4.2.3: neither SOA nor NS
        ([("delete", "@", "NS")], set(), set()),
        ([("delete", "@", "NS", "ns.example.org.")], set(), {"@ 300 NS ns.example.org."}),
        (  # section 3.4.2.4: the last name server stays
            [("delete", "@", "NS", "ns.example.org."), ("delete", "@", "NS", "ns2.example.net.")],
            set(),
            {"@ 300 NS ns.example.org."},
        ),
        (
            [("delete", "www"), ("add", "www", 60, "CNAME", "ns.example.org.")],
            {"www 60 CNAME ns.example.org."},
            {"www 300 A 192.0.2.80", "www 300 A 192.0.2.81"},
        ),
        ([("add", "new", 60, "A", "192.0.2.9"), ("delete", "new")], set(), set()),
        ([("present", "www"), ("add", "new", 60, "A", "192.0.2.9")], {ADDED}, set()),
        ([("present", "www", "A"), ("add", "new", 60, "A", "192.0.2.9")], {ADDED}, set()),
        (
            [
                ("present", "www", "A", "192.0.2.81", "192.0.2.80"),
                ("absent", "new"),
                ("absent", "www", "TXT"),
                ("add", "new", 60, "A", "192.0.2.9"),
            ],
            {ADDED},
            set(),
        ),
    ],
)
def test_what_an_update_does(
    steps: list[tuple[Any, ...]], added: set[str], removed: set[str]
) -> None:
    assert _after(*steps) == (added, removed, 1 if added or removed else 0)


@pytest.mark.parametrize(
    ("steps", "rcode"),
    [
        ([("present", "nobody")], Rcode.NXDOMAIN),
        ([("present", "www", "TXT")], Rcode.NXRRSET),
        ([("present", "www", "A", "192.0.2.80")], Rcode.NXRRSET),  # not the whole set
        ([("absent", "www")], Rcode.YXDOMAIN),
        ([("absent", "www", "A")], Rcode.YXRRSET),
        ([("add", "other.test.", 60, "A", "192.0.2.9")], Rcode.NOTZONE),
        ([("present", "other.test.")], Rcode.NOTZONE),
        ([("add", "new", 60, "NSEC", "a. A")], Rcode.REFUSED),
        ([("add", "new", 60, "A", "192.0.2.9"), ("delete", "x", "AXFR")], Rcode.FORMERR),
    ],
)
def test_what_is_rejected(steps: list[tuple[Any, ...]], rcode: Rcode) -> None:
    with pytest.raises(Rejected) as caught:
        updated(_zone(), _message(*steps))
    assert caught.value.rcode == rcode


@pytest.mark.parametrize(("given_", "serial"), [(6, 7), (7, 7), (9, 9)])
def test_a_serial_number_that_is_later_is_taken(given_: int, serial: int) -> None:
    soa = f"ns hostmaster {given_} 9 9 9 9"
    made = updated(_zone(), _message(("add", "@", 300, "SOA", soa)))
    assert (made or _zone()).serial == serial


def test_empty_non_terminals_come_and_go() -> None:
    deep, above = from_text("a.b.deep", ORIGIN), from_text("deep", ORIGIN)
    made = updated(_zone(), _message(("delete", "a.b.deep")))
    assert made is not None
    assert not {deep, above} & made.nodes.keys()
    made = updated(made, _message(("add", "x.y.deep", 1, "A", "192.0.2.1")))
    assert made is not None
    assert made.nodes[above] == {}


_NAMES = st.sampled_from(["@", "www", "a.www", "alias", "x.y"])
_STEPS = st.one_of(
    st.tuples(
        st.just("add"),
        _NAMES,
        st.integers(1, 3),
        st.just("A"),
        st.sampled_from(["192.0.2.1", "192.0.2.80"]),
    ),
    st.tuples(
        st.just("add"), _NAMES, st.integers(1, 3), st.just("CNAME"), st.just("x.example.org.")
    ),
    st.tuples(st.just("delete"), _NAMES),
    st.tuples(st.just("delete"), _NAMES, st.just("A")),
    st.tuples(st.just("delete"), _NAMES, st.just("A"), st.just("192.0.2.80")),
)


@given(st.lists(st.lists(_STEPS, max_size=6), max_size=6))
def test_what_is_stored_is_what_was_made(rounds: list[list[tuple[Any, ...]]]) -> None:
    """Versions, their differences, and the disk agree; a version is as if made from its records."""
    with tempfile.TemporaryDirectory() as directory:
        store = Store(Path(directory) / "zones.db")
        zone = first = _zone()
        store.put(Stored(first, first, 5.0))
        for steps in rounds:
            made = updated(zone, _message(*steps))
            if made is not None:
                change = difference(zone, made)
                assert _lines(changed(zone, change)) == _lines(made)
                store.change(made, change)
                zone = made
        store.close()
        store = Store(Path(directory) / "zones.db")
        found = store.find(ORIGIN)
        store.close()
    assert found is not None
    assert (found.zone.serial, _lines(found.zone)) == (zone.serial, _lines(zone))
    again = Zone(ORIGIN, [(name, one.ttl, rdata) for name, one in zone for rdata in one])
    assert again.nodes.keys() == zone.nodes.keys() == found.zone.nodes.keys()
    assert found.declared is not None
    assert _lines(found.declared) == _lines(first)
