"""What is said of repeated measurements: the median, and how far they lie apart. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of some values."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def ratio(values: Sequence[float], base: Sequence[float]) -> Spread:
    """The spread of the ratios of what was measured in the same round.

    What slows the whole machine down for a while, slows both.
    """
    return spread([value / other for value, other in zip(values, base, strict=True)])
