"""The forwarding tables of one router in shared memory, as the router's C reads them.

Readers run at any moment. What was taken out of a table is used again `GRACE` later, when every
program that saw it has ended.

Each map has two banks. What is built anew, by a process that takes over or after many changes, is
built in the bank that is not read, and then named in one store, so that no packet waits and none
sees a half-built table.
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from nfv.dataplane import epoch
from nfv.dataplane.kernel.bpf import Map
from nfv.dataplane.routing import routecounts
from nfv.dataplane.routing.adjacencies import GRACE, Adjacencies
from nfv.dataplane.routing.egress import Egress
from nfv.dataplane.routing.fibtable import Full, Table
from nfv.dataplane.routing.rib import Rib, Target
from nfv.dataplane.routing.routemsg import WIDTHS, Prefix
from nfv.dataplane.routing.targets import Targets
from nfv.ebpf.sources import constant
from nfv.errors import KernelError

OFF = 0xFFFFFFFF
"""In place of a default: there is no table, the kernel routes everything."""
_BANK, _ADJACENCY_BANK = 1 << 31, 1 << 30  # beside a default: the banks that are in use

_INTERFACE = struct.Struct("=6sBBI4x")  # struct self_interface
_INTERFACE_WORDS = _INTERFACE.size // 8
_DEFAULTS = struct.Struct("=2I")  # struct self_default
_WORD = 64  # bits
_OWN_BITS = constant("functions/router.c", "SELF_OWN_BITS")
_OWN_HASH = constant("functions/router.c", "SELF_OWN_HASH")
OWN_WORDS = _OWN_BITS // _WORD
_MANY = 20_000  # changes at once; from there on it is quicker to build anew

_MAPS = ("fib4", "fib6", "adjacencies", "groups", "interfaces", "defaults")


class Fib:
    """The tables of a router, in its pinned maps. Not in use until `steer` names them."""

    def __init__(self, pins: Path, rib: Rib, number: int) -> None:
        """Open the maps pinned in a directory; `KernelError` if one is missing or of another kind.

        They shall say what `rib` does. `number` is the router's in counted paths.
        """
        self._epoch = pins.parent.parent / "epoch"
        self._rib = rib
        self._maps = {name: Map.open(pins / name) for name in _MAPS}
        self._memories = {name: found.memory() for name, found in self._maps.items()}
        self._views = {name: self._view(name, memory) for name, memory in self._memories.items()}
        self._defaults = self._views["defaults"].cast("Q")
        self._interfaces = self._views["interfaces"].cast("Q")
        live = {version: int(bool(default & _BANK)) for version, default in self._in_use()}
        bank = int(not any(default & _ADJACENCY_BANK for _version, default in self._in_use()))
        counted = partial(routecounts.counted, pins, number)
        memory = self._views["adjacencies"]
        self.adjacencies = Adjacencies(memory, bank, rib.adjacency, counted)
        self._targets = Targets(self.adjacencies, self._views["groups"])
        self._tables: dict[int, Table] = {}
        try:
            for version in WIDTHS:
                words = np.frombuffer(self._views[f"fib{version}"], np.uint32)
                table = Table(version, words, live.get(version, 0), self._targets)
                self._tables[version] = table
        except ValueError as error:
            self.close()
            raise KernelError(f"cannot use the maps in {pins}: {error}") from error
        self._incomplete: dict[int, int] = {}  # version: prefixes wanted when it became full
        self._changed = time.monotonic()

    def _view(self, name: str, memory: mmap.mmap) -> memoryview:
        found = self._maps[name]
        return memoryview(memory)[: found.value_size * found.max_entries]

    def _in_use(self) -> Iterator[tuple[int, int]]:
        """The defaults of the versions that are not left to the kernel."""
        raw = self._defaults[0].to_bytes(_DEFAULTS.size, sys.byteorder)
        for version, default in zip(WIDTHS, _DEFAULTS.unpack(raw), strict=True):
            if default != OFF:
                yield version, default

    def close(self) -> None:
        """Unmap; what the maps hold stays in use."""
        self._tables.clear()
        for view in (self._defaults, self._interfaces, *self._views.values()):
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

    @property
    def wanted(self) -> dict[str, int]:
        """Capacities of the maps that are too small and could be larger, by name."""
        shapes = {version: table.wanted for version, table in self._tables.items()}
        return {
            f"fib{version}": 2 * shape.capacity
            for version, shape in shapes.items()
            if shape is not None
        }

    def update(self) -> None:
        """Bring the tables to what the RIB says."""
        if time.monotonic() - self._changed >= GRACE:
            self._recycle()
        self._mark_own()
        news = self._take_all() if self._rib.renewed else self._take_changes()
        if self.adjacencies.lacks and self.adjacencies.has_spare:
            news |= self._take_all()
        if self.adjacencies.refresh(self._rib.moved()) or news:
            self._changed = time.monotonic()
            epoch.advance_at(self._epoch)

    def steer(self, fast: Mapping[int, bool]) -> None:
        """Forward by the tables of some IP versions, and leave the others to the kernel.

        Both are said in one store, which no program sees half of.
        """
        beside = self.adjacencies.bank * _ADJACENCY_BANK
        defaults = [
            table.default | table.bank * _BANK | beside
            if fast[version] and self.is_complete(version)
            else OFF
            for version, table in self._tables.items()
        ]
        packed = int.from_bytes(_DEFAULTS.pack(*defaults), sys.byteorder)
        if packed != self._defaults[0]:
            self._defaults[0] = packed
            epoch.advance_at(self._epoch)
        for table in self._tables.values():
            table.publish()

    def abandon(self) -> None:
        """Leave everything to the kernel."""
        self.steer(dict.fromkeys(WIDTHS, False))

    def set_interface(self, ordinal: int, mac: bytes, up: bool, egress: Egress) -> None:
        """Say whether packets that come in by an interface are forwarded, its MAC and its checks.

        Raises `KernelError` if the maps are those of fewer interfaces: a change has not come far.
        """
        count = len(self._interfaces) // _INTERFACE_WORDS
        if ordinal >= count:
            what = f"finds maps for {count} interfaces only"
            raise KernelError(what, "apply the topology again")
        packed = _INTERFACE.pack(mac, up, egress.check, egress.port)
        place = ordinal * _INTERFACE_WORDS
        words = memoryview(packed).cast("Q")
        if self._interfaces[place : place + _INTERFACE_WORDS] != words:
            for at in reversed(range(_INTERFACE_WORDS)):  # the port is there before the check
                self._interfaces[place + at] = words[at]
            epoch.advance_at(self._epoch)

    def _mark_own(self) -> None:
        """Have programs look up sources that may be the router's own addresses."""
        for place, word in enumerate(own_bits(self._rib.own), start=1):
            if self._defaults[place] != word:
                self._defaults[place] = word

    def _take_all(self) -> bool:
        self.adjacencies.lacks = False
        for version in WIDTHS:
            self._load(version)
        self._rib.renew()
        return True

    def _take_changes(self) -> bool:
        """Whether something has changed."""
        changes = self._rib.changes()
        news = False
        for version in WIDTHS:
            mine = {prefix: found for prefix, found in changes.items() if prefix.version == version}
            if not mine:
                continue
            if not self.is_complete(version):
                news |= self._retry(version)
            elif len(mine) >= _MANY:
                self._load(version)
                news = True
            else:
                news |= self._change(version, mine)
        return news

    def _change(self, version: int, changes: Mapping[Prefix, Target | None]) -> bool:
        table = self._tables[version]
        news = False
        for prefix, target in changes.items():
            try:
                news |= table.remove(prefix) if target is None else table.set(prefix, target)
            except Full:
                self._load(version)
                return True
        return news

    def _load(self, version: int) -> None:
        """Build a table anew, or leave its version to the kernel if it does not fit.

        A table that lacks prefixes would forward wrongly.
        """
        listing = self._rib.listing(version)
        try:
            self._tables[version].load(listing)
        except Full:
            self._incomplete[version] = self._rib.size(version)
        else:
            self._incomplete.pop(version, None)

    def _retry(self, version: int) -> bool:
        """Build a table anew once it has a tenth less to hold than when it was full."""
        if self._rib.size(version) > self._incomplete[version] * 0.9:
            return False
        self._load(version)
        return True

    def _recycle(self) -> None:
        self._targets.recycle()
        for table in self._tables.values():
            table.recycle()


def own_bits(prefixes: Iterable[Prefix]) -> list[int]:
    """The words of struct self_default in which each address has its bit; all, for a prefix."""
    words = [0] * OWN_WORDS
    for prefix in prefixes:
        if prefix.length < WIDTHS[4]:
            return [(1 << _WORD) - 1] * len(words)
        address = int.from_bytes(prefix.key.to_bytes(4, "big"), sys.byteorder)
        bit = (address * _OWN_HASH & 0xFFFFFFFF) * _OWN_BITS >> 32
        words[bit // _WORD] |= 1 << bit % _WORD
    return words


def _identity(pin: Path) -> int | None:
    if not pin.exists():
        return None
    found = Map.open(pin)
    try:
        return found.id
    finally:
        found.close()
