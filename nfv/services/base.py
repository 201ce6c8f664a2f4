"""What every service is: it takes frames, answers requests, and takes over configurations.

The module that a function names as its `service` has a function `start(place)` which returns its
`Service`. It runs in a process of its own (nfv.services.worker), under an asyncio loop, and may be
killed at any moment: what must not be lost is on disk before it is acknowledged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfv.chain.topology import Topology
from nfv.services.frames import Frame

Answer = Mapping[str, object]

Request = Callable[[Mapping[str, Any]], Answer | Awaitable[Answer]]
"""Answers a request of the control socket, given as its JSON object, with another.

Raises `NfvError` for what it refuses.
"""


@dataclass(frozen=True)
class Place:
    """Where a service runs, and its ways out."""

    topology: str
    function: str
    data: Path  # a directory of its own, which outlives a restart of the machine
    maps: Path  # where the function's maps are pinned, by name without prefix
    send: Callable[[int, bytes], None]  # stage and frame, from the Ethernet header on
    log: Callable[[str, str], None]  # level ("info", "warning", "error") and message


class Service(ABC):
    """The service of one function. All its methods are called in the loop's thread."""

    @abstractmethod
    def configure(self, topology: Topology) -> None:
        """Take over what a topology says of the function; called before the first frame as well.

        What is under way goes on. Raises `NfvError` if it cannot; then the former holds.
        """

    @abstractmethod
    def receive(self, frames: Sequence[Frame]) -> None:
        """Treat frames: send each on (`Place.send` with its stage), answer it, or drop it."""

    def status(self) -> Answer:
        """What `nfvctl inspect` shows of the service: figures by name."""
        return {}

    def requests(self) -> Mapping[str, Request]:
        """Requests that it answers on its control socket, by name."""
        return {}

    def namespace(self) -> int | None:
        """A descriptor of the network namespace with its addresses, if it has one."""
        return None

    @abstractmethod
    async def close(self) -> None:
        """End in order. Not called when the process is killed."""
