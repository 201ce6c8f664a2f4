"""What is done with messages that are unusual or wrong (RFC 6891, RFC 8906, RFC 9619)."""

from __future__ import annotations

import struct

import dns.edns
import dns.flags
import dns.message
import pytest
from dns.edns import OptionType
from dns.flags import Flag
from dns.name import from_text
from dns.opcode import Opcode
from dns.rcode import Rcode
from dns.rdatatype import RdataType
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nfv.services.dns import message
from nfv.services.dns.authority import Authority
from nfv.services.dns.responder import Responder
from nfv.services.dns.zone import Zone
from nfv.services.dns.zonefile import parse_records
from tests.services.zonemaking import make_zone

ORIGIN = from_text("example.org")

TEXT = """$TTL 300
@ SOA ns hostmaster 1 2 3 4 60
@ NS ns
ns A 192.0.2.53
www A 192.0.2.80
www AAAA 2001:db8::80
alias CNAME www
*.wild A 192.0.2.99
big TXT {big}
sub NS ns.sub
sub NS ns2.sub
{glue}
"""


def _zone() -> Zone:
    big = " ".join(f'"{"x" * 200}"' for _ in range(8))
    glue = "\n".join(f"ns{two}.sub AAAA 2001:db8::{n:x}" for n in range(30) for two in ("", "2"))
    return make_zone(ORIGIN, parse_records(TEXT.format(big=big, glue=glue), ORIGIN, "text"))


AUTHORITY = Authority([_zone()])


def respond(wire: bytes, *, is_stream: bool = False) -> bytes | None:
    """What a server with that zone answers."""
    responder = Responder(AUTHORITY, lambda _query, _answer, _is_ours: None)
    answer = responder.respond(wire, "192.0.2.1", is_stream=is_stream)
    assert answer is None or isinstance(answer, bytes)
    return answer


def ask(name: str, rdtype: str = "A", **options: object) -> dns.message.Message:
    wire = dns.message.make_query(name, rdtype, **options).to_wire()  # type: ignore[arg-type]
    answer = respond(wire)
    assert answer is not None
    return dns.message.from_wire(answer)


def _raw(*, flags: int = 0, counts: tuple[int, int, int, int] = (1, 0, 0, 0), body: bytes) -> bytes:
    return struct.pack("!HH4H", 0x1234, flags, *counts) + body


QUESTION = b"\3www\7example\3org\0" + struct.pack("!HH", 1, 1)
OPT = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)


@pytest.mark.parametrize(
    ("wire", "rcode"),
    [
        (_raw(body=b""), Rcode.FORMERR),
        (_raw(body=QUESTION[:-1]), Rcode.FORMERR),
        (_raw(body=QUESTION + b"\0"), Rcode.FORMERR),
        (_raw(body=b"\xc0\x0c\0\1\0\1"), Rcode.FORMERR),  # a name that points at itself
        (_raw(body=b"\xc0\x20\0\1\0\1"), Rcode.FORMERR),  # forward
        (_raw(body=b"\x40x\0\0\1\0\1"), Rcode.FORMERR),  # a label of no known kind
        (_raw(body=b"\x3f" + b"x" * 20), Rcode.FORMERR),
        (_raw(body=(b"\x3f" + b"x" * 63) * 5 + b"\0\0\1\0\1"), Rcode.FORMERR),  # 320 bytes
        (_raw(counts=(0, 0, 0, 0), body=b""), Rcode.FORMERR),
        (_raw(counts=(2, 0, 0, 0), body=QUESTION * 2), Rcode.FORMERR),
        (_raw(counts=(1, 0, 0, 2), body=QUESTION + OPT * 2), Rcode.FORMERR),
        (_raw(counts=(1, 0, 0, 1), body=QUESTION + b"\1x" + OPT), Rcode.FORMERR),
        (_raw(counts=(1, 1, 0, 0), body=QUESTION + OPT), Rcode.FORMERR),
        (_raw(counts=(65535, 65535, 65535, 65535), body=QUESTION), Rcode.FORMERR),
        (_raw(flags=5 << 11, body=QUESTION), Rcode.NOTIMP),  # UPDATE
        (_raw(flags=15 << 11, body=QUESTION), Rcode.NOTIMP),
        (_raw(body=QUESTION[:-4] + struct.pack("!HH", 41, 1)), Rcode.FORMERR),
        (_raw(body=QUESTION[:-4] + struct.pack("!HH", 254, 1)), Rcode.NOTIMP),
        (_raw(body=QUESTION[:-4] + struct.pack("!HH", 252, 1)), Rcode.REFUSED),
        (_raw(body=QUESTION[:-4] + struct.pack("!HH", 1, 3)), Rcode.REFUSED),
    ],
)
def test_what_is_wrong_is_refused(wire: bytes, rcode: Rcode) -> None:
    answer = respond(wire)
    assert answer is not None
    assert answer[:2] == wire[:2]
    head = dns.message.from_wire(answer)
    assert head.rcode() == rcode
    assert head.flags & Flag.QR
    assert head.opcode() == Opcode(wire[2] >> 3)


