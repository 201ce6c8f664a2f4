"""Frames sent into the chains of a topology from memory (nfv/ebpf/tools/replay.c).

A frame enters at the program of its port, so it is to the chains as if it had come by the device:
whatever the device is, and without a queue in front of the program that could lose it. Ports with
XDP programs are reached by a tail call; for TC programs the kernel takes the frame as received.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from nfv.dataplane import bpf, headers, netns, state
from nfv.dataplane.bpf import Map, MapType
from nfv.dataplane.state import State
from nfv.dataplane.wiring import Port, jump
from nfv.ebpf import sources
from nfv.ebpf.compiler import Compiler
from nfv.ebpf.compose import has_frags
from nfv.ebpf.object import Layout, MapSpec
from nfv.traffic.feed import Due

MAX_FRAME = 3400
"""Bytes of the longest frame; a live frame is in one page, with the kernel's own data
around it (BPF_PROG_TEST_RUN)."""

FOREVER = (1 << 64) - 1
"""A limit of packets that is never reached."""

_SOURCE = "tools/replay.c"
_CHUNK_SIZE = sources.constant(_SOURCE, "REPLAY_CHUNK_SIZE")
_SUB_BITS = sources.constant(_SOURCE, "REPLAY_SUB_BITS")
_BUCKETS = sources.constant(_SOURCE, "REPLAY_MAX_POWER") - _SUB_BITS + 2 << _SUB_BITS
_RECORD = struct.Struct("=QIHH")  # struct replay_record


def record_size(length: int) -> int:
    """Bytes that a frame of some length takes in memory."""
    return _RECORD.size + (length + 7) // 8 * 8


def chunks(stored: int) -> int:
    """Chunks that hold records of so many bytes."""
    return stored // _CHUNK_SIZE + 1


@dataclass(frozen=True)
class Sent:
    """Packets, and their bytes with the Ethernet header."""

    packets: int
    bytes: int


class Cursor:
    """struct replay_cursor, which the program goes on writing; times in nanoseconds."""

    def __init__(self, memory: memoryview, layout: Layout) -> None:
        self._words = memory.cast("Q")  # so that each access is one load or store
        self._places = {member.name: member.offset // 8 for member in layout.fields}

    def __getitem__(self, name: str) -> int:
        return self._words[self._places[name]]

    def __setitem__(self, name: str, value: int) -> None:
        self._words[self._places[name]] = value


class Injector:
    """The program, and the memory that it sends from: a ring of `slots` chunks.

    It is for all ports that have XDP programs, or for one that has a TC program. Frames are for
    `ports`, by the number that `Due.source` has.
    """

    def __init__(self, applied: State, ports: Mapping[int, Port], slots: int) -> None:
        self._open = ExitStack()
        text = sources.splice(_SOURCE, "", set())
        compiled = Compiler(headers.find()).compile([text])[text]
        (code,) = compiled.programs.values()
        (self._device,) = {
            None if has_xdp(applied, port) else port.outer for port in ports.values()
        }
        jumps = self._jumps(applied)
        self._jumps_at = {number: jump(port.number) for number, port in ports.items()}
        sizes = {
            "replay_chunks": slots,
            "replay_cursors": 1,
            "replay_sources": max(ports) + 1,
            "replay_gaps": _BUCKETS,
        }
        maps = {"nf_jumps": jumps}
        for name, spec in compiled.maps.items():
            if name not in maps:
                maps[name] = self._map(name, spec, sizes[name])
        flags = bpf.F_XDP_HAS_FRAGS if has_frags(applied.topology()) else 0
        bound = code.bind({name: found.fd for name, found in maps.items()}, ())
        self._program = bpf.prog_load(bound, "nfv_replay", flags=flags)
        self._open.callback(os.close, self._program)

        self._chunks = self._memory(maps["replay_chunks"])
        self._stride = maps["replay_chunks"].value_size
        layout = compiled.maps["replay_cursors"].value
        assert layout is not None
        self.cursor = Cursor(self._memory(maps["replay_cursors"]), layout)
        self.cursor["slots"] = slots
        self.cursor["verdict"] = bpf.XDP_PASS if self._device else bpf.XDP_DROP
        self._sources = self._memory(maps["replay_sources"]).cast("Q")
        self._gaps = self._memory(maps["replay_gaps"]).cast("Q")

    def __enter__(self) -> Injector:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def _jumps(self, applied: State) -> Map:
        """The topology's table of tail calls between XDP programs; an empty one without such."""
        if self._device is None:
            jumps = Map.open(_jumps_pin(applied))
        else:
            jumps = Map.create(MapType.PROG_ARRAY, 4, 4, 1, name="nf_jumps")
        self._open.callback(jumps.close)
        return jumps

    def _map(self, name: str, spec: MapSpec, size: int) -> Map:
        made = Map.create(
            spec.type, spec.key_size, spec.value_size, size, flags=spec.flags, name=name
        )
        self._open.callback(made.close)
        return made

    def _memory(self, found: Map) -> memoryview:
        return memoryview(found.memory())

    # Filling

    def fill(self, frames: Iterator[Due]) -> bool:
        """Write the next chunk; whether there was anything to write."""
        slot = self.cursor["filled"] % self.cursor["slots"]
        start = slot * self._stride
        place, end = start, start + _CHUNK_SIZE
        memory, pack = self._chunks, _RECORD.pack_into
        while place < end:
            frame = next(frames, None)
            if frame is None:
                break
            due, source, data = frame
            length = len(data)
            pack(memory, place, due, self._jumps_at[source], length, source)
            place += _RECORD.size
            memory[place : place + length] = data
            place += (length + 7) // 8 * 8
        pack(memory, place, 0, 0, 0, 0)
        if place == start:
            return False
        self.cursor["filled"] += 1
        return True

    @property
    def room(self) -> bool:
        """Whether a chunk has been sent that can be written again."""
        return self.cursor["filled"] - self.cursor["chunk"] < self.cursor["slots"]

    # Sending

    @contextmanager
    def sending(self) -> Iterator[Callable[[int, int], None]]:
        """A function that runs the program so many times, and so many at once.

        It waits for the next frame about 0.3 ms each time.
        """
        device = self._device
        with netns.entered(device.netns if device else None):
            index = socket.if_nametoindex(device.name) if device else 0
            room = bytes(MAX_FRAME)
            yield lambda times, batch: bpf.prog_run_live(
                self._program, room, times, ingress=index, batch=batch
            )

    def next_due(self) -> int | None:
        """When the next frame is due, of the monotonic clock; None if that is not known yet.

        For the process that sends, while it does not.
        """
        cursor = self.cursor
        if not cursor["base"] or cursor["chunk"] >= cursor["filled"]:
            return None
        slot = cursor["chunk"] % cursor["slots"]
        place = slot * self._stride + cursor["offset"]
        return cursor["base"] + int(_RECORD.unpack_from(self._chunks, place)[0])

    # Results

    def sent(self, source: int) -> Sent:
        """What has been sent of a source."""
        return Sent(self._sources[2 * source], self._sources[2 * source + 1])

    def gaps(self) -> list[int]:
        """How many gaps between packets had errors of each size; `gap_error` reads it."""
        return self._gaps.tolist()


def gap_error(counts: Sequence[int], share: float) -> int:
    """The error, in nanoseconds, that this share of the gaps does not exceed; 3 % too high."""
    wanted = share * sum(counts)
    for place, count in enumerate(counts):
        wanted -= count
        if wanted <= 0:
            return _upper(place)
    return 0


def _upper(place: int) -> int:
    """The largest error that is counted at a place of replay_gaps."""
    power = max(0, (place >> _SUB_BITS) - 1)
    below = place - (power << _SUB_BITS)
    return (below + 1 << power) - 1


def has_xdp(applied: State, port: Port) -> bool:
    """Whether an XDP program runs where packets enter at a port; else it is one for TC."""
    pin = _jumps_pin(applied)
    if not pin.exists():
        return False
    jumps = Map.open(pin)
    try:
        return jumps.lookup(struct.pack("=I", jump(port.number))) is not None
    finally:
        jumps.close()


def _jumps_pin(applied: State) -> Path:
    return state.pins(applied.name) / "jumps"
