"""Notes that observed programs take of packets (nfv/ebpf/include/observe.h), as they are read."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from nfv.dataplane.kernel.ring import Ring
from nfv.dataplane.observe.edits import Edits, commit
from nfv.ebpf.sources import constant
from nfv.traffic.link import ETHERNET_HEADER, VLAN_TAG

MAX_FRAME = constant("observe.h", "OBSERVE_FRAME")
"""Bytes of a frame that a note has room for."""

UNCOUNTED = constant("observe.h", "OBSERVE_UNCOUNTED")
"""As `Record.counter`: the function has not counted the packet by a rule."""

_MACS = ETHERNET_HEADER - 2  # bytes in front of a VLAN tag

HEAD = struct.Struct("=QQIIIIIIIHBB16s16s2s2s2sH12s6B6x")
"""struct observe_record, up to the frame."""


class Record(NamedTuple):
    """One note of a packet."""

    time: int  # CLOCK_MONOTONIC, nanoseconds
    packet: int  # the same for all notes of a packet, also across tail calls into other walks
    number: int  # of the place: in `Observed.notes`
    length: int  # of the frame, bytes; without a VLAN tag that is beside it
    captured: int  # bytes of it that are here
    segments: int  # frames on the wire that it stands for
    tag: int  # VLAN tag beside the frame: its protocol * 65536 + TCI; 0: none
    egress: int  # number of the port to leave by
    next_hop: int  # number of the adjacency that the last router chose
    counter: int  # place where the function has counted, or UNCOUNTED
    verdict: int  # enum nf_verdict
    reason: int  # enum nf_reason
    frame: bytes  # with what functions have edited so far

    @property
    def wire(self) -> bytes:
        """The frame as a wire has it: with the VLAN tag."""
        if not self.tag:
            return self.frame
        return self.frame[:_MACS] + self.tag.to_bytes(VLAN_TAG, "big") + self.frame[_MACS:]

    @property
    def wire_length(self) -> int:
        """Bytes of that frame, also of what was not captured."""
        return self.length + (VLAN_TAG if self.tag else 0)


_EDITS = len(Record._fields) - 1
"""Place in HEAD where the edited members begin."""

_EDITED = _EDITS + Edits._fields.index("edits")


class NoteRing(Ring):
    """The ring buffer that programs write notes to."""

    def records(self) -> Iterator[Record]:
        """The notes that are there now. A place is free again as soon as its note was given."""
        return map(decode, self.read())


def decode(data: bytes) -> Record:
    """A note from its bytes."""
    values = HEAD.unpack_from(data)
    frame = data[HEAD.size :]
    if values[_EDITED] and len(frame) > 1:
        frame = commit(frame, Edits._make(values[_EDITS:]))
    return Record._make((*values[:_EDITS], frame))
