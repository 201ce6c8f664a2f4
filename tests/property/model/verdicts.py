"""What a function says of a packet, and how it is counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from tests.property.model.packets import Packet


class Action(Enum):
    """What becomes of the packet."""

    NEXT = "on to the next function"
    DROP = "dropped"
    REJECT = "dropped, and the sender told"
    PUNT = "to the kernel of the function"
    FORWARD = "out of an interface of the function"


@dataclass(frozen=True)
class Verdict:
    """What a function says of a packet; `interface` is the one to leave by, if any."""

    action: Action
    reason: str = ""
    interface: str = ""


NEXT = Verdict(Action.NEXT)


def drop(reason: str) -> Verdict:
    """The packet ends here."""
    return Verdict(Action.DROP, reason)


def punt(reason: str) -> Verdict:
    """The packet is for the kernel."""
    return Verdict(Action.PUNT, reason)


Key = tuple[str, ...]
"""What is counted, named as in tests/functions/bench.py."""

Count = Callable[[Key, int], None]
"""Count a frame of so many bytes."""


class Bump(Protocol):
    """A function that stands inside chains.

    Whatever it changes of the packet it changes in the frame and in what was read from it.
    """

    def process(self, packet: Packet, forward: bool) -> Verdict:
        """Treat a packet that goes along the chain's path, or against it."""
