"""A compiled text: instructions that still want maps and link constants, and the maps' layouts."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

FORMAT = 2
"""Changes when the meaning of the stored form does; part of the cache's key."""

_LOAD_IMM64 = 0x18
_PSEUDO_MAP_FD = 1
_PSEUDO_MAP_VALUE = 2


@dataclass(frozen=True)
class Field:
    """One member of a C struct: its offset, and the size and number of its elements, in bytes."""

    name: str
    offset: int
    size: int
    count: int


@dataclass(frozen=True)
class Layout:
    """A C struct as the compiler laid it out."""

    size: int
    fields: tuple[Field, ...]

    def pack(self, **values: int | bytes) -> bytes:
        """The bytes of a struct; members not given are 0. `KeyError` for one it does not have."""
        data = bytearray(self.size)
        known = {member.name: member for member in self.fields}
        for name, value in values.items():
            member = known[name]
            raw = (
                value
                if isinstance(value, bytes)
                else value.to_bytes(member.size * member.count, "little")
            )
            data[member.offset : member.offset + len(raw)] = raw
        return bytes(data)

    def unpack(self, data: bytes) -> dict[str, int | bytes]:
        """Members by name: numbers, or bytes for arrays."""
        return {
            member.name: (
                int.from_bytes(data[member.offset : member.offset + member.size], "little")
                if member.count == 1
                else bytes(data[member.offset : member.offset + member.size * member.count])
            )
            for member in self.fields
        }


@dataclass(frozen=True)
class MapSpec:
    """What the C text says of a map; its capacity is chosen when it is made.

    A flat one (NF_FLAT in nf.h) is made with all its entries as one value.
    """

    type: int
    key_size: int
    value_size: int
    flags: int
    key: Layout | None  # None when the key is a plain number
    value: Layout | None
    flat: bool = False


@dataclass(frozen=True)
class Code:
    """One program's instructions. Places are instruction numbers of 64-bit loads."""

    insns: bytes
    maps: tuple[tuple[int, str], ...]
    values: tuple[tuple[int, str], ...]  # of flat maps, by the address of what they hold
    links: tuple[tuple[int, int], ...]  # place, number in NF_LINK

    @property
    def names(self) -> frozenset[str]:
        """The maps that the program uses."""
        return frozenset(name for _, name in (*self.maps, *self.values))

    def bind(self, fds: Mapping[str, int], links: Sequence[int]) -> bytes:
        """The instructions with map descriptors and link constants filled in."""
        code = bytearray(self.insns)
        for source, places in ((_PSEUDO_MAP_FD, self.maps), (_PSEUDO_MAP_VALUE, self.values)):
            for place, name in places:
                struct.pack_into("<BBhi", code, place * 8, *self._load(place, source), fds[name])
        for place, number in self.links:
            struct.pack_into("<BBhi", code, place * 8, *self._load(place, 0), links[number])
            struct.pack_into("<i", code, place * 8 + 12, 0)
        return bytes(code)

    def _load(self, place: int, source: int) -> tuple[int, int, int]:
        register = self.insns[place * 8 + 1] & 0x0F
        return _LOAD_IMM64, register | source << 4, 0


@dataclass(frozen=True)
class Object:
    """The result of compiling one text."""

    programs: Mapping[str, Code]
    maps: Mapping[str, MapSpec]

    def dumps(self) -> str:
        """As text, for the cache."""
        return json.dumps(
            {
                "programs": {
                    name: {**asdict(code), "insns": base64.b64encode(code.insns).decode()}
                    for name, code in self.programs.items()
                },
                "maps": {name: asdict(spec) for name, spec in self.maps.items()},
            }
        )

    @classmethod
    def loads(cls, text: str) -> Object:
        """From the cache's text. `ValueError` or `KeyError` when it is damaged."""
        data = json.loads(text)
        return cls(
            programs={
                name: Code(
                    base64.b64decode(code["insns"]),
                    tuple((place, map_) for place, map_ in code["maps"]),
                    tuple((place, map_) for place, map_ in code["values"]),
                    tuple((place, number) for place, number in code["links"]),
                )
                for name, code in data["programs"].items()
            },
            maps={
                name: MapSpec(
                    **{**spec, "key": _layout(spec["key"]), "value": _layout(spec["value"])}
                )
                for name, spec in data["maps"].items()
            },
        )


def _layout(data: Mapping[str, object] | None) -> Layout | None:
    if data is None:
        return None
    fields = data["fields"]
    assert isinstance(fields, list)
    return Layout(int(str(data["size"])), tuple(Field(**member) for member in fields))
