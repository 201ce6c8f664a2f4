"""Capture files, as tcpdump, Wireshark and others write them: what is in one, packet by packet.

The readers are our own: of the libraries, those that are quick enough wrap libpcap, which tells
neither the packet nor the byte where a file is damaged. These read about two million packets a
second, never hold more than one, and trust no length in the file.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from nfv.errors import InputError

MAX_PACKET = 262144
"""Bytes of the longest packet that a capture holds (MAXIMUM_SNAPLEN of libpcap)."""

_GZIP = b"\x1f\x8b"


class Packet(NamedTuple):
    """One packet of a capture.

    `moment` is in nanoseconds since the epoch, None if the file does not say. `link` is the type of
    its link layer (LINKTYPE_*), `whole` its length in bytes on the wire.
    """

    moment: int | None
    link: int
    data: bytes
    whole: int


class Damage(Exception):
    """A capture that contradicts itself, at a byte."""

    def __init__(self, what: str, place: int) -> None:
        super().__init__(what)
        self.what = what
        self.place = place


def read(path: Path) -> Iterator[Packet]:
    """The packets of a pcap or pcapng file, in its order; memory does not grow with the file.

    Raises `InputError` with the packet and the byte where the file is damaged or cut short.
    """
    from nfv.traffic import pcap, pcapng

    with _opened(path) as data:
        for reader in (pcap, pcapng):
            if reader.knows(data):
                yield from _told(path, reader.packets(data))
                return
        packed = data[:2] == _GZIP
    hint = f"it is compressed: gunzip {path}" if packed else "tcpdump and Wireshark write both"
    raise InputError(f"{path} is neither a pcap nor a pcapng file", hint)


def _told(path: Path, packets: Iterator[Packet]) -> Iterator[Packet]:
    """The packets, with damage told as the user needs it."""
    number = 1
    try:
        for packet in packets:
            yield packet
            number += 1
    except Damage as damage:
        raise InputError(
            f"{path}, packet {number:,} at byte {damage.place:,}: {damage.what}",
            f"keep what is whole: tcpdump -r {path} -w whole.pcap",
        ) from damage


@contextmanager
def _opened(path: Path) -> Iterator[mmap.mmap | bytes]:
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                yield b""
                return
            with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
                data.madvise(mmap.MADV_SEQUENTIAL)
                yield data
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it cannot be mapped"
        raise InputError(f"cannot read {path}: {why}", "a capture is a file, not a pipe") from error
