"""A packet of a capture file, and what is wrong with a file."""

from __future__ import annotations

from typing import NamedTuple

MAX_PACKET = 262144
"""Bytes of the longest packet that a capture holds (MAXIMUM_SNAPLEN of libpcap)."""


class Packet(NamedTuple):
    """One packet of a capture.

    `moment` is in nanoseconds since the epoch, None if the file does not say. `link` is the type of
    its link layer (LINKTYPE_*), `whole` its length in bytes on the wire.
    """

    moment: int | None
    link: int
    data: bytes
    whole: int


class Damage(Exception):
    """A capture that contradicts itself, at a byte."""

    def __init__(self, what: str, place: int) -> None:
        super().__init__(what)
        self.what = what
        self.place = place
