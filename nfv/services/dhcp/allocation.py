"""Which address a client gets (RFC 2131, section 4.3.1)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ipaddress import IPv4Address

from nfv.services.dhcp.client import Client
from nfv.services.dhcp.leases import Leases4
from nfv.services.dhcp.plan import Link, Place, Pool
from nfv.services.dhcp.spare import Spares


class Allocation:
    """Finds free addresses. Nothing is taken here: the caller puts the lease."""

    def __init__(self, leases: Leases4) -> None:
        self._leases = leases
        self.spares = Spares(leases)

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
            found = self.spares.find(pool, now)
            if found is not None:
                return place_, found
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

    def _preferred(self, client: Client, wanted: IPv4Address | None) -> Iterator[IPv4Address]:
        yield from (lease.address for lease in self._leases.of(client.key))
        if wanted is not None:
            yield wanted


def _pools(link: Link, classes: Collection[str]) -> Iterator[tuple[Place, Pool]]:
    """The pools that a client may use, those for its classes first."""
    admitting = [
        (place, pool) for place in link.places for pool in place.pools if pool.admits(classes)
    ]
    yield from sorted(admitting, key=lambda found: not found[1].classes)
