"""Waiting for what comes without an event to wait for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE = 0.02  # seconds between two looks


def until(found: Callable[[], T], seconds: float) -> T:
    """What there is, once there is something; looks for it again for so long."""
    deadline = time.monotonic() + seconds
    while not (there := found()):
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(_PAUSE)
    return there
