"""One name server that queries are forwarded to: datagrams, or a connection where those do not do.

What comes back must be from the server's address, to the query's own port, with its number and its
question (RFC 5452). Datagrams with another number are somebody's guesses: the query is then asked
again by a connection, where guesses do not help. A server with a name is asked by TLS alone.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time

import dns.exception
import dns.message
from dns.flags import Flag

from nfv.services.dns.channel import Channel
from nfv.services.dns.connection import MakeSocket, Server, connection, family, receive, send

TIMEOUT = 1.0
"""Seconds in which a datagram is to be answered; a connection has three times as many."""

_BACKOFF = 10.0  # seconds for which a server that fell silent is asked last
_SMOOTHING = 0.2
_MAX_DATAGRAM = 4096
_PADDING = 128  # bytes, of which a query by TLS is a multiple (RFC 8467)


class Unanswered(Exception):
    """A server gave no answer, or none that can be believed."""


class Upstream:
    """A server, and how well it answers."""

    def __init__(
        self, server: Server, make: MakeSocket, context: ssl.SSLContext | None = None
    ) -> None:
        """`context` is for a server that is asked by TLS."""
        self.server = server
        self._channel = Channel(server, make, context) if context and server.name else None
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

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()

    async def _ask(self, query: dns.message.Message) -> dns.message.Message:
        if self._channel is not None:
            query.pad = _PADDING
            return _believed(query, await self._channel.ask(query.to_wire(), 3 * TIMEOUT))
        try:
            answer = await asyncio.wait_for(self._by_datagram(query), TIMEOUT)
        except Unanswered:
            answer = None
        if answer is None or answer.flags & Flag.TC:
            return await asyncio.wait_for(self._by_connection(query), 3 * TIMEOUT)
        return answer

    async def _by_datagram(self, query: dns.message.Message) -> dns.message.Message:
        loop = asyncio.get_running_loop()
        with self._make(family(self.server), socket.SOCK_DGRAM) as asked:
            asked.connect((self.server.address, self.server.port))
            await loop.sock_sendall(asked, query.to_wire())
            return _believed(query, await loop.sock_recv(asked, _MAX_DATAGRAM))

    async def _by_connection(self, query: dns.message.Message) -> dns.message.Message:
        async with connection(self.server, self._make, 3 * TIMEOUT) as (reader, writer):
            await send(writer, query.to_wire())
            return _believed(query, await receive(reader))


def _believed(query: dns.message.Message, wire: bytes) -> dns.message.Message:
    """An answer that belongs to the query. Raises `Unanswered`."""
    try:
        answer = dns.message.from_wire(wire, keyring=query.keyring, request_mac=query.mac or b"")
    except Exception as error:  # the library raises all kinds for what is malformed
        raise Unanswered("the answer is malformed") from error
    if not query.is_response(answer):
        raise Unanswered("the answer belongs to another query")
    return answer
