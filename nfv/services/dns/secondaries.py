"""What a function's configuration says of secondary servers, and telling them of changes."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterable

import dns.name
import dns.tsig
from dns.name import Name

from nfv.functions.dns import Dns
from nfv.services.dns.connection import MakeSocket, Server
from nfv.services.dns.history import History
from nfv.services.dns.signatures import Keys
from nfv.services.dns.transfer import Secondaries, notify
from nfv.services.dns.zone import Zone


def keys_of(function: Dns) -> Keys:
    """The secrets of a function, by name."""
    return {
        dns.name.from_text(name): dns.tsig.Key(
            dns.name.from_text(name), base64.b64decode(key.secret), key.algorithm
        )
        for name, key in function.config.tsig.items()
    }


def secondaries_of(function: Dns, keys: Keys, history: History) -> Secondaries | None:
    """Who has copies of a function's zones."""
    given = function.config.transfer
    if given is None:
        return None
    key = keys[dns.name.from_text(given.key)] if given.key else None
    return Secondaries(given.clients, key, [Server.parse(text) for text in given.notify], history)


class Notifier:
    """Tells secondaries of zones with another serial number than they were told of."""

    def __init__(self, make: MakeSocket, log: Callable[[str, str], None]) -> None:
        self._make = make
        self._log = log
        self._told: dict[tuple[Server, Name], int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, zones: Iterable[Zone], secondaries: Secondaries) -> None:
        """Begin to tell them."""
        for zone in zones:
            for server in secondaries.notified:
                if self._told.get((server, zone.origin)) != zone.serial:
                    self._told[server, zone.origin] = zone.serial
                    work = self._tell(server, zone.origin, secondaries.key)
                    task = asyncio.get_running_loop().create_task(work)
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _tell(self, server: Server, zone: Name, key: dns.tsig.Key | None) -> None:
        if not await notify(server, zone, key, self._make):
            self._log("warning", f"secondary {server} does not acknowledge changes of {zone}")
