"""Signals as the wish to end what else would go on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Whether a signal has asked to end; before anything has begun it is an interruption."""

    def __init__(self) -> None:
        self.asked = False
        self.begun = False

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Take a signal."""
        self.asked = True
        if not self.begun:
            raise KeyboardInterrupt


@contextmanager
def stopping() -> Iterator[Stop]:
    """Take signals as the wish to end."""
    stop = Stop()
    former = {
        number: signal.signal(number, stop.ask)
        for number in _SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN  # as nohup sets it
    }
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
