"""Queries from their bytes, and answers to theirs; whatever is malformed is refused or ignored.

RFC 1035 section 4, EDNS (RFC 6891), one question a query (RFC 9619), sizes of RFC 9715.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.rdatatype
import dns.renderer
import dns.rrset
import dns.tsig
from dns.edns import GenericOption, OptionType
from dns.flags import Flag
from dns.name import Name
from dns.rcode import Rcode
from dns.rdataclass import RdataClass
from dns.rdataset import Rdataset
from dns.rdatatype import RdataType
from dns.rdtypes.ANY.OPT import OPT

from nfv.services.dns.denial import Denial
from nfv.services.dns.plain import Plain, read_plain
from nfv.services.dns.signatures import UNVERIFIED, Keys, distrust

MAX_UDP = 1232
"""Bytes of an answer over UDP, and what we say that we take: no fragments (RFC 9715)."""

_FUDGE = 300  # seconds by which clocks may differ (RFC 8945, section 10)
_SIGNATURE_BYTES = 400  # more than a TSIG record has
_PLAIN_UDP = 512  # without EDNS
_MAX_TCP = 65535
_OPT_BYTES = 11  # of an OPT record without options
_OPTION_BYTES = 4  # in front of the data of an option
_HEADER = struct.Struct("!HHHHHH")
_OPT = struct.Struct("!BHHIH")  # owner, type, payload, code and flags, length of the options
_RECORD = struct.Struct("!HHHIH")  # pointer to the owner, type, class, TTL, length of the data
_AT_QUESTION = 0xC00C  # points to the question's name (RFC 1035, section 4.1.4)
_NAMELESS = frozenset({RdataType.A, RdataType.AAAA, RdataType.TXT})  # nothing to be compressed
_KIND_SIZE = 4  # type and class
_OPCODE_MASK = 0x7800
_COPIED = int(Flag.RD | Flag.CD)  # of a query's flags, into the answer's

_NO_QUESTION = frozenset({RdataType.OPT, RdataType.TSIG, RdataType.TKEY, RdataType(0)})
_OBSOLETE = frozenset({RdataType.MAILA, RdataType.MAILB})

Bake = Callable[[bytes], bytes]
"""The cookie to answer with for a client's part of it."""

Records = tuple[Name, Rdataset]
"""A record set with its owner."""


@dataclass(frozen=True)
class Signature:
    """How a query was signed, and its answer is to be (RFC 8945)."""

    key: dns.tsig.Key
    mac: bytes


@dataclass(frozen=True)
class Query:
    """A question that can be answered."""

    id: int
    flags: int
    name: Name
    type: RdataType
    rdclass: RdataClass
    limit: int  # bytes of the answer
    has_edns: bool = False
    wants_dnssec: bool = False  # the DO bit (RFC 3225)
    is_stream: bool = False
    signature: Signature | None = None
    serial: int | None = None  # that the asker of an IXFR has (RFC 1995)
    cookie: bytes = b""  # to be answered with, if the client has sent its part (RFC 7873)
    question: bytes = b""  # as it stands in the message; empty where that is not known

    @property
    def wants_recursion(self) -> bool:
        return bool(self.flags & Flag.RD)

    @property
    def opt_bytes(self) -> int:
        """Of the OPT record in the answer."""
        if not self.has_edns:
            return 0
        return _OPT_BYTES + (_OPTION_BYTES + len(self.cookie) if self.cookie else 0)

    @property
    def wire_name(self) -> bytes:
        """The name's bytes, in the case of the query."""
        if self.question:
            return self.question[:-_KIND_SIZE]
        wire = self.name.to_wire()
        assert wire is not None
        return wire

    @property
    def disables_checking(self) -> bool:
        """The CD bit (RFC 4035, section 3.2.2)."""
        return bool(self.flags & Flag.CD)


@dataclass
class Reply:
    """What to answer; `glue` must be there or the answer is truncated (RFC 9471)."""

    rcode: Rcode = Rcode.NOERROR
    flags: int = 0
    answer: list[Records] = field(default_factory=list)
    authority: list[Records] = field(default_factory=list)
    glue: list[Records] = field(default_factory=list)
    additional: list[Records] = field(default_factory=list)  # as far as there is room
    denial: Denial | None = None  # what `authority` is, for any name of the zone


