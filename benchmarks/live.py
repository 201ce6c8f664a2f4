"""Senders and sinks: XDP programs that make frames in the kernel and count those that arrive."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from benchmarks.frames import same_size
from nfv.dataplane import bpf, headers, netns
from nfv.dataplane.bpf import Map
from nfv.ebpf.compiler import Compiler

_TALLY = struct.Struct("=3Q")  # struct tally of sink.c
_INTERVAL = 64  # INTERVAL of sink.c
_PROGRAMS = Path(__file__).with_name("programs")


@dataclass(frozen=True)
class Device:
    """A network device, by the namespace it is in and its name."""

    netns: str
    name: str


@dataclass(frozen=True)
class Program:
    """A loaded program with maps of its own."""

    fd: int
    maps: Mapping[str, Map]


class Loader(AbstractContextManager["Loader"]):
    """Compiles and loads the benchmarks' programs, and closes them at the end."""

    def __init__(self) -> None:
        self._compiler = Compiler(headers.find())
        self._open = ExitStack()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def load(self, name: str, sizes: Mapping[str, int] | None = None, **constants: int) -> Program:
        """Load programs/NAME.c; `sizes` of its maps are 1 where not given."""
        defines = "".join(f"#define {key} {value}\n" for key, value in constants.items())
        text = defines + f'#line 1 "{name}.c"\n' + (_PROGRAMS / f"{name}.c").read_text()
        compiled = self._compiler.compile([text])[text]
        maps = {}
        for title, spec in compiled.maps.items():
            size = (sizes or {}).get(title, 1)
            maps[title] = Map.create(
                spec.type, spec.key_size, spec.value_size, size, flags=spec.flags, name=title
            )
            self._open.callback(maps[title].close)
        (code,) = compiled.programs.values()
        fds = {title: found.fd for title, found in maps.items()}
        fd = bpf.prog_load(code.bind(fds, ()), f"bench_{name}")
        self._open.callback(os.close, fd)
        return Program(fd, maps)


def connect(program: Program, device: Device) -> None:
    """Let the program's redirects leave by a device."""
    with netns.entered(device.netns):
        program.maps["out"][0] = struct.pack("=I", socket.if_nametoindex(device.name))


def attach(program: Program, device: Device) -> int:
    """Run a program on a device as long as the descriptor returned is open."""
    with netns.entered(device.netns):
        return bpf.link_create(program.fd, socket.if_nametoindex(device.name))


class Sender:
    """Sends frames out of a device, in turn, as fast as the path takes them."""

    def __init__(self, loader: Loader, device: Device, frames: Sequence[bytes]) -> None:
        size = same_size(frames)
        self._frame = frames[0]
        self._program = loader.load("generator", {"frames": len(frames)}, FRAME_SIZE=size)
        for index, frame in enumerate(frames):
            self._program.maps["frames"][index] = frame
        self._program.maps["cursors"][0] = struct.pack("=II", 0, len(frames))
        connect(self._program, device)

    def send(self, count: int) -> None:
        """Send `count` frames; returns when the last has left the device."""
        bpf.prog_run_live(self._program.fd, self._frame, count, ingress=0)


@dataclass(frozen=True)
class Tally:
    """What arrived at a sink: packets, how many of them are timed, and the seconds they took."""

    packets: int
    timed: int
    seconds: float


class Sink:
    """Counts and times the TCP and UDP packets that arrive at devices, and drops them.

    One program serves all devices: of more than 48 different ones on a machine, the kernel calls
    those that came last in a way that is slower (include/linux/bpf.h, BPF_DISPATCHER_MAX).
    """

    def __init__(self, loader: Loader) -> None:
        self.program = loader.load("sink")

    def reset(self) -> None:
        """Begin to count and to time."""
        self.program.maps["tallies"][0] = bytes(_TALLY.size)

    def read(self) -> Tally:
        """What arrived since `reset`, if nothing is under way."""
        packets, first, last = _TALLY.unpack(self.program.maps["tallies"][0])
        timed = max(0, packets - 1) // _INTERVAL * _INTERVAL
        return Tally(packets, timed, (last - first) / 1e9)
