"""The adjacencies of one router in shared memory: where its targets lead, by number.

Readers run at any moment. An adjacency that changes is one that punts first, and what it says is
changed when no program can still have read it: `GRACE` later. So a neighbour that moves costs the
same whatever the number of routes behind it, and no packet sees half a rewrite.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable

from nfv.dataplane.rib import BLACKHOLE, PUNT, Adjacency, NeighbourKey, Target

GRACE = 0.05
"""Seconds; a program runs for some microseconds."""

BLACKHOLE_NUMBER, PUNT_NUMBER = 1, 2  # in a table, 0 stands for "no prefix"
_FIXED = {BLACKHOLE: BLACKHOLE_NUMBER, PUNT: PUNT_NUMBER}
_FIRST_NUMBER = 3
_PUNTS = 0  # enum self_action

_ADJACENCY = struct.Struct("=4I6s6s4x")  # struct self_adjacency
_ACTION = struct.Struct("@I")  # its first member; in native form it is written by one store


class Full(Exception):
    """A table has no room for what it should hold; what it holds is no longer complete."""


class Adjacencies:
    """Where targets lead, in one of two banks; a target is known while prefixes lead to it.

    The fixed ones have the same numbers in either bank.
    """

    def __init__(
        self, memory: memoryview, bank: int, resolve: Callable[[Target], Adjacency]
    ) -> None:
        size = len(memory) // _ADJACENCY.size
        half = size // 2
        first, end = (_FIRST_NUMBER, half) if bank == 0 else (max(half, _FIRST_NUMBER), size)
        self.bank = bank
        self._memory = memory
        self._resolve = resolve
        self._free = list(range(end - 1, first - 1, -1))
        self._freed: list[int] = []
        self._numbers: dict[Target, int] = {}
        self._targets: dict[int, Target] = {}
        self._users: dict[int, int] = {}
        self._shown: dict[int, Adjacency] = {}
        self._behind: dict[NeighbourKey, set[Target]] = {}
        self._punted = 0.0  # when the last one began to
        for target, number in _FIXED.items():
            self._write(number, Adjacency(target.action))

    def __len__(self) -> int:
        return len(self._numbers)

    def take(self, target: Target, count: int = 1) -> int:
        """The number of a target, for some more prefixes. Raises `Full`."""
        if target in _FIXED:
            return _FIXED[target]
        number = self._numbers.get(target)
        if number is None:
            if not self._free and self._freed:
                time.sleep(GRACE)
                self.recycle()
            if not self._free:
                raise Full("adjacencies")
            number = self._free.pop()
            self._show(number, self._resolve(target))
            self._numbers[target], self._targets[number] = number, target
            self._users[number] = 0
            self._behind.setdefault(_neighbour(target), set()).add(target)
        self._users[number] += count
        return number

    def release(self, number: int, count: int = 1) -> None:
        """Some prefixes less lead to a target."""
        if number < _FIRST_NUMBER:
            return
        self._users[number] -= count
        if not self._users[number]:
            target = self._targets.pop(number)
            del self._users[number], self._numbers[target], self._shown[number]
            self._behind[_neighbour(target)].discard(target)
            if not self._behind[_neighbour(target)]:
                del self._behind[_neighbour(target)]
            self._freed.append(number)

    def uses(self, neighbour: NeighbourKey) -> bool:
        """Whether packets are forwarded to a neighbour."""
        found = self._behind.get(neighbour, ())
        return any(self._shown[self._numbers[target]].action != _PUNTS for target in found)

    def refresh(self, moved: Iterable[NeighbourKey] | None) -> bool:
        """Let targets behind some neighbours, or all (None), lead where they do now.

        Returns whether anything has changed. Waits `GRACE` if something leads elsewhere.
        """
        keys = self._behind if moved is None else moved
        targets = [target for key in keys for target in self._behind.get(key, ())]
        wanted = {self._numbers[target]: self._resolve(target) for target in targets}
        changed = {
            number: found for number, found in wanted.items() if found != self._shown[number]
        }
        leading = [number for number in changed if self._shown[number].action != _PUNTS]
        for number in leading:
            _ACTION.pack_into(self._memory, number * _ADJACENCY.size, _PUNTS)
        if leading:
            self._punted = time.monotonic()
        if any(found.action != _PUNTS for found in changed.values()):
            time.sleep(max(0.0, self._punted + GRACE - time.monotonic()))
        for number, found in changed.items():
            self._show(number, found)
        return bool(changed)

    def recycle(self) -> None:
        """Make released numbers available; call it when no program can still have one."""
        self._free += self._freed
        self._freed.clear()

    def _show(self, number: int, adjacency: Adjacency) -> None:
        """Write an adjacency that punts, or that no program has: what it does comes last."""
        self._shown[number] = adjacency
        if adjacency.action != _PUNTS:
            self._write(number, adjacency._replace(action=_PUNTS))
        _ACTION.pack_into(self._memory, number * _ADJACENCY.size, adjacency.action)

    def _write(self, number: int, adjacency: Adjacency) -> None:
        _ADJACENCY.pack_into(self._memory, number * _ADJACENCY.size, *adjacency)


def _neighbour(target: Target) -> NeighbourKey:
    assert target.address is not None
    return target.ifindex, target.address
