"""One trial: what is asked for, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FCS = 4
"""Bytes of the frame check sequence, which rates in bits count and frames in memory are without."""

ON_TIME = 0.995
"""The share of the rate asked for from which it counts as offered."""


@dataclass(frozen=True)
class Load:
    """What one trial asks for.

    `rate` in frames a second, None for as fast as possible; after `seconds` or `frames`, whichever
    is reached first, it ends. Every `sample`th frame is timed, since looking at the clock takes as
    long as a lookup in a hash map.
    """

    seconds: float
    rate: float | None = None
    frames: int | None = None
    sample: int = 17  # a prime, so that it is not the same flows again and again

    @property
    def intended(self) -> int | None:
        """Frames to send, None if as many as possible."""
        wanted = None if self.rate is None else max(1, round(self.rate * self.seconds))
        known = [count for count in (wanted, self.frames) if count is not None]
        return min(known) if known else None


@dataclass(frozen=True)
class Latency:
    """From when a frame was due to when it arrived, in seconds; percentiles 3 % too high at most.

    `histogram` has the upper end of each bucket that is not empty, and how many are in it.
    """

    timed: int
    least: float
    mean: float
    p50: float
    p99: float
    p999: float
    most: float
    histogram: Sequence[tuple[float, int]]


@dataclass(frozen=True)
class Hop:
    """A place on the way: packets that were dropped there, by reason."""

    place: str
    reason: str
    packets: int


@dataclass(frozen=True)
class Trial:
    """What came of a load. Bytes are those of frames without FCS."""

    load: Load
    sent: int
    sent_bytes: int
    seconds: float  # from the first frame sent to the last
    worst: float  # seconds by which a frame was sent late at most
    received: int  # each counted once
    received_bytes: int
    duplicates: int
    reordered: int
    late: int  # of the trial before
    latency: Latency | None
    entered: int  # packets that nfvctl's counters saw come in at one SAP, whoever sent them
    left: int  # and leave by the other
    hops: Sequence[Hop]

    @property
    def lost(self) -> int:
        """Frames sent that did not arrive."""
        return self.sent - self.received

    @property
    def unsent(self) -> int:
        """Frames that the generator should have sent in time, and did not."""
        return max(0, (self.load.intended or self.sent) - self.sent)

    @property
    def loss(self) -> float:
        """Share of the frames sent that did not arrive."""
        return self.lost / self.sent if self.sent else 0.0

    @property
    def valid(self) -> bool:
        """Whether the rate asked for was offered: only then a trial says what passes at it."""
        return self.unsent == 0

    @property
    def passed(self) -> bool:
        """Whether all was offered, and all arrived."""
        return self.valid and self.sent > 0 and self.lost == 0

    @property
    def offered(self) -> float:
        """Frames a second that were sent; there is one gap less than there are frames."""
        return (self.sent - 1) / self.seconds if self.seconds else 0.0

    @property
    def forwarded(self) -> float:
        """Frames a second that arrived, while as many were offered as were."""
        return self.offered * (1 - self.loss)

    @property
    def frame_bits(self) -> float:
        """Bits of a frame on average, with FCS."""
        return (self.sent_bytes / self.sent + FCS) * 8 if self.sent else 0.0
