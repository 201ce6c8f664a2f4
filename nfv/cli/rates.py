"""Rates as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nfv.dataplane.statistics import Count

_PREFIXES = ("", "k", "M", "G", "T")


def scaled(value: float) -> str:
    """A number with three significant digits and a decimal prefix: 7, 1.25k, 480M."""
    for prefix in _PREFIXES[:-1]:
        if value < 999.5:
            return f"{value:.{_decimals(value)}f}{prefix}"
        value /= 1000
    return f"{value:.{_decimals(value)}f}{_PREFIXES[-1]}"


def _decimals(value: float) -> int:
    if value == int(value) or value >= 99.95:
        return 0
    return 1 if value >= 9.995 else 2


def packets(count: Count, seconds: float) -> str:
    """Packets a second."""
    return scaled(count.packets / seconds)


def bits(count: Count, seconds: float) -> str:
    """Bits a second of Ethernet frames without FCS."""
    return scaled(count.bytes * 8 / seconds)
