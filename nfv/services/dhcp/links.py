"""Which subnets a chain's clients are on, as far as the topology declares it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from nfv.chain.fields import InterfaceAddress
from nfv.chain.topology import Topology


def ends4(topology: Topology, chain: str) -> list[IPv4Address]:
    """The IPv4 addresses that are declared at both ends of a chain."""
    return [one.ip for one in _ends(topology, chain) if isinstance(one, IPv4Interface)]


def ends6(topology: Topology, chain: str) -> list[IPv6Address]:
    """The IPv6 addresses that are declared at both ends of a chain."""
    return [one.ip for one in _ends(topology, chain) if isinstance(one, IPv6Interface)]


def _ends(topology: Topology, chain: str) -> list[InterfaceAddress]:
    found: list[InterfaceAddress] = []
    for end in topology.chains[chain].attachments:
        if end.interface is None:
            found += list(topology.saps[end.node].addresses)
        else:
            found += list(topology.vnfs[end.node].interfaces[end.interface].ip)
    return found
