"""The adjacencies of one router in shared memory: where its targets lead, by number.

Readers run at any moment. An adjacency that changes is one that punts first, and what it says is
changed when no program can still have read it: `GRACE` later. So a neighbour that moves costs the
same whatever the number of routes behind it, and no packet sees half a rewrite.

A number that was in use is cleared before it is given away, many at once: what it has counted
belongs to the route that had it (`nfv.dataplane.routing.routecounts`).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable, Sequence

from nfv.dataplane.paths import Total
from nfv.dataplane.routing import routecounts
from nfv.dataplane.routing.rib import BLACKHOLE, OWN, PUNT, Adjacency, NeighbourKey, Target
from nfv.dataplane.routing.routecounts import SIZE, Tag
from nfv.dataplane.routing.routemsg import Prefix

GRACE = 0.05
"""Seconds; a program runs for some microseconds."""

BLACKHOLE_NUMBER, PUNT_NUMBER, OWN_NUMBER = 1, 2, 3  # in a table, 0 stands for "no prefix"
_FIXED = {BLACKHOLE: BLACKHOLE_NUMBER, PUNT: PUNT_NUMBER, OWN: OWN_NUMBER}
_FIRST_NUMBER = 4
_MOST_OWED = 65536  # routes that went, of which the counts are remembered
_PUNTS = 0  # enum self_action

_ADJACENCY = struct.Struct("=4I6s6s")  # the beginning of struct self_adjacency
_BLANK = bytes(SIZE)  # one that was never in use
_WORD = struct.Struct("@I")  # a member; in native form it is written by one store
_EGRESS_AT = _WORD.size  # behind the action


class Adjacencies:
    """Where targets lead, in one of two banks; a target is known while prefixes lead to it.

    The fixed ones have the same numbers in either bank.
    """

    def __init__(
        self,
        memory: memoryview,
        bank: int,
        resolve: Callable[[Target], Adjacency],
        counted: Callable[[], Sequence[Total]],
    ) -> None:
        """`counted` tells what programs have counted under each number so far."""
        size = len(memory) // SIZE
        half = size // 2
        first, end = (_FIRST_NUMBER, half) if bank == 0 else (max(half, _FIRST_NUMBER), size)
        self.bank = bank
        self.lacks = False
        """Whether a target was left to the kernel for want of a number, since this was set."""
        self._most = end - first
        self._memory = memory
        self._resolve = resolve
        self._counted = counted
        self._free: list[int] = []  # fit to be given away
        self._left: list[int] = []  # to be cleared before, but no program has them
        self._freed: list[int] = []  # programs may have them
        for number in range(end - 1, first - 1, -1):
            is_blank = memory[number * SIZE : (number + 1) * SIZE] == _BLANK
            (self._free if is_blank else self._left).append(number)
        self._owed: dict[Prefix, Total] = {}  # to routes that have no number to carry it
        self._owned: dict[Prefix, int] = {}  # the number of a route
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

    @property
    def room(self) -> int:
        """How many more routes may have one to themselves: half of it is for other next hops."""
        return self._most // 2 - len(self._numbers)

    @property
    def has_spare(self) -> bool:
        """Whether a tenth of the numbers is nobody's: enough to look who lacks one."""
        return (self._most - len(self._numbers)) * 10 >= self._most

    def take(self, target: Target, count: int = 1) -> int:
        """The number of a target, for some more prefixes.

        Where there are no more numbers, the kernel forwards to it.
        """
        if target in _FIXED:
            return _FIXED[target]
        number = self._numbers.get(target)
        if number is None:
            if not self._has_free():
                self.lacks = True
                return PUNT_NUMBER
            number = self._give(target)
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
            if target.ifindex:
                behind = self._behind[target.ifindex, target.address]
                behind.discard(target)
                if not behind:
                    del self._behind[target.ifindex, target.address]
            if target.route is not None and self._owned[target.route] == number:
                del self._owned[target.route]
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
            _WORD.pack_into(self._memory, number * SIZE, _PUNTS)
        if leading:
            self._punted = time.monotonic()
        if any(found.action != _PUNTS for found in changed.values()):
            time.sleep(max(0.0, self._punted + GRACE - time.monotonic()))
        for number, found in changed.items():
            self._show(number, found)
        return bool(changed)

    def recycle(self) -> None:
        """Make released numbers available; call it when no program can still have one."""
        self._left += self._freed
        self._freed.clear()

    def _give(self, target: Target) -> int:
        """Give a free number to a target."""
        number = self._free.pop()
        self._show(number, self._resolve(target))
        self._numbers[target], self._targets[number] = number, target
        self._users[number] = 0
        if target.ifindex:
            self._behind.setdefault((target.ifindex, target.address), set()).add(target)
        if target.route is not None:
            tag = routecounts.read_tag(self._memory, number)
            carried = routecounts.add(tag.carried, self._owed.pop(target.route, (0, 0)))
            routecounts.write_tag(self._memory, number, Tag(target.route, carried))
            self._owned[target.route] = number
        return number

    def _has_free(self) -> bool:
        """Whether there is a free number; clears those that nobody has any more."""
        if self._free:
            return True
        if not self._left and self._freed:
            time.sleep(GRACE)
            self.recycle()
        if self._left:
            self._clear()
        return bool(self._free)

    def _clear(self) -> None:
        """Clear all numbers that nobody has."""
        counted = self._counted()
        for number in self._left:
            tag = routecounts.read_tag(self._memory, number)
            start = Tag(carried=routecounts.negative(counted[number]))
            routecounts.write_tag(self._memory, number, start)
            if tag.route is not None:
                self._credit(tag.route, routecounts.add(counted[number], tag.carried))
        self._free, self._left = self._left, []

    def _credit(self, route: Prefix, total: Total) -> None:
        """Let a route have what was counted for it under a number that it no longer has."""
        number = self._owned.get(route)
        if number is None:
            self._owed[route] = routecounts.add(self._owed.pop(route, (0, 0)), total)
            if len(self._owed) > _MOST_OWED:
                del self._owed[next(iter(self._owed))]
            return
        tag = routecounts.read_tag(self._memory, number)
        carried = routecounts.add(tag.carried, total)
        routecounts.write_tag(self._memory, number, Tag(route, carried))

    def _show(self, number: int, adjacency: Adjacency) -> None:
        """Write an adjacency that punts, or that no program has: what it does comes last.

        A program may still have the rewrite of one that punts, which is left as it is.
        """
        self._shown[number] = adjacency
        if adjacency.action == _PUNTS:
            _WORD.pack_into(self._memory, number * SIZE + _EGRESS_AT, adjacency.egress)
        else:
            self._write(number, adjacency._replace(action=_PUNTS))
        _WORD.pack_into(self._memory, number * SIZE, adjacency.action)

    def _write(self, number: int, adjacency: Adjacency) -> None:
        _ADJACENCY.pack_into(self._memory, number * SIZE, *adjacency)
