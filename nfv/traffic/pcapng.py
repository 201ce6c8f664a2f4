"""The pcapng format (draft-ietf-opsawg-pcapng): sections of blocks.

A section has its own byte order and interfaces, an interface its own link type and clock. Blocks
that hold no packets are passed over.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from nfv.traffic.packet import MAX_PACKET, Damage, Packet

_SECTION = 0x0A0D0D0A  # the same in both byte orders
_INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _ENHANCED_PACKET = 1, 2, 3, 6
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_FRAMING = 12  # bytes of a block's type and of its length, which stands at both ends
_BODY = 8  # bytes in front of a block's body
_END_OF_OPTIONS, _TIME_RESOLUTION, _TIME_OFFSET = 0, 9, 14
_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class _Interface:
    link: int
    longest: int  # bytes kept of a packet; 0 for all
    units: int = 1_000_000  # of its clock, a second
    offset: int = 0  # seconds to add

    def moment(self, high: int, low: int) -> int:
        return (high << 32 | low) * _NANOSECONDS // self.units + self.offset * _NANOSECONDS


def knows(data: mmap.mmap | bytes) -> bool:
    """Whether these are the bytes of a pcapng file."""
    return int.from_bytes(data[:4], "big") == _SECTION


def packets(data: mmap.mmap | bytes) -> Iterator[Packet]:
    """The packets of a file. Raises `Damage`."""
    order = "<"
    interfaces: list[_Interface] = []
    for place, kind, length, order in _blocks(data):
        body, size = place + _BODY, length - _FRAMING
        if kind == _SECTION:
            interfaces = []
        elif kind == _INTERFACE:
            interfaces.append(_interface(data, order, body, size))
        elif kind == _ENHANCED_PACKET:
            yield _enhanced(data, order, body, size, interfaces)
        elif kind == _SIMPLE_PACKET:
            yield _simple(data, order, body, size, interfaces)
        elif kind == _OLD_PACKET:
            yield _old(data, order, body, size, interfaces)


def _blocks(data: mmap.mmap | bytes) -> Iterator[tuple[int, int, int, str]]:
    """Place, type, length and byte order of each block."""
    place, end, order = 0, len(data), "<"
    while place < end:
        if place + _FRAMING > end:
            raise Damage("cut short", place)
        (kind,) = struct.unpack_from(order + "I", data, place)
        if kind == _SECTION:
            order = _byte_order(data, place)
        (length,) = struct.unpack_from(order + "I", data, place + 4)
        if length < _FRAMING or length % 4:
            raise Damage(f"a block of {length:,} bytes", place)
        if place + length > end:
            raise Damage("cut short", place)
        if struct.unpack_from(order + "I", data, place + length - 4) != (length,):
            raise Damage("a block whose two lengths differ", place)
        yield place, kind, length, order
        place += length


def _byte_order(data: mmap.mmap | bytes, place: int) -> str:
    for order in "<>":
        if struct.unpack_from(order + "I", data, place + _BODY) == (_BYTE_ORDER_MAGIC,):
            return order
    raise Damage("a section of unknown byte order", place)


def _interface(data: mmap.mmap | bytes, order: str, place: int, size: int) -> _Interface:
    fixed = struct.Struct(order + "HHI")
    if size < fixed.size:
        raise Damage("an interface cut short", place)
    link, _, longest = fixed.unpack_from(data, place)
    units, offset = 1_000_000, 0
    for code, value in _options(data, order, place + fixed.size, place + size):
        if code == _TIME_RESOLUTION and len(value) == 1:
            units = 1 << (value[0] & 0x7F) if value[0] & 0x80 else int(10 ** value[0])
        elif code == _TIME_OFFSET and len(value) == 8:
            (offset,) = struct.unpack(order + "q", value)
    return _Interface(link, longest, units, offset)


def _options(
    data: mmap.mmap | bytes, order: str, place: int, end: int
) -> Iterator[tuple[int, bytes]]:
    while place + 4 <= end:
        code, length = struct.unpack_from(order + "HH", data, place)
        if code == _END_OF_OPTIONS:
            return
        if place + 4 + length > end:
            raise Damage("an option cut short", place)
        yield code, data[place + 4 : place + 4 + length]
        place += 4 + (length + 3) // 4 * 4


def _enhanced(
    data: mmap.mmap | bytes, order: str, place: int, size: int, interfaces: list[_Interface]
) -> Packet:
    fixed = struct.Struct(order + "5I")
    if size < fixed.size:
        raise Damage("cut short", place)
    number, high, low, length, whole = fixed.unpack_from(data, place)
    interface = _known(interfaces, number, place)
    content = _content(data, place + fixed.size, length, size - fixed.size)
    return Packet(interface.moment(high, low), interface.link, content, whole)


def _simple(
    data: mmap.mmap | bytes, order: str, place: int, size: int, interfaces: list[_Interface]
) -> Packet:
    """A packet without time, of the first interface, whose limit tells how much was kept."""
    if size < 4:
        raise Damage("cut short", place)
    (whole,) = struct.unpack_from(order + "I", data, place)
    interface = _known(interfaces, 0, place)
    length = min(whole, interface.longest or whole)
    return Packet(None, interface.link, _content(data, place + 4, length, size - 4), whole)


def _old(
    data: mmap.mmap | bytes, order: str, place: int, size: int, interfaces: list[_Interface]
) -> Packet:
    """A packet as files had it before there were enhanced ones."""
    fixed = struct.Struct(order + "HHIIII")
    if size < fixed.size:
        raise Damage("cut short", place)
    number, _, high, low, length, whole = fixed.unpack_from(data, place)
    interface = _known(interfaces, number, place)
    content = _content(data, place + fixed.size, length, size - fixed.size)
    return Packet(interface.moment(high, low), interface.link, content, whole)


def _known(interfaces: list[_Interface], number: int, place: int) -> _Interface:
    if number >= len(interfaces):
        raise Damage(f"interface {number} is not declared", place)
    return interfaces[number]


def _content(data: mmap.mmap | bytes, place: int, length: int, room: int) -> bytes:
    if length > min(room, MAX_PACKET):
        raise Damage(f"a length of {length:,} bytes", place)
    return data[place : place + length]
