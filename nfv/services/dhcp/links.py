"""Which subnets a chain's clients are on, as far as the topology declares it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface

from nfv.chain.topology import Topology


def ends(topology: Topology, chain: str) -> list[IPv4Address]:
    """The addresses that are declared at both ends of a chain."""
    found = []
    for end in topology.chains[chain].attachments:
        if end.interface is None:
            found += list(topology.saps[end.node].addresses)
        else:
            found += list(topology.vnfs[end.node].interfaces[end.interface].ip)
    return [address.ip for address in found if isinstance(address, IPv4Interface)]
