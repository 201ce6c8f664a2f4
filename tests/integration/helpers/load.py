"""Traffic that notices every lost packet, while a test changes what it passes through.

Run as a program (`python load.py NETNS ADDRESS NETNS ADDRESS PORT`) it keeps a few numbered UDP
packets under way from the first namespace to the second and back, and one TCP connection busy in
both directions. Each line on its standard input is answered, after 50 more round trips and more TCP
data, with what was counted so far; at the end of the input it stops.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nfv.dataplane.kernel import netns
from tests.integration.helpers.lab import REPOSITORY

_WINDOW = 4  # packets under way
_LATE = 1.0  # seconds after which another packet takes the place of one under way
_LAST_CALL = 3.0  # seconds that the end waits for late packets, on a busy machine
_STEP = 50  # round trips that each answer waits for
_NUMBER = struct.Struct("=Q")
_TCP_BLOCK = 4096
_TCP_INFO = 11
_TOTAL_RETRANS, _DSACK_DUPS = 100, 216  # offsets in struct tcp_info
_PATIENCE = 20.0  # seconds until a test gives up


@dataclass(frozen=True)
class Counts:
    """What went there and back so far."""

    sent: int
    lost: int
    longest: float  # seconds, of a round trip
    tcp_bytes: int  # there and back, each compared
    tcp_lost: int  # segments sent again, but for those that had arrived (RFC 2883)


class Load:
    """The running program, as a test sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def go_on(self) -> Counts:
        """What was counted, once packets and TCP data have gone both ways after this call."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._answer()

    def stop(self) -> Counts:
        assert self._process.stdin is not None
        self._process.stdin.close()
        counts = self._answer()
        self._process.wait(_PATIENCE)
        return counts

    def _answer(self) -> Counts:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            assert selector.select(_PATIENCE), "no packet goes there and back any more"
        line = self._process.stdout.readline()
        assert line, "the load ended by itself"
        return Counts(**json.loads(line))


@contextmanager
def load(near: str, source: str, far: str, address: str, port: int) -> Iterator[Load]:
    """Traffic from `source` in namespace `near` to a port of `address` in namespace `far`."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, near, source, far, address, str(port)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        running = Load(process)
        running.go_on()
        yield running
    finally:
        process.kill()
        process.wait()


# The program


class _Datagrams:
    """Keeps a window of numbered packets under way, and echoes them at the far end."""

    def __init__(self, selector: selectors.BaseSelector, near: str, far: str, ends: _Ends) -> None:
        with netns.entered(near):
            self.near = socket.socket(ends.family, socket.SOCK_DGRAM)
        with netns.entered(far):
            self.far = socket.socket(ends.family, socket.SOCK_DGRAM)
        self.near.bind((ends.source, 0))
        self.far.bind((ends.address, ends.port))
        self.near.connect((ends.address, ends.port))
        self.under_way: dict[int, float] = {}
        self.missing: dict[int, float] = {}
        self.sent = self.returned = 0
        self.longest = 0.0
        selector.register(self.near, selectors.EVENT_READ, self._take)
        selector.register(self.far, selectors.EVENT_READ, self._echo)

    def fill(self) -> None:
        now = time.monotonic()
        for number, moment in list(self.under_way.items()):
            if now - moment > _LATE:
                self.missing[number] = self.under_way.pop(number)
        while len(self.under_way) < _WINDOW:
            self.sent += 1
            self.under_way[self.sent] = now
            self.near.send(_NUMBER.pack(self.sent))

    def _take(self) -> None:
        (number,) = _NUMBER.unpack(self.near.recv(64))
        began = self.under_way.pop(number, None) or self.missing.pop(number, None)
        if began is not None:
            self.returned += 1
            self.longest = max(self.longest, time.monotonic() - began)

    def _echo(self) -> None:
        data, sender = self.far.recvfrom(64)
        self.far.sendto(data, sender)


class _Stream:
    """Sends random blocks over one TCP connection and compares what comes back."""

    def __init__(self, selector: selectors.BaseSelector, near: str, far: str, ends: _Ends) -> None:
        with netns.entered(far):
            listener = socket.create_server((ends.address, ends.port), family=ends.family)
        with netns.entered(near):
            self.near = socket.socket(ends.family, socket.SOCK_STREAM)
        self.near.bind((ends.source, 0))
        self.near.connect((ends.address, ends.port))
        self.far, _ = listener.accept()
        listener.close()
        for end in (self.near, self.far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.expected = b""
        self.total = 0
        selector.register(self.near, selectors.EVENT_READ, self._take)
        selector.register(self.far, selectors.EVENT_READ, self._echo)
        self._send()

    @property
    def lost(self) -> int:
        return sum(self._lost(end) for end in (self.near, self.far))

    @staticmethod
    def _lost(end: socket.socket) -> int:
        info = end.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 256)
        (again,) = struct.unpack_from("=I", info, _TOTAL_RETRANS)
        (needless,) = struct.unpack_from("=I", info, _DSACK_DUPS)
        return int(again - needless)

    def _send(self) -> None:
        self.expected = os.urandom(_TCP_BLOCK)
        self.near.sendall(self.expected)

    def _take(self) -> None:
        data = self.near.recv(_TCP_BLOCK)
        assert data, "the far end closed the connection"
        assert self.expected.startswith(data), "TCP data came back changed"
        self.expected = self.expected[len(data) :]
        self.total += len(data)
        if not self.expected:
            self._send()

    def _echo(self) -> None:
        self.far.sendall(self.far.recv(_TCP_BLOCK))


@dataclass(frozen=True)
class _Ends:
    source: str
    address: str
    port: int

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET


class _Program:
    def __init__(self, near: str, far: str, ends: _Ends) -> None:
        self.selector = selectors.DefaultSelector()
        self.datagrams = _Datagrams(self.selector, near, far, ends)
        self.stream = _Stream(self.selector, near, far, ends)
        self.asked = False
        self.ended = False
        self.selector.register(sys.stdin, selectors.EVENT_READ, self._read)

    def _read(self) -> None:
        if os.read(sys.stdin.fileno(), 1):
            self.asked = True
            self.wanted = self.datagrams.returned + _STEP, self.stream.total + 1
        else:
            self.ended = True

    def _is_answered(self) -> bool:
        returned, total = self.wanted
        return self.datagrams.returned >= returned and self.stream.total >= total

    def run(self) -> None:
        while not self.ended:
            self.datagrams.fill()
            self._serve()
            if self.asked and self._is_answered():
                self.asked = False
                self._tell()
        self._finish()

    def _finish(self) -> None:
        """Wait for what is under way."""
        deadline = time.monotonic() + _LAST_CALL
        while self._is_waiting() and time.monotonic() < deadline:
            self._serve()
        self.datagrams.missing.update(self.datagrams.under_way)
        self._tell()

    def _is_waiting(self) -> bool:
        datagrams = self.datagrams
        return bool(datagrams.under_way or datagrams.missing or self.stream.lost)

    def _serve(self) -> None:
        for key, _events in self.selector.select(_LATE / 4):
            key.data()

    def _tell(self) -> None:
        counts = {
            "sent": self.datagrams.sent,
            "lost": len(self.datagrams.missing),
            "longest": self.datagrams.longest,
            "tcp_bytes": self.stream.total,
            "tcp_lost": self.stream.lost,
        }
        print(json.dumps(counts), flush=True)


def main(near: str, source: str, far: str, address: str, port: str) -> None:
    _Program(near, far, _Ends(source, address, int(port))).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
