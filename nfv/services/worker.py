"""The process of a service: `python -m nfv.services.worker TOPOLOGY FUNCTION`, under a supervisor.

It reads frames at the function's tap and hands them to the service in groups, and answers requests
on the control socket: "status", "reload", which takes over what the topology's state says, and
those of the service itself. The supervisor gives it the listening socket as standard input and
reads a line from its standard output once it serves; when that pipe's other end closes, it ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import importlib
import inspect
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any

from nfv.chain.graph import SERVICE
from nfv.chain.path import Attachment
from nfv.dataplane import state
from nfv.dataplane.resident import control, servicectl
from nfv.dataplane.wiring import wire
from nfv.errors import InputError, NfvError
from nfv.services.base import Answer, Place, Request, Service
from nfv.services.frames import Tap

_GROUP = 128  # frames at most in one go
_RETRY = 0.5  # seconds until a tap that is gone is looked for again
_LINE_LIMIT = 1 << 16  # bytes of a request


class Worker:
    """Runs the service of one function."""

    def __init__(self, topology: str, function: str) -> None:
        """Raises `InputError` if the topology is not applied or has no such service."""
        self._topology = topology
        self._function = function
        self._started = time.time()
        self._generation = 0
        self._tap: Tap | None = None
        self._module = ""
        self._service: Service | None = None
        self._ended = asyncio.Event()

    async def run(self, listener: socket.socket, until: int) -> None:
        """Serve until the pipe `until` has nobody at its other end."""
        loop = asyncio.get_running_loop()
        await self._load()
        server = await asyncio.start_unix_server(self._converse, sock=listener, limit=_LINE_LIMIT)
        loop.add_reader(until, self._ended.set)
        loop.add_signal_handler(signal.SIGTERM, self._ended.set)
        print("in step", flush=True)
        await self._ended.wait()
        server.close()
        self._close_tap()
        if self._service:
            await self._service.close()

    # What is applied

    async def _load(self) -> None:
        applied = state.load(self._topology)
        if applied is None:
            raise InputError(f"topology '{self._topology}' is not applied")
        topology = applied.topology()
        function = topology.vnfs.get(self._function)
        if function is None or not function.service:
            raise InputError(f"'{self._function}' has no service")
        if self._service is None or self._module != function.service:
            if self._service:
                await self._service.close()
            self._module = function.service
            self._service = importlib.import_module(function.service).start(self._place())
        self._service.configure(topology)
        device = wire(topology, applied.ports).ports[Attachment(self._function, SERVICE)].outer
        if self._tap is None or not self._tap.is_current:
            self._close_tap()
            self._tap = Tap(device)
            asyncio.get_running_loop().add_reader(self._tap.fileno(), self._receive)
        self._generation += 1
        _log("info", f"generation {self._generation}: serves {self._function}")

    def _place(self) -> Place:
        data = state.data(self._topology) / self._function
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Place(
            self._topology,
            self._function,
            data,
            state.pins(self._topology) / "vnf" / self._function,
            self._send,
            _log,
        )

    # Frames

    def _receive(self) -> None:
        assert self._tap is not None
        assert self._service is not None
        try:
            frames = list(self._tap.read(_GROUP))
        except OSError as error:
            _log("warning", f"lost the tap: {error.strerror}; `nfvctl apply` makes another")
            self._close_tap()
            return
        try:
            self._service.receive(frames)
        except Exception as error:  # one that cannot be treated must not keep others from it
            _log("error", f"a group of {len(frames)} frames failed: {error!r}")

    def _send(self, stage: int, data: bytes) -> None:
        if self._tap:
            self._tap.send(stage, data)

    def _close_tap(self) -> None:
        if self._tap:
            asyncio.get_running_loop().remove_reader(self._tap.fileno())
            self._tap.close()
            self._tap = None

    # Requests

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client's requests, a line each."""
        try:
            while line := await reader.readline():
                answer = await self._answer(line)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):  # it went, or sent a line without an end
            pass
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> Answer:
        assert self._service is not None
        known: dict[str, Request] = {"status": self._status, "reload": self._reload}
        known.update(self._service.requests())
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return {"error": "a request is one line of JSON"}
        what = request.get("do") if isinstance(request, dict) else None
        handler = known.get(what) if isinstance(what, str) else None
        if handler is None:
            return {"error": f'write {{"do": X}}, X being one of {", ".join(known)}'}
        try:
            answer = handler(request)
            return await answer if inspect.isawaitable(answer) else answer
        except NfvError as error:
            return {"error": error.message, "bad_input": isinstance(error, InputError)}

    def _status(self, _request: Mapping[str, Any]) -> Answer:
        assert self._service is not None
        space = self._service.namespace()
        return {
            "pid": os.getpid(),
            "started": self._started,
            "generation": self._generation,
            "netns": None if space is None else f"/proc/{os.getpid()}/fd/{space}",
            "service": dict(self._service.status()),
        }

    async def _reload(self, _request: Mapping[str, Any]) -> Answer:
        await self._load()
        return {"generation": self._generation}


def _log(level: str, message: str) -> None:
    """A line for the log; the supervisor adds the time."""
    print(f"{level}: {message}", file=sys.stderr, flush=True)


def _lock(topology: str, function: str) -> None:
    """Hold the lock of the service until the process ends: there are never two."""
    path = servicectl.daemon(topology, function).directory / control.LOCK
    fcntl.flock(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), fcntl.LOCK_EX)


async def main(topology: str, function: str) -> None:
    """Run the service of a function; the standard streams are as the module says."""
    _lock(topology, function)
    worker = Worker(topology, function)
    await worker.run(socket.socket(fileno=sys.stdin.fileno()), sys.stdout.fileno())


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1], sys.argv[2]))
    except NfvError as failure:
        _log("error", failure.message)
        sys.exit(failure.exit_code)
