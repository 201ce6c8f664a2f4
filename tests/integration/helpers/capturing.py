"""nfvctl capture as a test runs it, and what others read of the file that it writes."""

from __future__ import annotations

import selectors
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from nfv.dataplane.kernel import netns
from nfv.traffic.filter import Filter
from tests.integration.helpers import traffic
from tests.integration.helpers.lab import started

PATIENCE = 20.0  # seconds; the first start compiles
_SO_RCVBUFFORCE = 33  # socket(7)


@dataclass(frozen=True)
class Row:
    """A packet as tshark reads it."""

    point: str
    direction: str  # "in" or "out"
    comment: str
    length: int
    kept: int
    action: str  # "XDP 1" and the like
    moment: float
    data: bytes


class Running:
    """A capture that has begun."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.printed = ""  # once it has ended

    def stop(self, number: signal.Signals = signal.SIGINT) -> str:
        """End it; returns what it says at the end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.ended()

    def next_line(self) -> str:
        """The next line that it says."""
        assert self.process.stderr is not None
        return _line(self.process.stderr)

    def ended(self) -> str:
        """Wait for it to end by itself."""
        out, err = self.process.communicate(timeout=PATIENCE)
        self.printed = out or ""
        return err


@contextmanager
def capturing(topology: str, *words: str, **variables: str) -> Iterator[Running]:
    """Capture, from when the programs are in place."""
    process = started("capture", topology, *words, **variables)
    running = Running(process)
    try:
        assert process.stderr is not None
        said = _line(process.stderr)
        assert said.startswith("capturing at "), said + process.stderr.read()
        yield running
        running.stop()
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate(timeout=PATIENCE)


def _line(stream: IO[str]) -> str:
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        assert selector.select(PATIENCE), "the capture says nothing"
    return stream.readline()


def rows(path: Path) -> list[Row]:
    """The packets of a file, read by tshark; their bytes by its JSON."""
    fields = (
        "frame.interface_name",
        "frame.packet_flags_direction",
        "frame.comment",
        "frame.len",
        "frame.cap_len",
        "frame.verdict.ebpf_xdp",
        "frame.verdict.ebpf_tc",
        "frame.time_epoch",
    )
    options = [word for field in fields for word in ("-e", field)]
    lines = _tshark(path, "-T", "fields", *options).splitlines()
    return [_row(line.split("\t"), data) for line, data in zip(lines, _data(path), strict=True)]


def _row(cells: Sequence[str], data: bytes) -> Row:
    point, flags, comment, length, kept, xdp, tc, moment = cells
    direction = {"0x00000001": "in", "0x00000002": "out"}[flags]
    action = f"XDP {xdp}" if xdp else f"TC {tc}"
    return Row(point, direction, comment, int(length), int(kept), action, float(moment), data)


def _data(path: Path) -> list[bytes]:
    """The bytes of each packet, as Scapy reads them."""
    from scapy.utils import RawPcapNgReader

    with RawPcapNgReader(str(path)) as reader:
        return [data for data, _ in reader]


def _tshark(path: Path, *options: str) -> str:
    command = ["tshark", "-n", "-r", str(path), *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class Device:
    """What a packet socket sees at a device, as tcpdump does."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 26)
        sock.setblocking(False)
        self._sock = sock

    def frames(self, matching: Filter) -> dict[str, list[bytes]]:
        """What came in and what was sent since the last call, if it matches."""
        found: dict[str, list[bytes]] = {"in": [], "out": []}
        while True:
            try:
                frame, address = self._sock.recvfrom(1 << 17)
            except BlockingIOError:
                return found
            if matching.matches(frame, len(frame)):
                found["out" if address[2] == socket.PACKET_OUTGOING else "in"].append(frame)


@contextmanager
def device(place: str, name: str) -> Iterator[Device]:
    """Look at a device of a namespace."""
    with netns.entered(place):
        sock = traffic.raw(name)
    with sock:
        yield Device(sock)
