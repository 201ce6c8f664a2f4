"""Queries without anything unusual, which are most: read from their bytes, without the library."""

from __future__ import annotations

import struct

from dns.flags import Flag
from dns.name import Name
from dns.rdataclass import RdataClass
from dns.rdatatype import RdataType

_HEADER = struct.Struct("!6H")
_KIND = struct.Struct("!2H")
_OPT = struct.Struct("!BHHBBHH")  # owner, type, payload, code, version, flags, length (RFC 6891)
_PLAIN_FLAGS = Flag.RD | Flag.AD | Flag.CD
_DO = 0x8000
_MAX_LABEL = 63
_MAX_NAME = 255
_TYPES = {
    int(one): one for one in RdataType if one not in (RdataType.NONE, RdataType.OPT) and one < 128
}

Plain = tuple[int, int, Name, RdataType, bytes, int | None, bool]
"""Number, flags, name, type, the question, bytes that the client takes if it has EDNS, DO."""


def read_plain(wire: bytes) -> Plain | None:
    """What a query of class IN asks; None for whatever the library has to read."""
    if len(wire) < _HEADER.size:
        return None
    ident, flags, questions, answers, authority, additional = _HEADER.unpack_from(wire)
    if questions != 1 or answers or authority or additional > 1 or flags & ~_PLAIN_FLAGS:
        return None
    labels = _labels(wire)
    if labels is None:
        return None
    end = _HEADER.size + sum(map(len, labels)) + len(labels)
    if len(wire) != end + _KIND.size + (_OPT.size if additional else 0):
        return None
    number, rdclass = _KIND.unpack_from(wire, end)
    rdtype = _TYPES.get(number)
    if rdtype is None or rdclass != RdataClass.IN:
        return None
    payload, wants_dnssec = None, False
    if additional:
        owner, kind, payload, code, version, bits, length = _OPT.unpack_from(wire, end + _KIND.size)
        if owner or kind != RdataType.OPT or code or version or length:
            return None
        wants_dnssec = bool(bits & _DO)
    question = wire[_HEADER.size : end + _KIND.size]
    return ident, flags, Name(labels), rdtype, question, payload, wants_dnssec


def _labels(wire: bytes) -> list[bytes] | None:
    """Those of the question's name, the root's too; None if they are not there or compressed."""
    at, labels = _HEADER.size, []
    last = min(len(wire), at + _MAX_NAME)
    while at < last:
        length = wire[at]
        if length > _MAX_LABEL:
            return None
        at += 1
        labels.append(wire[at : at + length])
        if not length:
            return labels
        at += length
    return None
