"""One name server that queries are forwarded to: datagrams, or a connection where those do not do.

What comes back must be from the server's address, to the query's own port, with its number and its
question (RFC 5452). Datagrams with another number are somebody's guesses: the query is then asked
again by a connection, where guesses do not help.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import dns.exception
import dns.message
from dns.flags import Flag

MakeSocket = Callable[[socket.AddressFamily, socket.SocketKind], socket.socket]

PORT = 53
TIMEOUT = 1.0
"""Seconds in which a datagram is to be answered; a connection has three times as many."""

_BACKOFF = 10.0  # seconds for which a server that fell silent is asked last
_SMOOTHING = 0.2
_MAX_DATAGRAM = 4096
_LENGTH = struct.Struct("!H")


class Unanswered(Exception):
    """A server gave no answer, or none that can be believed."""


@dataclass(frozen=True)
class Server:
    """Where a name server is."""

    address: str
    port: int = PORT

    @classmethod
    def parse(cls, text: str) -> Server:
        """From ADDRESS or ADDRESS@PORT."""
        address, _, port = text.partition("@")
        return cls(address, int(port or PORT))

    def __str__(self) -> str:
        return self.address if self.port == PORT else f"{self.address}@{self.port}"


class Upstream:
    """A server, and how well it answers."""

    def __init__(self, server: Server, make: MakeSocket) -> None:
        self.server = server
        self.failures = 0
        self.delay = 0.0  # seconds, smoothed
        self._make = make
        self._silent_until = 0.0

    @property
    def rank(self) -> tuple[bool, float]:
        """The least is asked first: who answers, the quicker the better."""
        return time.monotonic() < self._silent_until, self.delay

    async def ask(self, query: dns.message.Message) -> dns.message.Message:
        """The answer to a query. Raises `Unanswered`."""
        begun = time.monotonic()
        try:
            answer = await self._ask(query)
        except (OSError, EOFError, asyncio.TimeoutError, Unanswered) as error:
            self.failures += 1
            self._silent_until = time.monotonic() + _BACKOFF
            raise Unanswered(str(error) or "no answer in time") from error
        self._silent_until = 0.0
        self.delay += (time.monotonic() - begun - self.delay) * _SMOOTHING
        return answer

    async def _ask(self, query: dns.message.Message) -> dns.message.Message:
        try:
            answer = await asyncio.wait_for(self._by_datagram(query), TIMEOUT)
        except Unanswered:
            answer = None
        if answer is None or answer.flags & Flag.TC:
            return await asyncio.wait_for(self._by_connection(query), 3 * TIMEOUT)
        return answer

    async def _by_datagram(self, query: dns.message.Message) -> dns.message.Message:
        loop = asyncio.get_running_loop()
        with self._make(_family(self.server), socket.SOCK_DGRAM) as asked:
            asked.connect((self.server.address, self.server.port))
            await loop.sock_sendall(asked, query.to_wire())
            return _believed(query, await loop.sock_recv(asked, _MAX_DATAGRAM))

    async def _by_connection(self, query: dns.message.Message) -> dns.message.Message:
        async with connection(self.server, self._make, 3 * TIMEOUT) as (reader, writer):
            await send(writer, query.to_wire())
            return _believed(query, await receive(reader))


@asynccontextmanager
async def connection(
    server: Server, make: MakeSocket, patience: float
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server, made within some seconds. Raises `OSError` and `TimeoutError`."""
    asked = make(_family(server), socket.SOCK_STREAM)
    try:
        where = server.address, server.port
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(asked, where), patience)
        reader, writer = await asyncio.open_connection(sock=asked)
    except BaseException:
        asked.close()
        raise
    try:
        yield reader, writer
    finally:
        writer.close()


async def send(writer: asyncio.StreamWriter, wire: bytes) -> None:
    """Send a message by a connection."""
    writer.write(_LENGTH.pack(len(wire)) + wire)
    await writer.drain()


async def receive(reader: asyncio.StreamReader) -> bytes:
    """The next message of a connection. Raises `EOFError` where it ends."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    return await reader.readexactly(length)


def _family(server: Server) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in server.address else socket.AF_INET


def _believed(query: dns.message.Message, wire: bytes) -> dns.message.Message:
    """An answer that belongs to the query. Raises `Unanswered`."""
    try:
        answer = dns.message.from_wire(wire, keyring=query.keyring, request_mac=query.mac or b"")
    except Exception as error:  # the library raises all kinds for what is malformed
        raise Unanswered("the answer is malformed") from error
    if not query.is_response(answer):
        raise Unanswered("the answer belongs to another query")
    return answer
