"""The directory: names of a topology's hosts, routers and name servers, and of their addresses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Interface, IPv6Interface, ip_network

import dns.name
import dns.rdata
import dns.reversename
from dns.name import Name
from dns.rdata import Rdata

from nfv.chain.fields import Address, InterfaceAddress, Network
from nfv.chain.topology import Topology
from nfv.services.dns.zone import Zone

TTL = 60
"""Seconds; what is in a lab changes."""

_TIMES = "3600 600 86400 60"  # refresh, retry, expire, and how long a name stays unknown

Host = tuple[Name, InterfaceAddress]
"""A name with an address of its own, and the subnet it is in."""


def hosts(topology: Topology, zone: Name) -> Iterator[Host]:
    """Every name that the topology itself declares; the first of an address is its own."""
    for name, sap in topology.saps.items():
        yield from _named(_below(zone, name), sap.addresses)
    for name, function in topology.vnfs.items():
        yield from _named(_below(zone, name), function.addresses)
        for key, interface in function.interfaces.items():
            yield from _named(_below(zone, name, key), interface.ip)
            yield from _named(_below(zone, name), interface.ip)


def zones(found: Iterable[Host], zone: Name, server: Name, serial: int) -> list[Zone]:
    """The directory's zone and the reverse zones of all subnets; `server` is who answers."""
    known = list(dict.fromkeys(found))
    forward = [(name, TTL, _address(address)) for name, address in known]
    made = [Zone(zone, [*_head(zone, server, serial), *forward])]
    first: dict[Address, Name] = {}
    for name, address in known:
        first.setdefault(address.ip, name)
    for network in sorted({one for _, address in known for one in _cuts(address)}, key=str):
        origin = _reverse_zone(network)
        pointers = [
            (dns.reversename.from_address(str(address)), TTL, _rdata("PTR", name.to_text()))
            for address, name in first.items()
            if address in network
        ]
        made.append(Zone(origin, [*_head(origin, server, serial), *pointers]))
    return made


def _below(zone: Name, *labels: str) -> Name:
    """The name whose labels are given from the zone on."""
    return Name((*(label.encode() for label in reversed(labels)), *zone.labels))


def _named(name: Name, addresses: Sequence[InterfaceAddress]) -> Iterator[Host]:
    for address in addresses:
        yield name, address


def _head(zone: Name, server: Name, serial: int) -> list[tuple[Name, int, Rdata]]:
    contact = Name((b"hostmaster", *server.parent().labels))
    return [
        (zone, TTL, _rdata("SOA", f"{server} {contact} {serial} {_TIMES}")),
        (zone, TTL, _rdata("NS", server.to_text())),
    ]


def _address(address: InterfaceAddress) -> Rdata:
    return _rdata("A" if address.version == 4 else "AAAA", str(address.ip))


def _rdata(rdtype: str, text: str) -> Rdata:
    return dns.rdata.from_text("IN", rdtype, text)


def _cuts(address: IPv4Interface | IPv6Interface) -> list[Network]:
    """A subnet as the reverse tree can cut it: whole bytes for IPv4, at most three; nibbles.

    A subnet in between is several zones, one smaller than a zone is all of that zone.
    """
    network = ip_network(address.network)
    unit, most = (8, 24) if network.version == 4 else (4, 124)
    length = min(most, max(unit, -(-network.prefixlen // unit) * unit))
    if length < network.prefixlen:
        return [network.supernet(new_prefix=length)]
    return list(network.subnets(new_prefix=length))


def _reverse_zone(network: Network) -> Name:
    whole = dns.reversename.from_address(str(network.network_address))
    unit = 8 if network.version == 4 else 4
    return whole.split((network.prefixlen // unit) + 3)[1]
