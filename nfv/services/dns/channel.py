"""A connection by TLS to one server (RFC 7858), kept open as long as there are queries for it.

The server's certificate must be for its name (RFC 8310, strict): who has another is told nothing.
Queries are sent one after the other without waiting, answers come as they are ready (RFC 7766).
"""

from __future__ import annotations

import asyncio
import ssl

import dns.entropy

from nfv.services.dns.connection import MakeSocket, Server, connection, receive, send

_IDLE = 10.0  # seconds without a query until the connection is closed
_ID_SIZE = 2


def trust(ca: str | None) -> ssl.SSLContext:
    """Whose word is taken that a certificate is right: `ca`, in PEM, or whom the system trusts.

    Raises `ValueError` if these are no certificates.
    """
    try:
        context = ssl.create_default_context(cadata=ca)
    except ssl.SSLError as error:
        raise ValueError(f"no certificates in PEM: {error.reason}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class Channel:
    """Queries to one server, all by one connection; there is another when that has ended."""

    def __init__(self, server: Server, make: MakeSocket, context: ssl.SSLContext) -> None:
        self._server = server
        self._make = make
        self._context = context
        self._waiting: dict[bytes, asyncio.Future[bytes]] = {}  # by the number of the query
        self._queries: asyncio.Queue[bytes] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def ask(self, wire: bytes, patience: float) -> bytes:
        """The answer to a query. Raises `OSError`, `EOFError`, `TimeoutError`."""
        if self._task is not None and not self._task.done():
            try:
                return await self._ask(wire, patience)
            except (OSError, EOFError):
                pass  # a server may close a connection at any time: then there is another
        return await self._ask(wire, patience)

    async def _ask(self, wire: bytes, patience: float) -> bytes:
        number = wire[:_ID_SIZE]
        while number in self._waiting:
            number = dns.entropy.random_16().to_bytes(_ID_SIZE, "big")
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answered
        self._queries.put_nowait(number + wire[_ID_SIZE:])
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(patience))
        try:
            answer = await asyncio.wait_for(answered, patience)
        finally:
            del self._waiting[number]
        return wire[:_ID_SIZE] + answer[_ID_SIZE:]

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self, patience: float) -> None:
        """One connection, until it is idle or ends; who waits then is told so."""
        error: Exception = EOFError("the connection was closed")
        try:
            async with connection(self._server, self._make, patience, self._context) as streams:
                reading = asyncio.create_task(self._receive(streams[0]))
                try:
                    await self._send(streams[1], reading)
                finally:
                    reading.cancel()
        except (OSError, EOFError, asyncio.TimeoutError) as failure:
            error = failure
        finally:
            self._queries = asyncio.Queue()
            for answered in self._waiting.values():
                if not answered.done():
                    answered.set_exception(error)

    async def _send(self, writer: asyncio.StreamWriter, reading: asyncio.Task[None]) -> None:
        """Send queries until there are none for a while, or nobody reads any more."""
        while True:
            following = asyncio.ensure_future(self._queries.get())
            await asyncio.wait(
                {following, reading}, timeout=_IDLE, return_when=asyncio.FIRST_COMPLETED
            )
            if not following.done():
                following.cancel()
                return
            await send(writer, following.result())

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        while True:
            wire = await receive(reader)
            answered = self._waiting.get(wire[:_ID_SIZE])
            if answered is not None and not answered.done():
                answered.set_result(wire)
