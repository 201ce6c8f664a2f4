"""The frames of several captures, on one clock: what will be sent where, in order."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from nfv.errors import InputError
from nfv.traffic import capture, link
from nfv.traffic.link import Macs
from nfv.traffic.pace import Original, Pace
from nfv.traffic.packet import Packet
from nfv.traffic.rewrite import Rewriting

TRUNCATED = "cut by the capture's snap length"
TOO_LONG = "longer than the MTU allows"
NO_FRAME = "too short for their headers"


@dataclass(frozen=True)
class Source:
    """A capture, and what becomes of its frames before they enter at a SAP.

    `longest` is the length in bytes of the longest frame that the SAP takes.
    """

    sap: str
    path: Path
    longest: int
    macs: Macs
    rewriting: Rewriting


@dataclass
class Survey:
    """What a capture holds for a replay, found before anything is sent.

    Moments are in nanoseconds since the epoch, lengths in bytes.
    """

    frames: int = 0
    bytes: int = 0
    stored: int = 0  # bytes of all frames in the store
    longest: int = 0
    first: int = 0
    last: int = 0
    timed: bool = True
    skipped: Counter[str] = field(default_factory=Counter)  # packets, by reason


class Due(NamedTuple):
    """A frame, its source, and when it is due, in nanoseconds after the first of all."""

    due: int
    source: int
    data: bytes


def survey(source: Source, size: Callable[[int], int]) -> Survey:
    """Read a capture once; `size` is what a frame of some length takes in the store.

    Raises `InputError` if the file is damaged, or has nothing that can be sent.
    """
    found = Survey()
    for packet in capture.read(source.path):
        if packet.link not in link.KNOWN:
            raise InputError(
                f"{source.path} has packets of link type {packet.link}, which are no frames",
                "capture on an Ethernet interface, or on all of them: tcpdump -i any",
            )
        data = _frame(source, packet)
        if isinstance(data, str):
            found.skipped[data] += 1
            continue
        if packet.moment is None:
            found.timed = False
        elif found.frames == 0:
            found.first = found.last = packet.moment
        else:
            found.first = min(found.first, packet.moment)
            found.last = max(found.last, packet.moment)
        found.frames += 1
        found.bytes += len(data)
        found.stored += size(len(data))
        found.longest = max(found.longest, len(data))
    if not found.frames:
        raise InputError(f"{source.path} has no packet that can be sent", _why(found.skipped))
    return found


def _why(skipped: Counter[str]) -> str | None:
    """What was wrong with all of them."""
    return ", ".join(f"{count:,} {reason}" for reason, count in skipped.items()) or None


def _frame(source: Source, packet: Packet) -> bytes | str:
    """The packet as a frame, or why it cannot be sent."""
    if len(packet.data) < packet.whole:
        return TRUNCATED
    data = link.frame(packet.link, packet.data, source.macs)
    if data is None:
        return NO_FRAME
    return data if len(data) <= source.longest else TOO_LONG


class Feed:
    """All frames of a replay, merged by time. `align` lets each capture begin at once."""

    def __init__(
        self, sources: Sequence[Source], surveys: Sequence[Survey], pace: Pace, align: bool
    ) -> None:
        self.sources = sources
        self.surveys = surveys
        self.pace = pace
        first = min(one.first for one in surveys)
        self._origins = [one.first if align else first for one in surveys]
        self.frames = sum(one.frames for one in surveys)
        self.bytes = sum(one.bytes for one in surveys)
        self.span = max(
            one.last - origin for one, origin in zip(surveys, self._origins, strict=True)
        )
        self.period = pace.period(self.frames, self.bytes * 8, self.span)
        untimed = [s.path for s, found in zip(sources, surveys, strict=True) if not found.timed]
        if untimed and isinstance(pace, Original):
            raise InputError(
                f"{untimed[0]} has packets without time",
                "replay it at a rate: --pps, --bps or --topspeed",
            )

    def once(self, start: int = 0) -> Iterator[Due]:
        """The frames of one pass, which begins at `start`; none is due before the one before."""
        latest = bits = 0
        due = self.pace.due
        for number, (moment, source, data) in enumerate(self._merged()):
            wanted = due(number, bits, moment)
            if wanted > latest:
                latest = wanted
            bits += len(data) * 8
            yield Due(start + latest, source, data)

    def passes(self, count: int | None) -> Iterator[Due]:
        """The frames of so many passes, one after the other; None is for ever."""
        numbers = itertools.count() if count is None else range(count)
        for number in numbers:
            yield from self.once(number * self.period)

    def _merged(self) -> Iterator[tuple[int, int, bytes]]:
        """Frames by the time when they were captured, after the first of all; with their source."""
        streams = [self._frames(number) for number in range(len(self.sources))]
        if len(streams) == 1:
            return streams[0]
        return heapq.merge(*streams, key=itemgetter(0))

    def _frames(self, number: int) -> Iterator[tuple[int, int, bytes]]:
        source, origin = self.sources[number], self._origins[number]
        rewriting = source.rewriting
        for packet in capture.read(source.path):
            data = _frame(source, packet)
            if isinstance(data, bytes):
                moment = 0 if packet.moment is None else packet.moment - origin
                yield moment, number, rewriting.apply(data)
