"""A server's configuration as it is looked up: links, subnets, who has what reserved."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, Protocol, TypeVar

from nfv.chain.families import AddressRange
from nfv.functions.dhcp import Boot, Class, DhcpConfig, Reservation, Subnet, Told
from nfv.services.dhcp.client import Client
from nfv.services.dhcp.options import CODES
from nfv.services.dhcp.spare import Range
from nfv.services.dhcp.values import contents
from nfv.services.dhcp.wire import Option


class Pool(Range[IPv4Address]):
    """Addresses of a subnet."""

    def address(self, number: int) -> IPv4Address:
        return IPv4Address(number)

    def number(self, address: IPv4Address) -> int:
        return int(address)


class Marked(Protocol):
    """A client, by what it says of itself and then by what others say of it."""

    @property
    def marks(self) -> Sequence[tuple[str, bytes]]: ...


Reserved = TypeVar("Reserved")


def reserved_for(
    client: Marked, reservations: Mapping[tuple[str, bytes], Reserved]
) -> Reserved | None:
    """What is reserved for a client under its first mark that is known."""
    if not reservations:
        return None
    return next((reservations[mark] for mark in client.marks if mark in reservations), None)


@dataclass(frozen=True)
class Place:
    """A subnet."""

    config: Subnet
    server: IPv4Address  # address by which the server is known there
    pools: tuple[Pool, ...]
    lease: int  # seconds
    lease_max: int
    first: int  # address of the network, and the last in it
    last: int

    def __contains__(self, address: IPv4Address) -> bool:
        return self.first <= int(address) <= self.last


@dataclass(frozen=True)
class Link:
    """Subnets that share a link."""

    places: tuple[Place, ...]
    reservations: Mapping[tuple[str, bytes], tuple[Place, Reservation]]

    def place_of(self, address: IPv4Address) -> Place | None:
        """The subnet of an address, if it is on the link."""
        return next((place for place in self.places if address in place), None)

    def reservation(self, client: Client) -> tuple[Place, Reservation] | None:
        """What is reserved for a client."""
        return reserved_for(client, self.reservations)


@dataclass(frozen=True)
class Answering:
    """What a client is told: options by number, and the message's boot fields."""

    options: dict[int, bytes] = field(default_factory=dict)
    boot: Boot = field(default_factory=Boot)


class Plan:
    """The configuration of one function."""

    def __init__(self, config: DhcpConfig, chains: Mapping[str, Collection[IPv4Address]]) -> None:
        """`chains` are those that the function stands in, with the addresses at their ends."""
        self.config = config
        self.own = tuple(address.ip for address in config.ip4)
        self._answerings: dict[tuple[int, tuple[str, ...], int], Answering] = {}
        self._links = [_link(config, subnets) for subnets in grouped(config.subnets)]
        self._by_chain = {
            chain: self._link_of_chain(chain, addresses) for chain, addresses in chains.items()
        }

    def link_on(self, chain: str) -> Link | None:
        """The link of hosts whose packets come by a chain."""
        return self._by_chain.get(chain)

    def link_with(self, address: IPv4Address) -> Link | None:
        """The link that an address is on."""
        return next((link for link in self._links if link.place_of(address)), None)

    def classes(self, client: Client) -> list[str]:
        """The classes that a client is of, in their order."""
        return [name for name, kind in self.config.classes.items() if _is_of(client, kind)]

    def answering(
        self, place: Place, classes: Sequence[str], reservation: Reservation | None
    ) -> Answering:
        """What a client is told: the reservation's word before its classes', subnet's and all's."""
        key = (id(place), tuple(classes), id(reservation))
        if key not in self._answerings:
            self._answerings[key] = self._compiled(place, classes, reservation)
        return self._answerings[key]

    def _compiled(
        self, place: Place, classes: Sequence[str], reservation: Reservation | None
    ) -> Answering:
        scopes: list[Told] = [self.config, place.config]
        scopes += [self.config.classes[name] for name in reversed(classes)]
        if reservation:
            scopes.append(reservation)
        found = Answering()
        boot: dict[str, Any] = {}
        for scope in scopes:
            found.options.update(contents(scope.options, CODES, scope.custom))
            said = {key: getattr(scope.boot, key) for key in Boot.model_fields}
            boot.update({key: value for key, value in said.items() if value is not None})
        if reservation and reservation.hostname:
            found.options[Option.HOSTNAME] = reservation.hostname.encode()
        mask = place.config.network.netmask.packed
        options = {Option.SUBNET_MASK: mask, **found.options}
        return Answering(options, Boot.model_construct(**boot))

    def _link_of_chain(self, chain: str, ends: Collection[IPv4Address]) -> Link | None:
        """The link that says so, else that of an end's address, else of the server's."""
        for link in self._links:
            if any(chain in place.config.chains for place in link.places):
                return link
        for addresses in (ends, self.own):
            for link in self._links:
                if any(link.place_of(address) for address in addresses):
                    return link
        return None


