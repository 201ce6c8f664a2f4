"""How long a jiffy is, the unit in which programs measure time."""

from __future__ import annotations

import time

_CLOCK_MONOTONIC_COARSE = 6


def hz() -> int:
    """Jiffies a second: the coarse clock ticks with them."""
    return round(1 / time.clock_getres(_CLOCK_MONOTONIC_COARSE))
