"""The observed programs of a topology: loaded beside those that run, with the notes they take."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from nfv.chain.hook import Slot
from nfv.chain.path import Attachment
from nfv.dataplane.change.fastpath import FastPath
from nfv.dataplane.change.mapstore import MAX_NOTES
from nfv.dataplane.change.observers import PREFIX
from nfv.dataplane.change.programs import JUMPS, Programs
from nfv.dataplane.kernel.bpf import Map
from nfv.dataplane.observe import classic
from nfv.dataplane.observe.notes import NoteRing, Record
from nfv.dataplane.wiring import jump
from nfv.ebpf.compose import Unit
from nfv.ebpf.object import Code
from nfv.ebpf.observed import NOTES, Note, ObservedUnit
from nfv.ebpf.walks import MAIN, Link
from nfv.errors import InputError
from nfv.traffic.filter import Instruction

_PRIVATE = ("observe_", *JUMPS.values())

_CPU = struct.Struct("=QQQQQ")  # struct observe_cpu of observe.h
_PLACE = struct.Struct("=IIIIIIQ")  # struct observe_place
_PORT = struct.Struct("=QQ")  # struct observe_port


def is_private(pin: Path) -> bool:
    """Whether observed programs have the map that would be pinned there for themselves."""
    return pin.name.startswith(_PRIVATE)


class Numbers:
    """The numbers of all places where notes are taken."""

    def __init__(self, units: Mapping[Slot, Unit]) -> None:
        self.notes: list[Note] = []
        self.first: dict[Attachment, int] = {}
        for (place, _hook), unit in units.items():
            assert isinstance(unit, ObservedUnit)
            if place not in self.first:  # else the same ones, at the other hook
                self.first[place] = len(self.notes)
                self.notes += unit.notes
        if len(self.notes) > MAX_NOTES:
            raise InputError(
                f"the chains have {len(self.notes)} places to observe, {MAX_NOTES} are the most"
            )


class ObservedPrograms(Programs):
    """Observed programs instead of those that run."""

    prefix: ClassVar[str] = PREFIX

    def __init__(self, path: FastPath, numbers: Numbers, filter_: Sequence[Instruction]) -> None:
        super().__init__(path)
        self._numbers = numbers
        self._filter = filter_

    def bound(self, unit: Unit, code: Code, maps: Mapping[str, int]) -> bytes:
        """A program's instructions, with maps, link constants and the filter."""
        return classic.link(super().bound(unit, code, maps), self._filter, unit.hook)

    def value(self, unit: Unit, link: Link) -> int:
        """What a link constant of a unit stands for."""
        if link.kind == NOTES:
            return self._numbers.first[link.attachment]
        return super().value(unit, link)


class Observed:
    """The observed programs of all ports, and what they note.

    They go on in each other, by tables of tail calls of their own.
    """

    def __init__(self, path: FastPath, filter_: Sequence[Instruction] = ()) -> None:
        """`path` has units of `compose_observed`, and all their maps are open.

        Frames that do not pass `filter_` are not noted where they are known whole.
        """
        self._path = path
        numbers = Numbers(path.units)
        self.notes = numbers.notes
        ObservedPrograms(path, numbers, filter_).load(list(path.wiring.ports))
        for (slot, program), fd in path.programs.items():
            number = path.wiring.ports[slot.place].number
            ordinal = path.units[slot].programs.index(program)
            jumps = path.maps[path.names.root / JUMPS[slot.hook]]
            jumps[jump(number, ordinal)] = struct.pack("=I", fd)
        self.ring = NoteRing(self._map("observe_notes"))

    def _map(self, name: str) -> Map:
        return self._path.maps[self._path.names.root / name]

    def program(self, slot: Slot) -> int:
        """Descriptor of the program that a packet meets where it enters at a port."""
        return self._path.programs[slot, MAIN]

    def want(
        self,
        numbers: Iterable[int],
        size: int,
        *,
        by_egress: bool = False,
        followed: int = 0,
        ended: bool = False,
        first: bool = False,
    ) -> None:
        """Have notes taken in some places, each with up to `size` bytes of the frame; 0: none.

        By egress: only of packets that leave by one of the ports of `want_egress`. First: only of
        packets that begin there. A packet of which there is a note already is noted with up to
        `followed` bytes where it would not be, or only if it has ended there.
        """
        wanted = self._map("observe_wanted")
        for number in numbers:
            wanted[number] = _PLACE.pack(size, by_egress, followed, ended, first, 0, 0)

    def want_egress(self, ports: Iterable[int]) -> None:
        """Have notes taken by egress of packets that leave by some ports, SAPs' or functions'."""
        for port in ports:
            self._map("observe_egress")[port] = _PORT.pack(True, 0)

    def place(self, record: Record) -> Note:
        """Where a note was taken."""
        return self.notes[record.number]

    @property
    def lost(self) -> int:
        """Notes for which there was no room."""
        return sum(cpu[1] for cpu in _CPU.iter_unpack(self._map("observe_cpus")[0]))

    def lost_at(self, number: int) -> int:
        """Those of a place, but for what was wanted by egress."""
        return int(_PLACE.unpack(self._map("observe_wanted")[number])[-1])

    def lost_to(self, port: int) -> int:
        """Those that were wanted by egress, of packets that leave by a port."""
        return int(_PORT.unpack(self._map("observe_egress")[port])[1])

    def close(self) -> None:
        """Forget the programs, and all maps that nothing else holds."""
        self.ring.close()
        self._path.close()