class Linked(Protocol):
    """A subnet, which may be one of several on a link."""

    @property
    def link(self) -> str | None: ...


AnySubnet = TypeVar("AnySubnet", bound=Linked)


def grouped(subnets: Iterable[AnySubnet]) -> Iterator[list[AnySubnet]]:
    """The subnets of each link."""
    named: dict[str, list[AnySubnet]] = {}
    for subnet in subnets:
        if subnet.link is None:
            yield [subnet]
        else:
            named.setdefault(subnet.link, []).append(subnet)
    yield from named.values()


def _link(config: DhcpConfig, subnets: Sequence[Subnet]) -> Link:
    own = [address.ip for address in config.ip4]
    near = next((one for one in own if any(one in subnet.network for subnet in subnets)), own[0])
    places = tuple(_place(config, subnet, near) for subnet in subnets)
    reservations = {
        mark: (place, reservation)
        for place in places
        for reservation in place.config.reservations
        for mark in _marks(reservation)
    }
    return Link(places, reservations)


def _place(config: DhcpConfig, subnet: Subnet, server: IPv4Address) -> Place:
    closed = {int(found.ip) for found in subnet.reservations} | {int(own.ip) for own in config.ip4}
    routers = (*config.options.routers, *subnet.options.routers)
    closed.update(int(router) for router in routers)
    pools = tuple(
        Pool(first, last, frozenset(pool.classes), frozenset(closed))
        for pool in subnet.pools
        for first, last in without(_numbers(pool.range), map(_numbers, subnet.exclude))
    )
    lease = subnet.lease or config.lease
    ends = int(subnet.network.network_address), int(subnet.network.broadcast_address)
    return Place(subnet, server, pools, lease, max(config.lease_max or lease, lease), *ends)


def _numbers(addresses: AddressRange) -> tuple[int, int]:
    return int(addresses[0]), int(addresses[1])


def without(whole: tuple[int, int], holes: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """What is left of a range."""
    left = [whole]
    for start, end in holes:
        below = [(first, min(last, start - 1)) for first, last in left]
        above = [(max(first, end + 1), last) for first, last in left]
        left = sorted({(first, last) for first, last in [*below, *above] if first <= last})
    return left


def _marks(reservation: Reservation) -> Iterator[tuple[str, bytes]]:
    if reservation.mac:
        yield "mac", bytes.fromhex(reservation.mac.replace(":", ""))
    if reservation.client_id:
        yield "client_id", reservation.client_id
    if reservation.circuit_id:
        yield "circuit_id", reservation.circuit_id
    if reservation.remote_id:
        yield "remote_id", reservation.remote_id


def _is_of(client: Client, kind: Class) -> bool:
    if kind.vendor and not client.vendor.startswith(kind.vendor.encode()):
        return False
    if kind.user and kind.user.encode() not in client.users:
        return False
    if kind.enterprise is not None and kind.enterprise not in client.enterprises:
        return False
    return not kind.arch or not client.architectures.isdisjoint(kind.arch)
