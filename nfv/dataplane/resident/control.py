"""Control sockets of the agent and of services: a line of JSON in, a line of JSON out.

{"do": "status"} tells what the agent knows. {"do": "sync"} is answered when all that the kernel
has told is in the maps, {"do": "reload"} when what the topology's state says is. {"do": "tell",
"function": NAME, "request": WHAT, "values": {}} has a function do something with its maps. The
answer to what went wrong has the key "error". Services have requests of their own
(nfv.services.worker).
"""

from __future__ import annotations

import json
import os
import selectors
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from nfv.errors import InputError, KernelError, NfvError

SOCKET = "daemon.sock"
LOCK = "daemon.lock"
"""Held by the daemon: there are never two."""

_LINE_LIMIT = 1 << 16
_RECEIVE_SIZE = 1 << 12
_BACKLOG = 64

Request = Mapping[str, object]
Handler = Callable[[Request], Mapping[str, object]]


def listen(directory: Path) -> socket.socket:
    """The listening socket in a directory of /run/nfv, for root alone. Replaces a dead one."""
    path = directory / SOCKET
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
    finally:
        os.umask(before)
    listener.listen(_BACKLOG)
    return listener


def ask(directory: Path, what: str, timeout: float, **arguments: object) -> dict[str, object]:
    """Have the daemon of a directory do something and return its answer; `timeout` in seconds.

    Raises `OSError` if there is nobody to ask or no answer, `InputError` for what it does not
    accept, `KernelError` for what it cannot do.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(os.fspath(directory / SOCKET))
        connection.sendall(json.dumps({"do": what, **arguments}).encode() + b"\n")
        with connection.makefile("rb") as stream:
            line = stream.readline()
    if not line.endswith(b"\n"):
        raise ConnectionResetError("it ended before it answered")
    answer: dict[str, object] = json.loads(line)
    if "error" in answer:
        kind = InputError if answer.get("bad_input") else KernelError
        raise kind(f"cannot {what}: {answer['error']}")
    return answer


class Server:
    """Answers requests on a listening socket, within the agent's loop."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        listener: socket.socket,
        handlers: Mapping[str, Handler],
    ) -> None:
        self._selector = selector
        self._listener = listener
        self._handlers = handlers
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:  # the client gave up
            return
        connection.setblocking(False)
        pending = bytearray()
        self._selector.register(
            connection, selectors.EVENT_READ, lambda: self._serve(connection, pending)
        )

    def _serve(self, connection: socket.socket, pending: bytearray) -> None:
        """Take in what came and answer the lines that are complete."""
        try:
            data = connection.recv(_RECEIVE_SIZE)
            pending += data
            while (end := pending.find(b"\n")) >= 0:
                line = bytes(pending[:end])
                del pending[: end + 1]
                connection.sendall(json.dumps(self._answer(line)).encode() + b"\n")
        except OSError:  # a client that went, or that does not read its answers
            data = b""
        if not data or len(pending) > _LINE_LIMIT:
            self._selector.unregister(connection)
            connection.close()

    def _answer(self, line: bytes) -> Mapping[str, object]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return {"error": "a request is one line of JSON"}
        what = request.get("do") if isinstance(request, dict) else None
        handler = self._handlers.get(what) if isinstance(what, str) else None
        if handler is None:
            return {"error": f'write {{"do": X}}, X being one of {", ".join(self._handlers)}'}
        try:
            return handler(request)
        except NfvError as error:
            return {"error": error.message, "bad_input": isinstance(error, InputError)}
