"""The forwarding tables of one router in shared memory, as the router's C reads them.

Readers run at any moment. A slot of a trie holds an adjacency's number; an adjacency never changes
while a slot can lead to it. What was taken out is used again `GRACE` later, when every program that
saw it has ended.

Each map has two banks. A process that takes over builds into the bank that the roots do not name
and then names it in one store, so that no packet waits and none sees a half-built table.
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from nfv.dataplane import epoch
from nfv.dataplane.bpf import Map
from nfv.dataplane.rib import BLACKHOLE, PUNT, Adjacency
from nfv.dataplane.routemsg import WIDTHS, Prefix
from nfv.ebpf.lpm import SLOTS, NodePool, PoolFull, Trie
from nfv.errors import KernelError

GRACE = 0.05
"""Seconds; a program runs for some microseconds."""

KERNEL = 0xFFFFFFFF
"""As a root: there is no table, the kernel routes everything."""

_ROOT_BITS = 16
_ADJACENCY = struct.Struct("=4I6s6s4x")  # struct self_adjacency
_INTERFACE = struct.Struct("=6sH")  # struct self_interface
_ROOTS = struct.Struct("=2I")  # struct self_roots
_BLACKHOLE_NUMBER, _PUNT_NUMBER = 1, 2  # in a trie, 0 stands for "no prefix"
_FIXED = {BLACKHOLE: _BLACKHOLE_NUMBER, PUNT: _PUNT_NUMBER}
_FIRST_NUMBER = 3

_MAPS = ("fib4", "fib6", "adjacencies", "interfaces", "tables")


class Full(Exception):
    """A table has no room for what it should hold; what it holds is no longer complete."""


class Adjacencies:
    """Adjacencies by number, shared by all prefixes that lead the same way.

    The fixed ones have the same numbers in either bank.
    """

    def __init__(self, memory: memoryview, bank: int) -> None:
        size = len(memory) // _ADJACENCY.size
        half = size // 2
        first, end = (_FIRST_NUMBER, half) if bank == 0 else (max(half, _FIRST_NUMBER), size)
        self._memory = memory
        self._free = list(range(end - 1, first - 1, -1))
        self._freed: list[int] = []
        self._numbers: dict[Adjacency, int] = {}
        self._users: dict[int, int] = {}
        for adjacency, number in _FIXED.items():
            self._write(number, adjacency)

    def __len__(self) -> int:
        return len(self._numbers)

    def take(self, adjacency: Adjacency) -> int:
        """The number of an adjacency, for one more prefix. Raises `Full`."""
        if adjacency in _FIXED:
            return _FIXED[adjacency]
        number = self._numbers.get(adjacency)
        if number is None:
            if not self._free:
                raise Full("adjacencies")
            number = self._free.pop()
            self._write(number, adjacency)
            self._numbers[adjacency] = number
            self._users[number] = 0
        self._users[number] += 1
        return number

    def release(self, number: int) -> None:
        """One prefix less leads to an adjacency."""
        if number < _FIRST_NUMBER:
            return
        self._users[number] -= 1
        if not self._users[number]:
            del self._users[number]
            del self._numbers[self._read(number)]
            self._freed.append(number)

    def recycle(self) -> None:
        """Make released numbers available; call it when no program can still have one."""
        self._free += self._freed
        self._freed.clear()

    def _write(self, number: int, adjacency: Adjacency) -> None:
        _ADJACENCY.pack_into(self._memory, number * _ADJACENCY.size, *adjacency)

    def _read(self, number: int) -> Adjacency:
        return Adjacency(*_ADJACENCY.unpack_from(self._memory, number * _ADJACENCY.size))


class Table:
    """The prefixes of one IP version in one bank."""

    def __init__(
        self, version: int, slots: memoryview, bank: int, adjacencies: Adjacencies
    ) -> None:
        """Raises `Full` if not even an empty table fits."""
        self._version = version
        self._slots = slots
        self._bank = bank
        self._adjacencies = adjacencies
        self.clear()

    def clear(self) -> None:
        """Begin with an empty table; no program may be in the bank."""
        count = len(self._slots) // SLOTS // 2
        self._pool = NodePool(self._slots, self._bank * count, count)
        try:
            self._trie = Trie(self._pool, WIDTHS[self._version], _ROOT_BITS)
        except PoolFull as full:
            raise Full("nodes") from full

    def __len__(self) -> int:
        return len(self._trie)

    @property
    def root(self) -> int:
        """Where the lookup begins."""
        return self._trie.root

    def set(self, prefix: Prefix, adjacency: Adjacency) -> None:
        """Lead a prefix to an adjacency. Raises `Full` with the table as it was."""
        before = self._trie.exact(prefix.key, prefix.length)
        number = self._adjacencies.take(adjacency)
        try:
            self._trie.insert(prefix.key, prefix.length, number)
        except PoolFull as full:
            self._adjacencies.release(number)
            raise Full("nodes") from full
        if before is not None:
            self._adjacencies.release(before)

    def remove(self, prefix: Prefix) -> None:
        """Take a prefix out."""
        number = self._trie.exact(prefix.key, prefix.length)
        if number is not None:
            self._trie.remove(prefix.key, prefix.length)
            self._adjacencies.release(number)

    def empty(self) -> None:
        """Give all adjacencies back; the trie stays as it is."""
        for _key, _length, number in self._trie.items():
            self._adjacencies.release(number)

    def recycle(self) -> None:
        """Make nodes that were cut off available; call it when no program can still be in one."""
        self._pool.recycle()


class Fib:
    """The tables of a router, in its pinned maps. Not in use until `steer` names them."""

    def __init__(self, pins: Path) -> None:
        """Open the maps pinned in a directory; `KernelError` if one is missing or too small."""
        self._epoch = pins.parent.parent / "epoch"
        self._maps = {name: Map.open(pins / name) for name in _MAPS}
        self._memories = {name: found.memory() for name, found in self._maps.items()}
        self._views = {name: self._view(name, memory) for name, memory in self._memories.items()}
        self._slots = {4: self._views["fib4"].cast("I"), 6: self._views["fib6"].cast("I")}
        self._roots = self._views["tables"].cast("Q")
        self._interfaces = self._views["interfaces"].cast("Q")
        bank = self._free_bank()
        self.adjacencies = Adjacencies(self._views["adjacencies"], bank)
        try:
            self._tables = {
                version: Table(version, slots, bank, self.adjacencies)
                for version, slots in self._slots.items()
            }
        except Full as full:
            self.close()
            raise KernelError(f"cannot use the maps in {pins}: too small for a table") from full
        self._incomplete: dict[int, int] = {}  # version: prefixes wanted when it became full
        self._changed = time.monotonic()

    def _view(self, name: str, memory: mmap.mmap) -> memoryview:
        found = self._maps[name]
        return memoryview(memory)[: found.value_size * found.max_entries]

    def _free_bank(self) -> int:
        """The bank that the live roots do not name."""
        for root, slots in zip(self._read_roots(), self._slots.values(), strict=True):
            count = len(slots) // SLOTS
            if root < count:
                return int(root < count // 2)
        return 0

    def _read_roots(self) -> tuple[int, ...]:
        return _ROOTS.unpack(self._roots[0].to_bytes(_ROOTS.size, sys.byteorder))

    def _write_roots(self, roots: Mapping[int, int]) -> None:
        """Change both in one store, which no program sees half of."""
        self._roots[0] = int.from_bytes(_ROOTS.pack(roots[4], roots[6]), sys.byteorder)

    def close(self) -> None:
        """Unmap; what the maps hold stays in use."""
        for view in (*self._slots.values(), self._roots, self._interfaces, *self._views.values()):
            view.release()
        for memory in self._memories.values():
            memory.close()
        for found in self._maps.values():
            found.close()

    def is_pinned_at(self, pins: Path) -> bool:
        """Whether these are the maps that are pinned in a directory."""
        return all(_identity(pins / name) == found.id for name, found in self._maps.items())

    def prefixes(self, version: int) -> int:
        """How many prefixes the table of a version holds."""
        return len(self._tables[version])

    def is_complete(self, version: int) -> bool:
        """Whether everything wanted fits; otherwise the kernel must route this version."""
        return version not in self._incomplete

    def apply(
        self, changes: Mapping[Prefix, Adjacency | None], desired: Mapping[Prefix, Adjacency]
    ) -> None:
        """Bring the tables from what they hold to `desired`, which differs by `changes`."""
        if time.monotonic() - self._changed >= GRACE:
            self._recycle()
        for version in WIDTHS:
            mine = {prefix: found for prefix, found in changes.items() if prefix.version == version}
            if self.is_complete(version):
                self._change(version, mine, desired)
            elif mine:
                self._retry(version, desired)
        if changes:
            self._changed = time.monotonic()
            epoch.advance_at(self._epoch)

    def steer(self, fast: Mapping[int, bool]) -> None:
        """Forward by the tables of some IP versions, and leave the others to the kernel."""
        roots = {
            version: table.root if fast[version] and self.is_complete(version) else KERNEL
            for version, table in self._tables.items()
        }
        if tuple(roots.values()) != self._read_roots():
            self._write_roots(roots)
            epoch.advance_at(self._epoch)

    def set_interface(self, ordinal: int, mac: bytes, up: bool) -> None:
        """Say whether packets that come in by an interface are forwarded, and its MAC.

        Raises `KernelError` if the maps are those of fewer interfaces: a change has not come far.
        """
        if ordinal >= len(self._interfaces):
            what = f"finds maps for {len(self._interfaces)} interfaces only"
            raise KernelError(what, "apply the topology again")
        packed = int.from_bytes(_INTERFACE.pack(mac, up), sys.byteorder)
        if self._interfaces[ordinal] != packed:
            self._interfaces[ordinal] = packed
            epoch.advance_at(self._epoch)

    def _change(
        self,
        version: int,
        changes: Mapping[Prefix, Adjacency | None],
        desired: Mapping[Prefix, Adjacency],
    ) -> None:
        table = self._tables[version]
        for prefix, adjacency in changes.items():
            if adjacency is None:
                table.remove(prefix)
            else:
                try:
                    self._set(table, prefix, adjacency)
                except Full:
                    self._give_up(version, desired)
                    return

    def _set(self, table: Table, prefix: Prefix, adjacency: Adjacency) -> None:
        try:
            table.set(prefix, adjacency)
        except Full:
            self._wait_and_recycle()
            table.set(prefix, adjacency)

    def _give_up(self, version: int, desired: Mapping[Prefix, Adjacency]) -> None:
        """Leave a version to the kernel: a table that lacks prefixes would forward wrongly."""
        self._incomplete[version] = _count(version, desired)
        roots = dict(zip(WIDTHS, self._read_roots(), strict=True))
        self._write_roots({**roots, version: KERNEL})
        self._tables[version].empty()
        self._wait_and_recycle()

    def _retry(self, version: int, desired: Mapping[Prefix, Adjacency]) -> None:
        """Build a table anew once it has a tenth less to hold than when it was full."""
        if _count(version, desired) > self._incomplete[version] * 0.9:
            return
        del self._incomplete[version]
        self._tables[version].clear()
        mine = {prefix: found for prefix, found in desired.items() if prefix.version == version}
        self._change(version, mine, desired)

    def _wait_and_recycle(self) -> None:
        time.sleep(GRACE)
        self._recycle()

    def _recycle(self) -> None:
        self.adjacencies.recycle()
        for table in self._tables.values():
            table.recycle()


def _identity(pin: Path) -> int | None:
    if not pin.exists():
        return None
    found = Map.open(pin)
    try:
        return found.id
    finally:
        found.close()


def _count(version: int, desired: Mapping[Prefix, Adjacency]) -> int:
    return sum(prefix.version == version for prefix in desired)
