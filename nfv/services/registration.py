"""Tells a name server of the topology which hosts have which addresses, as they come and go.

A connection to the control socket of the name server's service begins with all hosts that there
are; changes follow. When the service is started again there is another connection, and with it all
hosts again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

from nfv.dataplane.resident import control, servicectl

REQUEST = "hosts"
"""What the name server is asked, with `source`, whose hosts these are; `all`, whether there are no
others than these and those that follow; `there` and `gone`, lists of pairs of name and address."""

_RETRY = 1.0  # seconds until a name server that is not there is looked for again
_GROUP = 200  # hosts in one request

Host = tuple[str, IPv4Address | IPv6Address]
"""Name, and address."""


class Registration:
    """Keeps one name server informed of the hosts of one source."""

    def __init__(
        self, topology: str, server: str, source: str, hosts: Callable[[], Iterable[Host]]
    ) -> None:
        """`hosts` are all those that there are; begins at once, within the running loop."""
        self._path = servicectl.daemon(topology, server).directory / control.SOCKET
        self._source = source
        self._hosts = hosts
        self._changes: asyncio.Queue[tuple[bool, Host]] = asyncio.Queue()
        self.server = server
        self._task = asyncio.get_running_loop().create_task(self._run())

    def note(self, host: Host, is_there: bool) -> None:
        """A host has got its address, or has it no more."""
        self._changes.put_nowait((is_there, host))

    def close(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            with suppress(OSError, EOFError):
                await self._inform()
            await asyncio.sleep(_RETRY)

    async def _inform(self) -> None:
        """One connection, until it ends."""
        reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            while not self._changes.empty():
                self._changes.get_nowait()  # in what `hosts` says
            known = list(self._hosts())
            for start in range(0, max(len(known), 1), _GROUP):
                group = known[start : start + _GROUP]
                await self._tell(reader, writer, start == 0, group, [])
            while True:
                is_there, host = await self._changes.get()
                there, gone = ([host], []) if is_there else ([], [host])
                await self._tell(reader, writer, False, there, gone)
        finally:
            writer.close()

    async def _tell(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        is_first: bool,
        there: list[Host],
        gone: list[Host],
    ) -> None:
        """One request; returns when it is answered."""
        request = {
            "do": REQUEST,
            "source": self._source,
            "all": is_first,
            "there": [(name, str(address)) for name, address in there],
            "gone": [(name, str(address)) for name, address in gone],
        }
        writer.write(json.dumps(request).encode() + b"\n")
        await writer.drain()
        if not await reader.readline():
            raise EOFError