@pytest.mark.parametrize("wire", [b"", b"\0" * 11, _raw(flags=Flag.QR, body=QUESTION)])
def test_what_is_no_query_is_ignored(wire: bytes) -> None:
    assert respond(wire) is None


@given(st.binary(max_size=100))
@example(b"\0" * 12)
def test_any_bytes_are_answered_or_ignored(wire: bytes) -> None:
    _check_answer(wire, respond(wire))


@settings(max_examples=400)
@given(st.data())
def test_damaged_queries_are_answered_or_ignored(data: st.DataObject) -> None:
    query = bytearray(
        dns.message.make_query(
            data.draw(st.sampled_from(["www.example.org", "x.sub.example.org"])),
            data.draw(st.sampled_from(["A", "ANY", "DS", "AXFR", "TYPE65535"])),
            use_edns=0,
            options=[dns.edns.GenericOption("COOKIE", b"12345678")],
        ).to_wire()
    )
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(query) - 1))
        query[place] = data.draw(st.integers(0, 255))
    wire = bytes(query[: data.draw(st.integers(0, len(query)))])
    _check_answer(wire, respond(wire))


def _check_answer(wire: bytes, answer: bytes | None) -> None:
    if answer is None:
        assert len(wire) < 12 or wire[2] & 0x80
        return
    assert answer[:2] == wire[:2]
    dns.message.from_wire(answer, one_rr_per_rrset=True)
    assert len(answer) <= message.MAX_UDP


def test_edns_is_answered_with_edns_alone() -> None:
    plain = ask("www.example.org")
    assert plain.edns == -1
    extended = ask("www.example.org", use_edns=0, payload=4096, want_dnssec=True)
    assert (extended.edns, extended.payload) == (0, message.MAX_UDP)
    assert extended.ednsflags == dns.flags.DO


def test_another_version_of_edns_is_not_spoken() -> None:
    answer = ask("www.example.org", use_edns=1)
    assert answer.rcode() == Rcode.BADVERS
    assert answer.edns == 0
    assert not answer.answer


def test_unknown_options_and_flags_are_ignored() -> None:
    options = [dns.edns.GenericOption(OptionType.make(65001), b"what")]
    answer = ask("www.example.org", use_edns=0, options=options, ednsflags=0x7FFF)
    assert answer.rcode() == Rcode.NOERROR
    assert answer.answer
    assert answer.ednsflags == 0
    assert not answer.options


def test_the_case_of_the_question_comes_back() -> None:
    name = from_text("wWw.ExAmPlE.oRg")
    answer = ask(name.to_text())
    assert answer.question[0].name.labels == name.labels
    assert answer.answer[0].name.labels == name.labels


def test_recursion_is_neither_offered_nor_refused() -> None:
    answer = ask("www.example.org")
    assert answer.flags & (Flag.RD | Flag.RA | Flag.AA) == Flag.RD | Flag.AA


@pytest.mark.parametrize("payload", [None, 512, 900, 4096])
def test_long_answers_are_truncated(payload: int | None) -> None:
    options = {} if payload is None else {"use_edns": 0, "payload": payload}
    wire = dns.message.make_query("big.example.org", "TXT", **options).to_wire()  # type: ignore[arg-type]
    answer = respond(wire)
    assert answer is not None
    assert len(answer) <= min(payload or 512, 1232)
    head = dns.message.from_wire(answer)
    assert head.flags & Flag.TC
    assert not head.answer
    whole = respond(wire, is_stream=True)
    assert whole is not None
    assert dns.message.from_wire(whole).answer[0].rdtype == RdataType.TXT


def test_a_referral_without_room_for_its_glue_is_truncated() -> None:
    assert ask("x.sub.example.org", use_edns=0).flags & Flag.TC
    wire = dns.message.make_query("x.sub.example.org", "A").to_wire()
    whole = respond(wire, is_stream=True)
    assert whole is not None
    head = dns.message.from_wire(whole)
    assert not head.flags & (Flag.TC | Flag.AA)
    assert sum(map(len, head.additional)) == 60


def test_any_brings_one_set() -> None:
    answer = ask("www.example.org", "ANY")
    assert [found.rdtype for found in answer.answer] == [RdataType.A]
