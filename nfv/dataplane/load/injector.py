"""Frames sent into the chains of a topology from memory (nfv/ebpf/tools/replay.c)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from nfv.closing import Closing
from nfv.dataplane.load.histogram import BUCKETS
from nfv.dataplane.load.live import LiveProgram
from nfv.dataplane.state import State
from nfv.dataplane.wiring import Port, jump
from nfv.ebpf import sources
from nfv.traffic.feed import Due

FOREVER = (1 << 64) - 1
"""A limit of packets that is never reached."""

_SOURCE = "tools/replay.c"
_CHUNK_SIZE = sources.constant(_SOURCE, "REPLAY_CHUNK_SIZE")
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


class Injector(Closing):
    """The program, and the memory that it sends from: a ring of `slots` chunks.

    It is for all ports that have XDP programs, or for one that has a TC program. Frames are for
    `ports`, by the number that `Due.source` has.
    """

    def __init__(self, applied: State, ports: Mapping[int, Port], slots: int) -> None:
        self._jumps_at = {number: jump(port.number) for number, port in ports.items()}
        sizes = {
            "replay_chunks": slots,
            "replay_cursors": 1,
            "replay_sources": max(ports) + 1,
            "replay_gaps": BUCKETS,
        }
        self._program = LiveProgram(applied, ports, _SOURCE, sizes)
        self._chunks = self._program.memory("replay_chunks")
        self._stride = self._program.maps["replay_chunks"].value_size
        self.cursor = self._program.cursor("replay_cursors")
        self.cursor["slots"] = slots
        self.cursor["verdict"] = self._program.verdict
        self._sources = self._program.memory("replay_sources").cast("Q")
        self._gaps = self._program.memory("replay_gaps").cast("Q")

    def close(self) -> None:
        self._program.close()

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

    def sending(self) -> AbstractContextManager[Callable[[int, int], None]]:
        """As `LiveProgram.sending`."""
        return self._program.sending()

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
        """How many gaps between packets had errors of each size, for `histogram.percentile`."""
        return self._gaps.tolist()
