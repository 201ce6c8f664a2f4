"""Fields of frames by Scapy's names, such as `IP.ttl`: left out, written, and told apart."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scapy.fields import MACField
from scapy.layers.l2 import Ether
from scapy.packet import NoPayload, Packet

from nfv.traffic.expression import layer

_CHECKSUMS = ("chksum", "cksum")
_NETWORK, _ADDRESSES = ("IP", "IPv6"), {"src", "dst"}  # which transport checksums cover
_SHOWN = 60  # characters of a value


@dataclass(frozen=True)
class FieldName:
    """A field of a layer; without a field it means the whole layer."""

    layer: str
    field: str | None

    def __str__(self) -> str:
        return f"{self.layer}.{self.field}" if self.field else self.layer

    @property
    def is_mac(self) -> bool:
        found = layer(self.layer)
        return found is not None and any(
            isinstance(field, MACField) for field in found.fields_desc if field.name == self.field
        )


def parse(text: str) -> FieldName:
    """A name as it is written. Raises `ValueError` that says what there is instead."""
    name, _, field = text.partition(".")
    found = layer(name)
    if found is None:
        raise ValueError(f"Scapy has no layer '{name}'")
    known = [one.name for one in found.fields_desc]
    if field and field not in known:
        raise ValueError(f"{name} has no field '{field}'; it has {', '.join(known)}")
    return FieldName(name, field or None)


def masked(frame: bytes, names: Sequence[FieldName]) -> bytes:
    """The frame with zeros for the fields."""
    if not names:
        return frame
    value = int.from_bytes(frame, "big")
    whole = len(frame) * 8
    for name in names:
        for start, end in _places(frame, name):
            value &= ~((1 << end - start) - 1 << whole - end)
    return value.to_bytes(len(frame), "big")


def _places(frame: bytes, name: FieldName) -> Iterator[tuple[int, int]]:
    """First bit, and first bit behind, of a field wherever the frame has it."""
    place = 0
    for one in _layers(Ether(frame)):
        size = _size(one) * 8
        if _name(one) == name.layer:
            yield from _within(one, name.field, place, size)
        place += size


def _size(one: Packet) -> int:
    """Bytes of a layer without its payload. Of those that Scapy has changed it keeps the whole."""
    if one.raw_packet_cache is not None:
        return len(one.raw_packet_cache)
    return len(one.original) - len(one.payload.original)


def _within(one: Packet, field: str | None, start: int, size: int) -> Iterator[tuple[int, int]]:
    """The bits of a field in a layer, found by building what is in front of it."""
    if field is None:
        yield start, start + size
        return
    built: Any = b""
    for description in one.fields_desc:
        before = _bits(built)
        built = description.addfield(one, built, one.getfieldval(description.name))
        if description.name == field:
            yield start + before, min(start + _bits(built), start + size)
            return


def _bits(built: Any) -> int:
    """Bits of what has been built: bytes, or bytes with some bits of the next ones."""
    return len(built[0]) * 8 + built[1] if isinstance(built, tuple) else len(built) * 8


def written(frame: bytes, values: Mapping[FieldName, int | str]) -> bytes:
    """The frame with other values of fields, and with the checksums that cover them.

    A number with a sign is added. A field that the frame has not is passed over.
    """
    packet = Ether(frame)
    found = addresses = False
    for one in _layers(packet):
        wanted = {
            name.field: value
            for name, value in values.items()
            if name.field and name.layer == _name(one)
        }
        for field, value in wanted.items():
            one.setfieldval(field, _value(one.getfieldval(field), value))
        if wanted or addresses:
            _forget_checksum(one, wanted)
        addresses |= _name(one) in _NETWORK and not _ADDRESSES.isdisjoint(wanted)
        found |= bool(wanted)
    return bytes(packet) if found else frame


def _forget_checksum(one: Packet, wanted: Collection[str]) -> None:
    """Have Scapy compute the checksum of a layer, unless another one is wanted."""
    for field in _CHECKSUMS:
        if field in one.fields and field not in wanted:
            one.delfieldval(field)


def _value(before: Any, value: int | str) -> Any:
    if isinstance(value, int):
        return before + value if value < 0 else value
    if value[:1] == "+" and value[1:].isdecimal():
        return before + int(value)
    return value


def differences(expected: bytes, actual: bytes, ignored: Sequence[FieldName] = ()) -> list[str]:
    """How a frame differs from the one that was expected, a line for each field."""
    pairs = zip(_padded(Ether(expected)), _padded(Ether(actual)), strict=False)
    lines = []
    for wanted, got in pairs:
        if wanted is None and got is None:
            break
        if type(wanted) is not type(got):
            names = (_layer_name(one) for one in (wanted, got))
            lines.append("expected {}, got {}".format(*names))
            break
        assert wanted is not None
        assert got is not None
        lines += _field_lines(wanted, got, {str(name) for name in ignored})
    if len(expected) != len(actual):
        lines.append(f"length expected {len(expected)} bytes, got {len(actual)}")
    return lines or [_byte_line(expected, actual)]


def _field_lines(wanted: Packet, got: Packet, ignored: set[str]) -> Iterator[str]:
    name = _name(wanted)
    for field in wanted.fields_desc:
        full = f"{name}.{field.name}"
        one, other = wanted.getfieldval(field.name), got.getfieldval(field.name)
        if one != other and full not in ignored and name not in ignored:
            yield f"{full} expected {_shown(wanted, field, one)}, got {_shown(got, field, other)}"


def _shown(packet: Packet, field: Any, value: Any) -> str:
    if isinstance(value, bytes):
        text = value.hex(" ")
    elif isinstance(value, (list, Packet)):
        text = repr(value)
    else:
        text = str(field.i2repr(packet, value))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _byte_line(expected: bytes, actual: bytes) -> str:
    """The first byte that differs, where no field tells."""
    for place, (one, other) in enumerate(zip(expected, actual, strict=False)):
        if one != other:
            return f"byte {place} expected {one:02x}, got {other:02x}"
    return "equal"


def summary(frame: bytes) -> str:
    """A frame in a few words."""
    text = str(Ether(frame).summary())
    return text if len(text) <= 90 else f"{text[:89]}…"


def _layers(packet: Packet) -> Iterator[Packet]:
    while not isinstance(packet, NoPayload):
        yield packet
        packet = packet.payload


def _padded(packet: Packet) -> Iterator[Packet | None]:
    yield from _layers(packet)
    yield None


def _name(one: Packet) -> str:
    return type(one).__name__


def _layer_name(one: Packet | None) -> str:
    return "no more" if one is None else _name(one)
