"""What differs between a frame and what became of it, field by field, by Scapy's names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# Layers that Ether leads to, which Scapy knows once they are imported.
from scapy.layers import dhcp, dhcp6, dns, inet, inet6  # noqa: F401
from scapy.layers.l2 import Ether
from scapy.packet import NoPayload, Packet

_SHOWN = 40  # characters of a value


@dataclass(frozen=True)
class FieldChange:
    """A field of a layer, as "IP.ttl", and its values in words."""

    field: str
    before: str
    after: str


def changes(before: bytes, after: bytes) -> list[FieldChange]:
    """The fields that differ; where other layers begin, the rest of the frame is one."""
    if before == after:
        return []
    found: list[FieldChange] = []
    old: Packet = Ether(before)
    new: Packet = Ether(after)
    while not (isinstance(old, NoPayload) and isinstance(new, NoPayload)):
        if type(old) is not type(new):
            return [*found, FieldChange("payload", _summary(old), _summary(new))]
        found += _fields(old, new)
        old, new = old.payload, new.payload
    return found


def summary(frame: bytes) -> str:
    """A frame in one line: addresses, ports, and what kind of packet it is."""
    packet = Ether(frame)
    inner = packet.payload
    return str((packet if isinstance(inner, NoPayload) else inner).summary())


def _fields(old: Packet, new: Packet) -> Iterator[FieldChange]:
    for field in old.fields_desc:
        before, after = old.getfieldval(field.name), new.getfieldval(field.name)
        if before != after:
            name = f"{type(old).__name__}.{field.name}"
            shown = (_short(str(field.i2repr(old, value))) for value in (before, after))
            yield FieldChange(name, *shown)


def _summary(packet: Packet) -> str:
    return "none" if isinstance(packet, NoPayload) else str(packet.summary())


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
