"""Which clients are meant by prefixes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network

from nfv.chain.fields import Address, Network

EVERYBODY = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def is_in(client: str, networks: Sequence[Network]) -> bool:
    """Whether a client's address is in one of the networks; a neighbour on the link always is."""
    return _address(client).is_link_local or covers(networks, client)


def covers(networks: Sequence[Network], client: str) -> bool:
    """Whether a client's address is in one of the networks."""
    return _covers(tuple(networks), _address(client))


@lru_cache(maxsize=4096)
def _covers(networks: tuple[Network, ...], address: Address) -> bool:
    return any(address in network for network in networks)


@lru_cache(maxsize=4096)
def _address(client: str) -> Address:
    return ip_address(client.partition("%")[0])
