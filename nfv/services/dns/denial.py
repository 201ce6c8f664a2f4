"""Negative answers of a zone: their SOA record, ready for any name, pointers and all."""

from __future__ import annotations

import struct

import dns.renderer
from dns.name import Name
from dns.rdataclass import RdataClass
from dns.rdataset import Rdataset
from dns.rdatatype import RdataType

_POINTER = struct.Struct("!H")
_POINTER_BITS = 0xC0
_HEADER_SIZE = 12
_KIND_SIZE = 4


class Denial:
    """The authority section that says that a name or its records do not exist (RFC 2308)."""

    def __init__(self, origin: Name, soa: Rdataset) -> None:
        wire = origin.to_wire()
        assert wire is not None
        self._origin = len(wire)
        one, other = (_rendered(origin, soa, length) for length in (1, 2))
        self._data = one
        # Whatever differs where the name before the origin is a byte longer is a pointer.
        self._pointers = [
            (at, value)
            for at, (value,) in ((at, _POINTER.unpack_from(one, at)) for at in range(len(one) - 1))
            if one[at] >= _POINTER_BITS and _POINTER.unpack_from(other, at)[0] == value + 1
        ]

    def after(self, name: int) -> bytes:
        """The section behind a question whose name, within the zone, has so many bytes."""
        shift = name - self._origin - 2
        made = bytearray(self._data)
        for at, value in self._pointers:
            _POINTER.pack_into(made, at, value + shift)
        return bytes(made)


def _rendered(origin: Name, soa: Rdataset, length: int) -> bytes:
    """The section as the library writes it behind a name with one label before the origin.

    No name of a SOA record ends with that label, so nothing points to it.
    """
    name = Name((b"\0" * length, *origin.labels))
    renderer = dns.renderer.Renderer()
    renderer.add_question(name, RdataType.A, RdataClass.IN)
    renderer.add_rdataset(dns.renderer.AUTHORITY, origin, soa)
    wire = name.to_wire()
    assert wire is not None
    return bytes(renderer.get_wire()[_HEADER_SIZE + len(wire) + _KIND_SIZE :])
