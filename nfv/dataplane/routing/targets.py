"""The numbers of targets, which the tables of routes hold: of an adjacency, or of a group of them.

The next hops of a multipath route share its traffic by a hash of the addresses, so that a flow
keeps to one (RFC 2992). A group has 64 places, and next hops have theirs in proportion to weights.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from nfv.dataplane.routing.adjacencies import PUNT_NUMBER, Adjacencies
from nfv.dataplane.routing.rib import Target
from nfv.ebpf.sources import constant

GROUP = constant("functions/router.c", "SELF_GROUP")
PLACES = constant("functions/router.c", "SELF_PLACES")

_PLACES = struct.Struct(f"={PLACES}I")  # struct self_group


class Targets:
    """Adjacencies, and the groups of them in one of two banks of shared memory."""

    def __init__(self, adjacencies: Adjacencies, memory: memoryview) -> None:
        half = len(memory) // _PLACES.size // 2
        first = half * adjacencies.bank
        self.adjacencies = adjacencies
        self._memory = memory
        self._free = list(range(first + half - 1, first - 1, -1))
        self._freed: list[int] = []
        self._numbers: dict[Target, int] = {}
        self._targets: dict[int, Target] = {}
        self._members: dict[int, list[int]] = {}  # the adjacencies of a group
        self._users: dict[int, int] = {}

    def take(self, target: Target, count: int = 1) -> int:
        """The number of a target, for some more prefixes.

        Where there are no more groups, or adjacencies, the kernel shares the traffic.
        """
        if not target.members:
            return self.adjacencies.take(target, count)
        number = self._numbers.get(target)
        if number is None:
            if not self._free:
                return PUNT_NUMBER
            number = self._give(target)
        self._users[number] += count
        return number

    def release(self, number: int, count: int = 1) -> None:
        """Some prefixes less lead to a target."""
        if not number & GROUP:
            self.adjacencies.release(number, count)
            return
        self._users[number] -= count
        if not self._users[number]:
            target = self._targets.pop(number)
            del self._users[number], self._numbers[target]
            for member in self._members.pop(number):
                self.adjacencies.release(member)
            self._freed.append(number ^ GROUP)

    def recycle(self) -> None:
        """Make released numbers available; call it when no program can still have one."""
        self.adjacencies.recycle()
        self._free += self._freed
        self._freed.clear()

    def _give(self, target: Target) -> int:
        members = [self.adjacencies.take(member) for member, _weight in target.members]
        index = self._free.pop()
        weights = [weight for _member, weight in target.members]
        places = [members[owner] for owner in shares(weights, PLACES)]
        _PLACES.pack_into(self._memory, index * _PLACES.size, *places)
        number = index | GROUP
        self._numbers[target], self._targets[number] = number, target
        self._members[number], self._users[number] = members, 0
        return number


def shares(weights: Sequence[int], places: int) -> list[int]:
    """Who has each of some places, by weight: the largest remainders get what is left over.

    >>> shares([2, 1, 1], 8)
    [0, 0, 0, 0, 1, 1, 2, 2]
    """
    total = sum(weights)
    counts = [weight * places // total for weight in weights]
    left = sorted(range(len(weights)), key=lambda at: -(weights[at] * places % total))
    for at in left[: places - sum(counts)]:
        counts[at] += 1
    return [at for at, count in enumerate(counts) for _ in range(count)]
