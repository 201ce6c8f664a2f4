"""The pcap format (draft-ietf-opsawg-pcap): one header, then packets.

Numbers are in the byte order of the machine that wrote them; times in microseconds or nanoseconds.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from nfv.traffic.packet import MAX_PACKET, Damage, Packet

_NANOSECOND_MAGIC = 0xA1B23C4D
_MAGIC = {0xA1B2C3D4: 1000, _NANOSECOND_MAGIC: 1}  # nanoseconds in a unit of the times' fraction
_HEADER = "IHHiIII"  # magic, version, zone, accuracy, longest packet, link type
_RECORD = "IIII"  # seconds, fraction, bytes in the file, bytes on the wire
_ETHERNET = 1  # LINKTYPE_ETHERNET
_NANOSECONDS = 1_000_000_000
_LINK_TYPE = 0xFFFF  # the bits above tell of check sequences


def knows(data: mmap.mmap | bytes) -> bool:
    """Whether these are the bytes of a pcap file."""
    return any(
        int.from_bytes(data[:4], "little") == magic or int.from_bytes(data[:4], "big") == magic
        for magic in _MAGIC
    )


def packets(data: mmap.mmap | bytes) -> Iterator[Packet]:
    """The packets of a file. Raises `Damage`."""
    order = "<" if int.from_bytes(data[:4], "little") in _MAGIC else ">"
    header, record = struct.Struct(order + _HEADER), struct.Struct(order + _RECORD)
    if len(data) < header.size:
        raise Damage("the file's header is cut short", len(data))
    magic, *_, link = header.unpack_from(data)
    unit, link = _MAGIC[magic], link & _LINK_TYPE
    place, end = header.size, len(data)
    while place < end:
        start = place + record.size
        if start > end:
            raise Damage("cut short", place)
        seconds, fraction, length, whole = record.unpack_from(data, place)
        if length > MAX_PACKET:
            raise Damage(f"a length of {length:,} bytes", place)
        place = start + length
        if place > end:
            raise Damage("cut short", start)
        yield Packet(seconds * 1_000_000_000 + fraction * unit, link, data[start:place], whole)


def write(path: Path, frames: Iterable[tuple[int, bytes]]) -> None:
    """Write Ethernet frames with their times, in nanoseconds since the epoch."""
    header, record = struct.Struct("<" + _HEADER), struct.Struct("<" + _RECORD)
    with path.open("wb") as file:
        file.write(header.pack(_NANOSECOND_MAGIC, 2, 4, 0, 0, MAX_PACKET, _ETHERNET))
        for moment, data in frames:
            seconds, fraction = divmod(moment, _NANOSECONDS)
            file.write(record.pack(seconds, fraction, len(data), len(data)) + data)
