"""Frames of many flows, made and sent at a constant rate (nfv/ebpf/tools/generator.c)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from nfv.bench.trial import Load
from nfv.dataplane.load.live import LiveProgram
from nfv.dataplane.state import State
from nfv.dataplane.wiring import Port, jump
from nfv.ebpf import sources
from nfv.traffic.flows import Template
from nfv.traffic.pace import NANOSECONDS

_SOURCE = "tools/generator.c"
_FRACTION = sources.constant(_SOURCE, "GENERATOR_FRACTION")

MAX_FRAMES = (1 << 32) - 1
"""Frames of one trial, whose sequence numbers have 32 bits."""


@dataclass(frozen=True)
class Renewal:
    """How often a flow gives way to another one with the next source port."""

    a_second: float
    first_port: int
    ports: int


@dataclass(frozen=True)
class Offered:
    """What was sent: times in seconds, bytes with the Ethernet header and without FCS."""

    frames: int
    bytes: int
    seconds: float  # from the first frame to the last
    worst: float  # by how much a frame was late at most


class Generator:
    """The program, with room for so many frames that differ."""

    def __init__(self, applied: State, port: Port, room: int) -> None:
        sizes = {"generator_frames": room, "generator_cursors": 1}
        self._jump = jump(port.number)
        self._program = LiveProgram(applied, {0: port}, _SOURCE, sizes)
        self._frames = self._program.memory("generator_frames")
        self._layout = self._program.layout("generator_frames")
        self._count = self._flows = 0
        self.cursor = self._program.cursor("generator_cursors")

    def close(self) -> None:
        """Forget the program."""
        self._program.close()

    def load(self, frames: Sequence[Template], flows: int) -> None:
        """Take these frames, of so many flows, to be sent in turn."""
        stride = self._layout.size
        for number, frame in enumerate(frames):
            place = number * stride
            self._frames[place : place + stride] = self._pack(frame)
        self._count, self._flows = len(frames), flows

    def _pack(self, frame: Template) -> bytes:
        return self._layout.pack(
            jump=self._jump,
            length=frame.length,
            flow=frame.flow,
            sum=frame.sum,
            head=len(frame.head),
            stamp=frame.stamp,
            check=frame.check,
            port=frame.port,
            bytes=frame.head,
        )

    def prepare(self, load: Load, trial: int, renewal: Renewal | None) -> None:
        """Have nothing sent yet; `begin` does."""
        cursor = self.cursor
        cursor.clear()
        cursor["timed"] = load.rate is not None
        cursor["limit"] = load.intended or MAX_FRAMES
        cursor["gap"] = round(NANOSECONDS / load.rate * _FRACTION) if load.rate else 0
        cursor["count"] = self._count
        cursor["trial"] = trial
        cursor["sample"] = load.sample
        cursor["verdict"] = self._program.verdict
        if renewal and load.rate:
            cursor["renew"] = max(1, round(load.rate / renewal.a_second))
            cursor["flows"] = self._flows
            cursor["first_port"] = renewal.first_port
            cursor["ports"] = renewal.ports

    def begin(self, moment: int, seconds: float) -> None:
        """Send from a moment of the monotonic clock on, for so long at most."""
        self.cursor["until"] = moment + round(seconds * NANOSECONDS)
        self.cursor["base"] = moment

    def next_due(self) -> int | None:
        """When the next frame is due, of the monotonic clock; None while nothing is to be sent."""
        cursor = self.cursor
        if not cursor["base"]:
            return None
        return cursor["base"] + cursor["sent"] * cursor["gap"] // _FRACTION

    def sending(self) -> AbstractContextManager[Callable[[int, int], None]]:
        """As `LiveProgram.sending`."""
        return self._program.sending()

    @property
    def offered(self) -> Offered:
        """What has been sent since `prepare`."""
        cursor = self.cursor
        return Offered(
            cursor["sent"],
            cursor["bytes"],
            (cursor["last"] - cursor["first"]) / NANOSECONDS,
            cursor["worst"] / NANOSECONDS,
        )
