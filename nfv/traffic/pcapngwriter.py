"""Writing pcapng files (draft-ietf-opsawg-pcapng): a section, an interface for each place.

Our own: Scapy writes microseconds, and neither what an interface is nor what was lost.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO

from nfv.traffic.link import ETHERNET

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_VERSION = (1, 0)
_UNKNOWN_LENGTH = -1  # of the section
_NANOSECONDS = 9  # the clock's unit is 10 ** -9 seconds
_FRAMING = 12  # bytes of a block's type and of its length, which stands at both ends

_END, _COMMENT = 0, 1
_OS, _APPLICATION = 3, 4  # of a section
_NAME, _DESCRIPTION, _RESOLUTION, _FILTER = 2, 3, 9, 11  # of an interface
_FLAGS, _LOST, _VERDICT = 2, 4, 7  # of a packet
_START, _STOP, _DROPPED, _ACCEPTED, _DELIVERED = 2, 3, 5, 6, 8  # of statistics
_FILTER_TEXT = b"\0"  # in front of a filter in libpcap's syntax

Options = Iterable[tuple[int, bytes]]


class Flow(IntEnum):
    """Which way a packet goes at its interface (epb_flags)."""

    IN = 1
    OUT = 2


class Verdict(IntEnum):
    """Whose verdict on a packet it is (epb_verdict)."""

    TC = 1
    XDP = 2


@dataclass(frozen=True)
class Interface:
    """A place of capture. `longest` is how many bytes are kept of a packet."""

    name: str
    description: str
    longest: int
    filter: str = ""  # libpcap's syntax


@dataclass(frozen=True)
class Counts:
    """Packets at an interface, from a time to another in nanoseconds since the epoch."""

    began: int
    ended: int
    lost: int
    written: int  # those that the filter has let pass


class Writer:
    """Writes to a file or a pipe, which has all of it after `flush`."""

    def __init__(self, file: BinaryIO, interfaces: Sequence[Interface], application: str) -> None:
        self._file = file
        self._begin(application)
        for interface in interfaces:
            self._declare(interface)
        self.flush()

    def flush(self) -> None:
        self._file.flush()

    def packet(
        self,
        interface: int,
        moment: int,
        data: bytes,
        whole: int,
        flow: Flow,
        *,
        comment: str = "",
        lost: int = 0,
        verdict: tuple[Verdict, int] | None = None,
    ) -> None:
        """A packet of `whole` bytes at a time in nanoseconds since the epoch.

        `lost` are those lost at the interface since the last one that was written.
        """
        options = [(_FLAGS, struct.pack("=I", flow))]
        if comment:
            options.append((_COMMENT, comment.encode()))
        if lost:
            options.append((_LOST, struct.pack("=Q", lost)))
        if verdict:
            options.append((_VERDICT, struct.pack("=BQ", *verdict)))
        head = struct.pack("=5I", interface, moment >> 32, moment & 0xFFFFFFFF, len(data), whole)
        self._block(_PACKET, head + data, options)

    def statistics(self, interface: int, counts: Counts) -> None:
        """What was counted at an interface; the last that is said of it holds."""
        head = struct.pack("=3I", interface, counts.ended >> 32, counts.ended & 0xFFFFFFFF)
        numbers = {
            _DROPPED: counts.lost,
            _ACCEPTED: counts.written,
            _DELIVERED: counts.written,
        }
        times = {_START: counts.began, _STOP: counts.ended}
        options = [(code, struct.pack("=II", t >> 32, t & 0xFFFFFFFF)) for code, t in times.items()]
        options += [(code, struct.pack("=Q", number)) for code, number in numbers.items()]
        self._block(_STATISTICS, head, options)

    def _begin(self, application: str) -> None:
        head = struct.pack("=IHHq", _BYTE_ORDER_MAGIC, *_VERSION, _UNKNOWN_LENGTH)
        names = [(_OS, sys.platform.encode()), (_APPLICATION, application.encode())]
        self._block(_SECTION, head, names)

    def _declare(self, interface: Interface) -> None:
        options = [
            (_NAME, interface.name.encode()),
            (_DESCRIPTION, interface.description.encode()),
            (_RESOLUTION, bytes([_NANOSECONDS])),
        ]
        if interface.filter:
            options.append((_FILTER, _FILTER_TEXT + interface.filter.encode()))
        self._block(_INTERFACE, struct.pack("=HHI", ETHERNET, 0, interface.longest), options)

    def _block(self, kind: int, body: bytes, options: Options) -> None:
        content = _padded(body) + b"".join(_option(code, value) for code, value in options)
        content += _option(_END, b"")
        length = struct.pack("=I", len(content) + _FRAMING)
        self._file.write(struct.pack("=I", kind) + length + content + length)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("=HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    """To a multiple of four bytes."""
    return data + bytes(-len(data) % 4)
