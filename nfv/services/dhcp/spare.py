"""Which addresses of a pool are free: those that nobody ever had, then those free for longest."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Generic

from nfv.services.dhcp.leases import Key, Lease, Leases, State


@dataclass(frozen=True)
class Range(ABC, Generic[Key]):
    """Addresses by number, from the first to the last, but for those that are nobody's."""

    first: int
    last: int
    classes: frozenset[str]
    closed: frozenset[int]  # reserved, or the server's or a router's own

    @abstractmethod
    def address(self, number: int) -> Key:
        """The address that has a number."""

    @abstractmethod
    def number(self, address: Key) -> int:
        """The number of an address; -1 if it cannot be in the range."""

    def admits(self, classes: Collection[str]) -> bool:
        """Whether a client of some classes may have an address of the range."""
        return not self.classes or not self.classes.isdisjoint(classes)

    def has(self, address: Key) -> bool:
        number = self.number(address)
        return self.first <= number <= self.last and number not in self.closed


class Spares(Generic[Key]):
    """Finds free addresses, and frees them. What is taken, the caller puts as a lease."""

    def __init__(self, leases: Leases[Key]) -> None:
        self._leases: Leases[Key] = leases
        self._next: dict[Range[Key], int] = {}  # where the search goes on
        self._freed: dict[Range[Key], list[tuple[float, int]]] = {}  # heap by end of lease

    def find(self, pool: Range[Key], now: float) -> Key | None:
        """An address of a range that nobody ever had, else the one that is free for longest."""
        number = self._fresh(pool)
        if number is None:
            number = self._used(pool, now)
        return None if number is None else pool.address(number)

    def free(self, lease: Lease[Key], now: float) -> None:
        """End a lease, or forget an offer; others may have the address."""
        freed = replace(lease, state=State.RELEASED, ends=now, held=now)
        if lease.state is State.OFFERED:
            self._leases.drop(lease.address)
        else:
            self._leases.put(freed)
        self.give_back(freed)

    def give_back(self, lease: Lease[Key]) -> None:
        """An address is free from now on: those that were free for longest are given first."""
        for pool, freed in self._freed.items():
            number = pool.number(lease.address)
            if pool.first <= number <= pool.last:
                heapq.heappush(freed, (lease.ends, number))

    def forget(self) -> None:
        """The ranges have changed."""
        self._next.clear()
        self._freed.clear()

    def _fresh(self, pool: Range[Key]) -> int | None:
        number = self._next.get(pool, pool.first)
        while number <= pool.last:
            if number not in pool.closed and self._leases.at(pool.address(number)) is None:
                break
            number += 1
        self._next[pool] = number  # not beyond: whether it is taken is the caller's to say
        return number if number <= pool.last else None

    def _used(self, pool: Range[Key], now: float) -> int | None:
        if pool not in self._freed:
            numbered = [(lease.ends, pool.number(lease.address)) for lease in self._leases]
            self._freed[pool] = sorted(one for one in numbered if pool.first <= one[1] <= pool.last)
        freed = self._freed[pool]
        while freed and freed[0][0] <= now:
            number = freed[0][1]
            lease = self._leases.at(pool.address(number))
            if (lease is None or not lease.is_taken(now)) and number not in pool.closed:
                return number
            heapq.heappop(freed)
        return None
