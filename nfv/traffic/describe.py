"""Packets in words, by tcpdump: it reads them from a pipe, as if from a capture file."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator, Sequence

from nfv.closing import Closing
from nfv.errors import InputError, KernelError
from nfv.traffic.link import ETHERNET
from nfv.traffic.packet import MAX_PACKET

_COMMAND = ("tcpdump", "-n", "-t", "-l", "-r", "-")
_HEADER = struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, MAX_PACKET, ETHERNET)
_RECORD = struct.Struct("=IIII")  # seconds, microseconds, bytes kept, bytes on the wire
_END = _RECORD.pack(0, 0, 0, 0)
"""A frame without a byte. No device has such: what tcpdump says of it ends what it said before."""

_AT_ONCE = 1 << 15
"""Bytes that are written before the words are read: less than a pipe holds, so nobody waits."""

_LONGEST = _AT_ONCE // 2  # bytes of a frame that are looked at
_DUMP = b"\t0x"  # what lines with the bytes of unknown protocols begin with


class Describer(Closing):
    """Describes Ethernet frames, each in one line."""

    def __init__(self) -> None:
        """Raises `InputError` if there is no tcpdump."""
        try:
            process = subprocess.Popen(
                _COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is not meant for it
            )
        except FileNotFoundError as error:
            raise InputError("the command tcpdump is missing", "apt-get install tcpdump") from error
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._to, self._from = process, process.stdin, process.stdout
        self._to.write(_HEADER + _END)
        self._to.flush()
        self._end = self._from.readline()

    def close(self) -> None:
        self._to.close()
        self._from.close()
        self._process.wait()

    def describe(self, frames: Sequence[tuple[bytes, int]]) -> list[str]:
        """A line for each frame: the bytes that were captured, and how many it had on the wire."""
        return [line for batch in _batches(frames) for line in self._some(batch)]

    def _some(self, batch: Sequence[bytes]) -> list[str]:
        self._to.write(b"".join(batch))
        self._to.flush()
        return [self._one() for _ in batch]

    def _one(self) -> str:
        """What is said of a frame, which with some protocols takes several lines."""
        said: list[str] = []
        for line in self._from:
            if line == self._end:
                return " ".join(said)
            if not line.startswith(_DUMP):
                said.append(line.decode(errors="replace").strip())
        raise KernelError("tcpdump has ended, which describes the packets")


def _batches(frames: Sequence[tuple[bytes, int]]) -> Iterator[list[bytes]]:
    """The frames as tcpdump reads them, as many at a time as may be written at once."""
    batch: list[bytes] = []
    size = 0
    for data, whole in frames:
        part = data[:_LONGEST]
        record = _RECORD.pack(0, 0, len(part), whole) + part + _END
        if batch and size + len(record) > _AT_ONCE:
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += len(record)
    if batch:
        yield batch
