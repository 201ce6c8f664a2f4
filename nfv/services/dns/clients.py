"""Which clients are meant by prefixes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address

from nfv.chain.fields import Network


def is_in(client: str, networks: Sequence[Network]) -> bool:
    """Whether a client's address is in one of the networks; a neighbour on the link always is."""
    return _is_in(client, tuple(networks))


@lru_cache(maxsize=4096)
def _is_in(client: str, networks: tuple[Network, ...]) -> bool:
    address = ip_address(client.partition("%")[0])
    return address.is_link_local or any(address in network for network in networks)
