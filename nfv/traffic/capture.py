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

from nfv.errors import InputError
from nfv.traffic import pcap, pcapng
from nfv.traffic.packet import Damage, Packet

_GZIP = b"\x1f\x8b"


def read(path: Path) -> Iterator[Packet]:
    """The packets of a pcap or pcapng file, in its order; memory does not grow with the file.

    Raises `InputError` with the packet and the byte where the file is damaged or cut short.
    """
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
