"""Which address a client gets (RFC 2131, section 4.3.1)."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address

from nfv.services.dhcp.client import Client
from nfv.services.dhcp.leases import Lease, Leases
from nfv.services.dhcp.plan import Link, Place, Pool


class Allocation:
    """Finds free addresses. Nothing is taken here: the caller puts the lease."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._next: dict[tuple[int, int], int] = {}  # by range: where the search goes on
        self._freed: dict[tuple[int, int], list[tuple[float, int]]] = {}  # heap by end of lease

    def choose(
        self,
        link: Link,
        client: Client,
        classes: Collection[str],
        wanted: IPv4Address | None,
        now: float,
    ) -> tuple[Place, IPv4Address] | None:
        """The address for a client, and its subnet; None if there is none.

        What is reserved for it; else the one that it has; else the one that it had, or that it
        wants, if that is free; else a free one.
        """
        reserved = link.reservation(client)
        if reserved:
            place, reservation = reserved
            holder = self._leases.at(reservation.ip)
            if holder is None or holder.client == client.key or not holder.is_taken(now):
                return place, reservation.ip
        for address in self._preferred(client, wanted):
            place_ = link.place_of(address)
            if place_ and self.is_open(place_, address, classes, client.key, now):
                return place_, address
        for place_, pool in _pools(link, classes):
            number = self._free(pool, now)
            if number is not None:
                return place_, IPv4Address(number)
        return None

    def is_open(
        self,
        place: Place,
        address: IPv4Address,
        classes: Collection[str],
        key: bytes,
        now: float,
    ) -> bool:
        """Whether a client may have an address: it is in a pool for it, and nobody else's."""
        if not any(pool.has(address) and pool.admits(classes) for pool in place.pools):
            return False
        lease = self._leases.at(address)
        if lease is None or not lease.is_taken(now):
            return True
        return lease.client == key and lease.state.value != "declined"

    def give_back(self, lease: Lease) -> None:
        """An address is free from now on: those that were free for longest are given first."""
        number = int(lease.address)
        for (first, last), freed in self._freed.items():
            if first <= number <= last:
                heapq.heappush(freed, (lease.ends, number))

    def forget(self) -> None:
        """The pools have changed."""
        self._next.clear()
        self._freed.clear()

    def _preferred(self, client: Client, wanted: IPv4Address | None) -> Iterator[IPv4Address]:
        yield from (lease.address for lease in self._leases.of(client.key))
        if wanted is not None:
            yield wanted

    def _free(self, pool: Pool, now: float) -> int | None:
        """An address of a pool that nobody ever had, else the one that is free for longest."""
        key = (pool.first, pool.last)
        if key not in self._freed:
            self._freed[key] = sorted(
                (lease.ends, int(lease.address))
                for lease in self._leases
                if pool.first <= int(lease.address) <= pool.last
            )
        number = self._next.get(key, pool.first)
        while number <= pool.last:
            if number not in pool.closed and self._leases.at(IPv4Address(number)) is None:
                self._next[key] = number  # not beyond: whether it is taken is the caller's to say
                return number
            number += 1
        self._next[key] = number
        freed = self._freed[key]
        while freed and freed[0][0] <= now:
            number = freed[0][1]
            lease = self._leases.at(IPv4Address(number))
            if (lease is None or not lease.is_taken(now)) and number not in pool.closed:
                return number
            heapq.heappop(freed)
        return None


def _pools(link: Link, classes: Collection[str]) -> Iterator[tuple[Place, Pool]]:
    """The pools that a client may use, those for its classes first."""
    admitting = [
        (place, pool) for place in link.places for pool in place.pools if pool.admits(classes)
    ]
    yield from sorted(admitting, key=lambda found: not found[1].classes)
