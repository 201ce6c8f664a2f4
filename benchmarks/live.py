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

from benchmarks.frames import Kind, Leg, stamp_at
from nfv.dataplane.kernel import bpf, headers, netns
from nfv.dataplane.kernel.bpf import Map, MapType
from nfv.ebpf.compiler import Compiler
from nfv.ebpf.object import Object

RESOLUTION = 16
"""Nanoseconds to which a sink tells durations: RESOLUTION of sink.c."""

_DURATIONS = 65536  # DURATIONS of sink.c
_FLOW_SIZE = 8  # struct flow of generator.c
_TALLY = struct.Struct("=3Q")  # struct tally of sink.c
_INTERVAL = 64  # INTERVAL of sink.c
_CURSOR = struct.Struct("=4I")  # struct cursor of generator.c
_PACE = struct.Struct("=Q2I")  # struct pace of generator.c
_PROGRAMS = Path(__file__).with_name("programs")


@dataclass(frozen=True)
class Device:
    """A network device, by the namespace it is in and its name."""

    netns: str
    name: str


@dataclass(frozen=True)
class Program:
    """A loaded program and its maps."""

    fd: int
    maps: Mapping[str, Map]


class Loader(AbstractContextManager["Loader"]):
    """Compiles and loads the benchmarks' programs, and closes them at the end."""

    def __init__(self) -> None:
        self._compiler = Compiler(headers.find())
        self._compiled: dict[str, Object] = {}
        self._open = ExitStack()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def map(self, type_: MapType, value_size: int, size: int, flags: int, name: str) -> Map:
        """A map that is closed with the loader; keys are numbers."""
        found = Map.create(type_, 4, value_size, size, flags=flags, name=name)
        self._open.callback(found.close)
        return found

    def sequence(self, flows: bytes) -> Map:
        """The map in which a sender reads the flows of its packets: struct flow, one by one."""
        count = len(flows) // _FLOW_SIZE
        found = self.map(MapType.ARRAY, _FLOW_SIZE, count, bpf.F_MMAPABLE, "flows")
        with found.memory() as memory:
            memory[: len(flows)] = flows
        return found

    def load(
        self,
        name: str,
        sizes: Mapping[str, int] | None = None,
        shared: Mapping[str, Map] | None = None,
        **constants: int,
    ) -> Program:
        """Load programs/NAME.c; `sizes` of its maps are 1 where not given, `shared` are there."""
        compiled = self._compile(name, constants)
        maps = dict(shared or {})
        for title, spec in compiled.maps.items():
            if title not in maps:
                size = (sizes or {}).get(title, 1)
                maps[title] = self.map(MapType(spec.type), spec.value_size, size, spec.flags, title)
        (code,) = compiled.programs.values()
        fds = {title: found.fd for title, found in maps.items()}
        fd = bpf.prog_load(code.bind(fds, ()), f"bench_{name}")
        self._open.callback(os.close, fd)
        return Program(fd, maps)

    def _compile(self, name: str, constants: Mapping[str, int]) -> Object:
        defines = "".join(f"#define {key} {value}\n" for key, value in constants.items())
        text = defines + f'#line 1 "{name}.c"\n' + (_PROGRAMS / f"{name}.c").read_text()
        if text not in self._compiled:
            self._compiled.update(self._compiler.compile([text]))
        return self._compiled[text]


def connect(program: Program, device: Device) -> None:
    """Let the program's redirects leave by a device."""
    with netns.entered(device.netns):
        program.maps["out"][0] = struct.pack("=I", socket.if_nametoindex(device.name))


def attach(program: Program, device: Device) -> int:
    """Run a program on a device as long as the descriptor returned is open."""
    with netns.entered(device.netns):
        return bpf.link_create(program.fd, socket.if_nametoindex(device.name))


class Sender:
    """Sends frames out of a device as fast as the path takes them, or at a pace."""

    def __init__(
        self,
        loader: Loader,
        device: Device,
        kind: Kind,
        leg: Leg,
        flows: Map,
        intervals: Sequence[int] = (),
        part: range | None = None,
    ) -> None:
        """`flows` is a `Loader.sequence`, of which only `part` is sent if it is given.

        `intervals` in nanoseconds are those between frames.
        """
        self._frame = bytes(max(template.length for template in leg.templates))
        self._paced = len(intervals)
        place = leg.layout
        self._program = loader.load(
            "generator",
            {"templates": len(leg.templates), "intervals": max(1, len(intervals))},
            {"flows": flows},
            FRAME_SIZE=len(self._frame),
            HEAD_SIZE=kind.head,
            IPV6=int(kind.version == 6),
            KINDS=len(leg.templates),
            ADDRESS_AT=place.address,
            PORT_AT=place.port,
            PORT_BITS=socket.htons(leg.port_bits),
            L3_CHECK_AT=place.l3_check,
            L4_CHECK_AT=place.l4_check,
            MAC_AT=place.mac,
            STAMP_AT=stamp_at(kind) if intervals else 0,
        )
        maps = self._program.maps
        for index, template in enumerate(leg.templates):
            maps["templates"][index] = template.pack()
        for index, interval in enumerate(intervals):
            maps["intervals"][index] = struct.pack("=Q", interval)
        sent = part or range(flows.max_entries)
        cursor = _CURSOR.pack(sent.start, sent.start, sent.stop, 0)
        maps["cursors"][0] = cursor * bpf.possible_cpus()
        connect(self._program, device)

    def send(self, count: int, batch: int = 64) -> None:
        """Send frames, so many at once; returns when the last has left the device."""
        if self._paced:
            self._program.maps["paces"][0] = _PACE.pack(0, 0, self._paced)
        bpf.prog_run_live(self._program.fd, self._frame, count, ingress=0, batch=batch)


@dataclass(frozen=True)
class Tally:
    """What arrived on a CPU: packets, how many of them are timed, and the seconds they took."""

    packets: int
    timed: int
    seconds: float


class Sink:
    """Counts and times the TCP and UDP packets that arrive at devices, and drops them.

    One program serves all devices: of more than 48 different ones on a machine, the kernel calls
    those that came last in a way that is slower (include/linux/bpf.h, BPF_DISPATCHER_MAX).
    """

    def __init__(self, loader: Loader, stamp_at: int = 0) -> None:
        """`stamp_at` is where frames say when they were due, if they do."""
        self._stamped = stamp_at > 0
        self.program = loader.load("sink", {"durations": _DURATIONS}, STAMP_AT=stamp_at)

    def reset(self) -> None:
        """Begin to count and to time."""
        self.program.maps["tallies"][0] = bytes(_TALLY.size * bpf.possible_cpus())
        if self._stamped:
            with self.program.maps["durations"].memory() as memory:
                memory[:] = bytes(len(memory))

    def read(self) -> list[Tally]:
        """What arrived on each CPU since `reset`, if nothing is under way."""
        return [_tally(*found) for found in _TALLY.iter_unpack(self.program.maps["tallies"][0])]

    def durations(self) -> list[int]:
        """How many packets took so many times `RESOLUTION` nanoseconds."""
        with self.program.maps["durations"].memory() as memory:
            return list(memoryview(bytes(memory)).cast("Q"))


def _tally(packets: int, first: int, last: int) -> Tally:
    timed = max(0, packets - 1) // _INTERVAL * _INTERVAL
    return Tally(packets, timed, (last - first) / 1e9)