def read(
    wire: bytes,
    keys: Keys = MappingProxyType({}),
    *,
    is_stream: bool = False,
    bake: Bake | None = None,
) -> Query | bytes | None:
    """The query in a message; or the answer to one that is wrong; or None: no answer.

    Without `bake`, cookies are ignored.
    """
    plain = read_plain(wire)
    if plain is not None:
        return _query_of(plain, is_stream)
    if len(wire) < _HEADER.size:
        return None
    ident, flags, *counts = _HEADER.unpack_from(wire)
    if flags & Flag.QR:
        return None
    if flags & _OPCODE_MASK:
        return refuse(wire, Rcode.NOTIMP)
    if counts[0] != 1:
        return refuse(wire, Rcode.FORMERR)
    try:
        message = dns.message.from_wire(wire, keyring=dict(keys))
        question = message.question[0]
        opt = message.opt
    except UNVERIFIED as error:
        return distrust(wire, error, keys) or refuse(wire, Rcode.FORMERR)
    except Exception:  # the library raises all kinds for what is malformed
        return refuse(wire, Rcode.FORMERR)
    query = Query(
        ident,
        flags,
        question.name,
        question.rdtype,
        question.rdclass,
        _limit(message.payload, is_stream),
        opt is not None,
        bool(message.ednsflags & dns.flags.DO),
        is_stream,
        _signature(message),
        _serial(message),
        _cookie(message, bake) if bake else b"",
    )
    rcode = _problem(query, message)
    return query if rcode is None else render(query, Reply(rcode))


def _query_of(plain: Plain, is_stream: bool) -> Query:
    ident, flags, name, rdtype, question, payload, wants_dnssec = plain
    return Query(
        ident,
        flags,
        name,
        rdtype,
        RdataClass.IN,
        _limit(payload or 0, is_stream),
        payload is not None,
        wants_dnssec,
        is_stream,
        question=question,
    )


def _signature(message: dns.message.Message) -> Signature | None:
    return Signature(message.keyring, message.mac) if message.mac else None


def _cookie(message: dns.message.Message, bake: Bake) -> bytes:
    """What to answer with; one cookie suffices (RFC 7873, section 5.2)."""
    for option in message.options:
        if isinstance(option, dns.edns.CookieOption):
            return bake(option.client)
    return b""


def _serial(message: dns.message.Message) -> int | None:
    for found in message.authority:
        if found.rdtype == RdataType.SOA:
            return int(found[0].serial)
    return None


def _limit(payload: int, is_stream: bool) -> int:
    if is_stream:
        return _MAX_TCP
    return min(max(_PLAIN_UDP, payload), MAX_UDP)


def _problem(query: Query, message: dns.message.Message) -> Rcode | None:
    """Why a query that could be read is not answered."""
    if message.edns > 0:
        return Rcode.BADVERS
    if message.answer or (message.authority and query.type != RdataType.IXFR):
        return Rcode.FORMERR
    if query.type in _NO_QUESTION:
        return Rcode.FORMERR
    if query.type in _OBSOLETE:
        return Rcode.NOTIMP
    if query.rdclass != RdataClass.IN:
        return Rcode.REFUSED
    return None


def refuse(wire: bytes, rcode: Rcode) -> bytes:
    """An answer without a question, to what has none that could be read."""
    ident, flags = _HEADER.unpack_from(wire)[:2]
    kept = flags & (_OPCODE_MASK | Flag.RD)
    return _HEADER.pack(ident, Flag.QR | kept | rcode, 0, 0, 0, 0)


def render(query: Query, reply: Reply) -> bytes:
    """The bytes of an answer, truncated where it is too long (RFC 2181, section 9)."""
    flags = int(Flag.QR | reply.flags) | query.flags & _COPIED | reply.rcode & 0xF
    if query.question and query.signature is None:
        made = _render_plain(query, reply, flags)
        if made is not None and len(made) <= query.limit:
            return made
    try:
        renderer = _begin(query, flags)
        _write(renderer, dns.renderer.ANSWER, reply.answer)
        _write(renderer, dns.renderer.AUTHORITY, reply.authority)
        _write(renderer, dns.renderer.ADDITIONAL, reply.glue)
        _write_fitting(renderer, reply.additional)
    except dns.exception.TooBig:
        renderer = _begin(query, flags | Flag.TC)
    _finish(renderer, query, reply.rcode)
    if query.signature is not None:
        key = query.signature.key
        renderer.add_tsig(key.name, key, _FUDGE, query.id, 0, b"", query.signature.mac)
    return bytes(renderer.get_wire())


