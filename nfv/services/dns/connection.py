"""Connections to other name servers, and messages over them (RFC 1035, section 4.2.2)."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

MakeSocket = Callable[[socket.AddressFamily, socket.SocketKind], socket.socket]

PORT = 53
TLS_PORT = 853
"""RFC 7858, section 3.1."""

_LENGTH = struct.Struct("!H")


@dataclass(frozen=True)
class Server:
    """Where a name server is, and its name if it is asked by TLS."""

    address: str
    port: int = PORT
    name: str | None = None

    @classmethod
    def parse(cls, text: str) -> Server:
        """From ADDRESS, ADDRESS@PORT, or ADDRESS@PORT#NAME for TLS."""
        where, _, name = text.partition("#")
        address, _, port = where.partition("@")
        return cls(address, int(port or (TLS_PORT if name else PORT)), name or None)

    def __str__(self) -> str:
        """As it was written."""
        usual = self.port == (TLS_PORT if self.name else PORT)
        where = self.address if usual else f"{self.address}@{self.port}"
        return f"{where}#{self.name}" if self.name else where


def family(server: Server) -> socket.AddressFamily:
    """Of its address."""
    return socket.AF_INET6 if ":" in server.address else socket.AF_INET


@asynccontextmanager
async def connection(
    server: Server, make: MakeSocket, patience: float, context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server, by TLS with a context, made within some seconds.

    Raises `OSError`, of which that the server cannot be trusted is one, and `TimeoutError`.
    """
    asked = make(family(server), socket.SOCK_STREAM)
    name = server.name if context else None
    try:
        where = server.address, server.port
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(asked, where), patience)
        opening = asyncio.open_connection(sock=asked, ssl=context, server_hostname=name)
        reader, writer = await asyncio.wait_for(opening, patience)
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
