"""The sockets of the name server: datagrams, and connections with pipelined queries (RFC 7766)."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

from nfv.services.dns.connection import MakeSocket, receive, send
from nfv.services.dns.responder import Answer

PORT = 53

_GROUP = 64  # datagrams in one go
_MAX_DATAGRAM = 4096
_RECEIVE_BUFFER = 1 << 22
_BACKLOG = 128
_IDLE = 10.0  # seconds until a connection without queries is closed
_MAX_CONNECTIONS = 256
_MAX_OF_CLIENT = 32  # connections
_MAX_WAITING = 64  # queries of a connection that others have to answer

Respond = Callable[[bytes, str, bool], Answer]
"""The answer to a query, given the client's address and whether it came by a connection."""


class Listener:
    """Serves at one address."""

    def __init__(self, address: str, make: MakeSocket, respond: Respond) -> None:
        """Raises `OSError`."""
        self._respond = respond
        self._clients: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._datagrams = make(family, socket.SOCK_DGRAM)
        self._datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._connections = make(family, socket.SOCK_STREAM)
        self._connections.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for opened in (self._datagrams, self._connections):
            opened.bind((address, PORT))
        self._connections.listen(_BACKLOG)
        self._loop.add_reader(self._datagrams, self._receive)
        self._loop.add_reader(self._connections, self._accept)

    def close(self) -> None:
        """Stop; connections are cut."""
        for opened in (self._datagrams, self._connections):
            self._loop.remove_reader(opened)
            opened.close()
        for task in self._tasks:
            task.cancel()

    def _receive(self) -> None:
        """Answer the datagrams that wait."""
        for _ in range(_GROUP):
            try:
                wire, client = self._datagrams.recvfrom(_MAX_DATAGRAM)
            except OSError:  # nothing waits, or an ICMP error came back
                return
            answer = self._respond(wire, client[0], False)
            if isinstance(answer, bytes):
                self._send(answer, client)
            elif isinstance(answer, Awaitable):
                self._start(self._send_later(answer, client))

    def _send(self, answer: bytes, client: Any) -> None:
        with suppress(OSError):  # lost, as on a wire
            self._datagrams.sendto(answer, client)

    async def _send_later(self, answer: Awaitable[bytes], client: Any) -> None:
        self._send(await answer, client)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _accept(self) -> None:
        try:
            connection, client = self._connections.accept()
        except OSError:  # the client gave up
            return
        total = self._clients.total()
        if total >= _MAX_CONNECTIONS or self._clients[client[0]] >= _MAX_OF_CLIENT:
            connection.close()
            return
        connection.setblocking(False)
        self._clients[client[0]] += 1
        self._start(self._converse(connection, client[0]))

    async def _converse(self, connection: socket.socket, client: str) -> None:
        """Answer the queries of one connection, until it is idle or closed."""
        reader, writer = await asyncio.open_connection(sock=connection)
        waiting: set[asyncio.Task[None]] = set()
        try:
            while True:
                wire = await asyncio.wait_for(receive(reader), _IDLE)
                answer = self._respond(wire, client, True)
                if answer is None:
                    return
                if isinstance(answer, bytes):
                    await asyncio.wait_for(send(writer, answer), _IDLE)
                elif isinstance(answer, Iterator):
                    for message in answer:
                        await asyncio.wait_for(send(writer, message), _IDLE)
                else:
                    task = self._loop.create_task(_write_later(writer, answer))
                    waiting.add(task)
                    task.add_done_callback(waiting.discard)
                if len(waiting) >= _MAX_WAITING:
                    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
            if waiting:
                await asyncio.wait(waiting)
        finally:
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]
            writer.close()


async def _write_later(writer: asyncio.StreamWriter, answer: Awaitable[bytes]) -> None:
    await send(writer, await answer)
