"""What is said of repeated measurements, and figures that are no packet rates. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

NOISY = 0.05
"""Spread, relative to the median, from which on a figure is marked as noisy."""


@dataclass(frozen=True)
class Spread:
    """Median of some values, and between which the middle half of them lies."""

    median: float
    low: float
    high: float

    @property
    def noisy(self) -> bool:
        """Whether the values lie so far apart that the median says little."""
        return self.high - self.low > NOISY * abs(self.median)


@dataclass(frozen=True)
class Figure:
    """A cell of a table that is not of packet rates: repeated values in some unit."""

    table: str
    row: str
    column: str
    unit: str
    values: tuple[float, ...]


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one value."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(statistics.median(values), low, high)


def ratio(values: Sequence[float], base: Sequence[float]) -> Spread:
    """The spread of the ratios of what was measured in the same round.

    What slows the whole machine down for a while, slows both.
    """
    return spread([value / other for value, other in zip(values, base, strict=True)])


def percentile(counts: Sequence[int], share: float) -> int:
    """The index up to which `share` of all that was counted lies; the last if nothing was."""
    wanted = share * sum(counts)
    seen = 0
    for index, count in enumerate(counts):
        seen += count
        if seen >= wanted and count:
            return index
    return len(counts) - 1