def _render_plain(query: Query, reply: Reply, flags: int) -> bytes | None:
    """The bytes that the library makes, where that is easy: a denial, or one set without names."""
    if reply.denial is not None:
        counts, section = (0, 1), reply.denial.after(len(query.wire_name))
    elif len(reply.answer) == 1 and not (reply.authority or reply.glue or reply.additional):
        owner, found = reply.answer[0]
        if owner is not query.name or found.rdtype not in _NAMELESS:
            return None
        counts, section = (len(found), 0), b"".join(_of_question(found))
    else:
        return None
    head = _HEADER.pack(query.id, flags, 1, *counts, int(query.has_edns))
    return head + query.question + section + _plain_opt(query)


def _of_question(found: Rdataset) -> Iterator[bytes]:
    """The records of a set whose owner is the question's name."""
    for rdata in found:
        data = rdata.to_wire()
        assert data is not None
        yield _RECORD.pack(_AT_QUESTION, found.rdtype, found.rdclass, found.ttl, len(data)) + data


def _plain_opt(query: Query) -> bytes:
    """The same as `_opt`, for an answer without high bits in its code."""
    if not query.has_edns:
        return b""
    option = struct.pack("!HH", OptionType.COOKIE, len(query.cookie)) + query.cookie
    option = option if query.cookie else b""
    bits = dns.flags.DO if query.wants_dnssec else 0
    return _OPT.pack(0, RdataType.OPT, MAX_UDP, bits, len(option)) + option


def _finish(renderer: dns.renderer.Renderer, query: Query, rcode: Rcode) -> None:
    """What stands behind the records."""
    renderer.release_reserved()
    if query.has_edns:
        renderer.add_opt(_opt(query, rcode))
    renderer.write_header()


class Sequel:
    """Several messages that together answer one query, each signed if that is (RFC 8945, 5.3.1)."""

    def __init__(self, query: Query, size: int) -> None:
        """`size` is that of a message at most, in bytes."""
        self._query = replace(query, limit=size)
        self._context: Any = None
        self._renderer = self._begin()

    def add(self, name: Name, found: Rdataset) -> None:
        """Raises `TooBig` of the library if the message has no room: then end it."""
        self._renderer.add_rdataset(dns.renderer.ANSWER, name, found, want_shuffle=False)

    def end(self) -> bytes:
        """The message; another begins."""
        renderer, query = self._renderer, self._query
        _finish(renderer, query, Rcode.NOERROR)
        if query.signature is not None:
            key = query.signature.key
            self._context = renderer.add_multi_tsig(
                self._context, key.name, key, _FUDGE, query.id, 0, b"", query.signature.mac
            )
        self._renderer = self._begin()
        return bytes(renderer.get_wire())

    def _begin(self) -> dns.renderer.Renderer:
        return _begin(self._query, Flag.QR | Flag.AA)


def _begin(query: Query, flags: int) -> dns.renderer.Renderer:
    renderer = dns.renderer.Renderer(query.id, flags, query.limit)
    reserved = query.opt_bytes
    if query.signature is not None:
        reserved += _SIGNATURE_BYTES
    renderer.reserve(reserved)
    renderer.add_question(query.name, query.type, query.rdclass)
    return renderer


def _write(renderer: dns.renderer.Renderer, section: int, sets: Sequence[Records]) -> None:
    for name, found in sets:
        renderer.add_rdataset(section, name, found, want_shuffle=False)


def _write_fitting(renderer: dns.renderer.Renderer, sets: Sequence[Records]) -> None:
    """What may be left out (RFC 2181, section 9)."""
    for found in sets:
        try:
            _write(renderer, dns.renderer.ADDITIONAL, [found])
        except dns.exception.TooBig:
            return


def _opt(query: Query, rcode: Rcode) -> dns.rrset.RRset:
    """Our EDNS record: version 0, the code's high bits, DO as it came (RFC 3225), a cookie."""
    flags = (rcode >> 4) << 24 | (dns.flags.DO if query.wants_dnssec else 0)
    found = dns.rrset.RRset(dns.name.root, RdataClass(MAX_UDP), RdataType.OPT)
    options = [GenericOption(OptionType.COOKIE, query.cookie)] if query.cookie else []
    found.add(OPT(MAX_UDP, RdataType.OPT, options), flags)
    return found
