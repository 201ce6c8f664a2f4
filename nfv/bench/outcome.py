"""What a test found out of one frame size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from nfv.bench.trial import Load, Trial


class Limit(Enum):
    """Why a rate is not higher."""

    LOSS = "loss"
    GENERATOR = "generator"  # it could not send more, as it shares a CPU with what it sends to
    ASKED = "asked"  # no more was asked for


class Better(Enum):
    """Which of two values of a figure is the better one."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"


FIGURES: Mapping[str, Better] = {
    "pps": Better.HIGHER,
    "bps": Better.HIGHER,
    "ndr_pps": Better.HIGHER,
    "pdr_pps": Better.HIGHER,
    "stddev_pps": Better.NEITHER,
    "cps": Better.HIGHER,
    "connections": Better.HIGHER,
    "burst_frames": Better.HIGHER,
    "burst_seconds": Better.NEITHER,
    "load_pps": Better.NEITHER,
    "loss": Better.LOWER,
    "least": Better.NEITHER,
    "mean": Better.LOWER,
    "p50": Better.LOWER,
    "p99": Better.LOWER,
    "p999": Better.NEITHER,
    "most": Better.NEITHER,
}
"""All figures: rates a second, times in seconds, loss as a share. Rare events are not judged."""

DURATIONS = ("least", "mean", "p50", "p99", "p999", "most")
"""Figures that are times of frames."""


@dataclass(frozen=True)
class Outcome:
    """A test of one frame size; `load` is a share of the throughput, for tests at a part of it."""

    test: str
    size: str
    figures: Mapping[str, float]
    trials: Sequence[Trial]
    limit: Limit | None = None
    load: float | None = None


class Measure(Protocol):
    """Something that makes a trial."""

    def __call__(self, load: Load) -> Trial: ...
