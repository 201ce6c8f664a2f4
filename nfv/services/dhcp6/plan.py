"""The configuration of DHCPv6 as it is looked up: links, subnets, who has what reserved."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network

from nfv.chain.fields import Network
from nfv.functions.dhcp import DhcpConfig
from nfv.services.dhcp.plan import grouped, reserved_for, without
from nfv.services.dhcp.spare import Range
from nfv.services.dhcp.values import contents
from nfv.services.dhcp6.client import Client
from nfv.services.dhcp6.config import Delegated, Ipv6, Reservation6, Subnet6, Told6
from nfv.services.dhcp6.options import CODES
from nfv.services.dhcp6.wire import Option

_BITS = 128


@dataclass(frozen=True)
class Block(Range[IPv6Network]):
    """IPv6 addresses (prefixes of 128 bits), or prefixes of another length."""

    length: int

    def address(self, number: int) -> IPv6Network:
        return IPv6Network((number << (_BITS - self.length), self.length))

    def number(self, address: IPv6Network) -> int:
        if address.prefixlen != self.length:
            return -1
        return int(address.network_address) >> (_BITS - self.length)


@dataclass(frozen=True)
class Place:
    """A subnet. Lifetimes are in seconds."""

    config: Subnet6
    blocks: Mapping[int, tuple[Block, ...]]  # by what they are for: Option.IA_NA, Option.IA_PD
    valid: int
    preferred: int

    def __contains__(self, address: IPv6Address) -> bool:
        return address in self.config.network


@dataclass(frozen=True)
class Link:
    """Subnets that share a link."""

    places: tuple[Place, ...]
    reservations: Mapping[tuple[str, bytes], tuple[Place, Reservation6]]

    def has(self, address: IPv6Address) -> bool:
        """Whether an address is on the link."""
        return any(address in place for place in self.places)

    def reservation(self, client: Client) -> tuple[Place, Reservation6] | None:
        """What is reserved for a client."""
        return reserved_for(client, self.reservations)


class Plan:
    """The configuration of one function, which has DHCPv6."""

    def __init__(self, config: DhcpConfig, chains: Mapping[str, Collection[IPv6Address]]) -> None:
        """`chains` are those that the function stands in, with the addresses at their ends."""
        assert config.ipv6 is not None
        self.config: Ipv6 = config.ipv6
        self.function = config
        self._told: dict[tuple[int, int], dict[int, bytes]] = {}
        self._links = [_link(config, subnets) for subnets in grouped(self.config.subnets)]
        own = [one.ip for one in config.ip6]
        self._by_chain = {
            chain: self._link_of_chain(chain, (ends, own)) for chain, ends in chains.items()
        }

    def link_on(self, chain: str) -> Link | None:
        """The link of hosts whose packets come by a chain."""
        return self._by_chain.get(chain)

    def link_with(self, address: IPv6Address) -> Link | None:
        """The link that an address is on."""
        return next((link for link in self._links if link.has(address)), None)

    def options(self, place: Place | None, reservation: Reservation6 | None) -> Mapping[int, bytes]:
        """What a client is told: the reservation's word before the subnet's and all clients'."""
        key = id(place), id(reservation)
        if key not in self._told:
            scopes: list[Told6] = [self.config]
            scopes += [place.config] if place else []
            scopes += [reservation] if reservation else []
            found: dict[int, bytes] = {}
            for scope in scopes:
                found.update(contents(scope.options, CODES, scope.custom))
            self._told[key] = found
        return self._told[key]

    def _link_of_chain(self, chain: str, known: Sequence[Collection[IPv6Address]]) -> Link | None:
        """The link that says so, else that of an end's address, else of the server's."""
        for link in self._links:
            if any(chain in place.config.chains for place in link.places):
                return link
        for addresses in known:
            for link in self._links:
                if any(link.has(address) for address in addresses):
                    return link
        return None


def _link(config: DhcpConfig, subnets: Sequence[Subnet6]) -> Link:
    places = tuple(_place(config, subnet) for subnet in subnets)
    reservations = {
        mark: (place, reservation)
        for place in places
        for reservation in place.config.reservations
        for mark in _marks(reservation)
    }
    return Link(places, reservations)


def _place(config: DhcpConfig, subnet: Subnet6) -> Place:
    assert config.ipv6 is not None
    closed = {int(one.ip) for one in config.ip6}
    closed.update(int(one.ip) for one in subnet.reservations if one.ip is not None)
    holes = [(int(first), int(last)) for first, last in subnet.exclude]
    addresses = tuple(
        Block(first, last, frozenset(), frozenset(closed), _BITS)
        for pool in subnet.pools
        for first, last in without((int(pool.range[0]), int(pool.range[1])), holes)
    )
    reserved = [one.prefix for one in subnet.reservations if one.prefix is not None]
    prefixes = tuple(block for pool in subnet.delegate for block in _delegated(pool, reserved))
    valid = subnet.lease or config.ipv6.lease or config.lease
    preferred = min(config.ipv6.preferred or valid, valid)
    blocks: dict[int, tuple[Block, ...]] = {Option.IA_NA: addresses, Option.IA_PD: prefixes}
    return Place(subnet, blocks, valid, preferred)


def _delegated(pool: Delegated, reserved: Sequence[Network]) -> Iterator[Block]:
    """The prefixes of a pool, without what is reserved."""
    shift = _BITS - pool.length
    holes = [_numbers(one, shift) for one in reserved]
    for first, last in without(_numbers(pool.within, shift), holes):
        yield Block(first, last, frozenset(), frozenset(), pool.length)


def _numbers(network: Network, shift: int) -> tuple[int, int]:
    return int(network.network_address) >> shift, int(network.broadcast_address) >> shift


def _marks(reservation: Reservation6) -> Iterator[tuple[str, bytes]]:
    if reservation.mac:
        yield "mac", bytes.fromhex(reservation.mac.replace(":", ""))
    for key in ("duid", "interface_id", "remote_id"):
        mark = getattr(reservation, key)
        if mark:
            yield key, mark
