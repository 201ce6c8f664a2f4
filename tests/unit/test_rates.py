"""Rates as they are shown, and what counts as dropped."""

from __future__ import annotations

import pytest

from nfv.cli import counts, rates
from nfv.dataplane.statistics import Count, PortCounts, dropped


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.014, "0.01"),
        (7, "7"),
        (7.5, "7.50"),
        (12.34, "12.3"),
        (99.96, "100"),
        (999.4, "999"),
        (999.6, "1.00k"),
        (1000, "1k"),
        (1250, "1.25k"),
        (480_000_000, "480M"),
        (1.5e9, "1.50G"),
        (2.5e16, "25000T"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert rates.scaled(value) == text


def test_rates_are_by_the_second() -> None:
    unit = counts.per_second(2.0)
    assert unit.cells(Count(3000, 250)) == ("1.50k", "1k")
    assert unit.plain(Count(3000, 250)) == {"pps": 1500.0, "bps": 1000.0}


def test_what_goes_on_is_not_dropped() -> None:
    going_on = {"forwarded": Count(1, 10), "local": Count(2, 20), "answered": Count(4, 40)}
    gone = {"rule": Count(8, 80), "rejected": Count(16, 160), "malformed": Count(32, 320)}
    assert dropped({**going_on, **gone}) == Count(56, 560)
    assert PortCounts("lan", {**going_on, **gone}, Count()).dropped == Count(56, 560)
