"""Which address or prefix an association gets (RFC 9915, section 13)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Network

from nfv.services.dhcp.leases import Leases6, State
from nfv.services.dhcp.spare import Spares
from nfv.services.dhcp6.client import Client
from nfv.services.dhcp6.plan import Block, Link, Place
from nfv.services.dhcp6.wire import Association, Option


class Allocation:
    """Finds free addresses and prefixes. Nothing is taken here: the caller puts the lease."""

    def __init__(self, leases: Leases6) -> None:
        self._leases = leases
        self.spares = Spares(leases)

    def choose(
        self, link: Link, client: Client, asked: Association, now: float
    ) -> tuple[Place, IPv6Network] | None:
        """What an association gets, and of which subnet; None if there is nothing.

        What is reserved for the client; else what the association has, had or wants, if that is
        free; else what is free, prefixes of the length that is wanted first.
        """
        key = client.key(asked)
        reserved = self.reserved(link, client, asked.kind)
        if reserved and self._is_free(reserved[1], key, now):
            return reserved
        for network in self._preferred(key, asked):
            place = self.place_of(link, asked.kind, network)
            if place and self._is_free(network, key, now):
                return place, network
        for place, block in _ordered(link, asked):
            found = self.spares.find(block, now)
            if found is not None:
                return place, found
        return None

    def reserved(self, link: Link, client: Client, kind: int) -> tuple[Place, IPv6Network] | None:
        """The address, or prefix, that is reserved for a client."""
        reserved = link.reservation(client)
        if reserved is None:
            return None
        place, one = reserved
        network = one.ip if kind == Option.IA_NA else one.prefix
        return (place, IPv6Network(str(network))) if network is not None else None

    def place_of(self, link: Link, kind: int, network: IPv6Network) -> Place | None:
        """The subnet that gives an address or prefix to whoever asks, if one does."""
        for place in link.places:
            if any(block.has(network) for block in place.blocks[kind]):
                return place
        return None

    def _is_free(self, network: IPv6Network, key: bytes, now: float) -> bool:
        lease = self._leases.at(network)
        if lease is None or not lease.is_taken(now):
            return True
        return lease.client == key and lease.state is not State.DECLINED

    def _preferred(self, key: bytes, asked: Association) -> Iterator[IPv6Network]:
        yield from (lease.address for lease in self._leases.of(key))
        yield from (one.network for one in asked.granted)


def _ordered(link: Link, asked: Association) -> Iterator[tuple[Place, Block]]:
    """What there is of the kind; prefixes of a wanted length go first."""
    lengths = {one.network.prefixlen for one in asked.granted}
    blocks = [(place, block) for place in link.places for block in place.blocks[asked.kind]]
    yield from sorted(blocks, key=lambda found: found[1].length not in lengths)
