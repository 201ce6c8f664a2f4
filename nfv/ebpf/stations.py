"""The stations of a switch: what include/stations.h keeps of them. Pure: maps come as protocols."""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from enum import IntFlag

from nfv.ebpf.connections import Occupancy, Table

_NAME = struct.Struct("=6sH")  # address, VLAN
_STATION = struct.Struct("=IHH")  # struct self_station: seen, port, flags
_REMOVED = 1, 2  # which word of struct self_count, and how many words it has
_FLUSHES = 1  # which word of struct self_lan
_SLICE = 1024  # stations between two breaks


class Bond(IntFlag):
    """What ties a station to its port: SELF_STATION_* of stations.h."""

    BOUND = 1
    STATIC = 2


@dataclass(frozen=True)
class Station:
    """A MAC address in a VLAN (0 where a switch has none), and the port that it is behind."""

    mac: str
    vlan: int
    port: int  # by its place among the switch's ports
    seen: int  # jiffies, 32 bits
    bond: Bond

    @property
    def kind(self) -> str:
        """How it came to be known."""
        if self.bond & Bond.STATIC:
            return "static"
        return "sticky" if self.bond else "learned"

    @property
    def name(self) -> bytes:
        """The key."""
        return _NAME.pack(bytes.fromhex(self.mac.replace(":", "")), self.vlan)

    @property
    def value(self) -> bytes:
        """What the map has under it."""
        return _STATION.pack(self.seen, self.port, self.bond)


def stations(table: Table) -> Iterator[Station]:
    """All that a map holds."""
    for name, value in table.items():
        mac, vlan = _NAME.unpack(name)
        seen, port, bond = _STATION.unpack(value)
        yield Station(mac.hex(":"), vlan, port, seen, Bond(bond))


class Lan:
    """The stations of one switch, for whoever changes them beside the programs."""

    def __init__(self, table: Table, counts: memoryview, lan: memoryview) -> None:
        """From the maps `stations`, `counts` and `lans`; of the latter two, what they hold."""
        self.table = table
        self._counts = counts.cast("B").cast("Q")
        self._lan = lan.cast("B").cast("Q")

    def sweep(self, ageing: int, age: Callable[[int], float]) -> Generator[None, None, Occupancy]:
        """Remove those that were silent for `ageing` seconds, if not 0; returns what remains.

        `age` turns jiffies into seconds since then. Yields every thousand, for other work.
        """
        used = 0
        for number, station in enumerate(stations(self.table), 1):
            if ageing and not station.bond and age(station.seen) > ageing:
                self.remove([station])
            else:
                used += 1
            if number % _SLICE == 0:
                yield
        return Occupancy(used, self.table.max_entries)

    def remove(self, gone: Iterable[Station]) -> int:
        """Forget stations, and have programs forget that they knew them; returns how many."""
        removed = 0
        for station in gone:
            if self.table.delete(station.name):
                removed += 1
                if not station.bond & Bond.STATIC:
                    self._uncount(station.port)
        if removed:
            self._invalidate()
        return removed

    def declare(self, wanted: Iterable[Station], sticky: frozenset[int]) -> None:
        """Have these static stations and no others; learned ones are bound at `sticky` ports."""
        static = {station.name: station for station in wanted}
        for station in list(stations(self.table)):
            declared = station.name in static
            if station.bond & Bond.STATIC:
                if not declared:
                    self.remove([station])
            elif declared:
                self.remove([station])
            elif (bond := Bond(station.port in sticky)) != station.bond:
                bound = Station(station.mac, station.vlan, station.port, station.seen, bond)
                self.table.update(bound.name, bound.value)
        for station in static.values():
            self.table.update(station.name, station.value)
        self._invalidate()

    def _uncount(self, port: int) -> None:
        """One station less is behind a port."""
        place, words = _REMOVED
        self._counts[port * words + place] += 1

    def _invalidate(self) -> None:
        """What programs remember of stations counts no more."""
        self._lan[_FLUSHES] += 1
