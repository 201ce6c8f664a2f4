"""What frames at an access point have if nobody says: addresses, and whose MAC they are for."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

from nfv.chain import names
from nfv.chain.graph import entries
from nfv.chain.path import Attachment
from nfv.chain.topology import Topology
from nfv.dataplane.observe.offline import ASSUMED_MAC, addresses
from nfv.dataplane.wiring import Wiring
from nfv.traffic.description import Ends

Address: TypeAlias = IPv4Address | IPv6Address

_SENDER = "02:00:00:00:00:02"  # behind a SAP whose MAC address nothing tells
_BROADCAST = "ff:ff:ff:ff:ff:ff"


def ends(topology: Topology, wiring: Wiring, place: Attachment) -> Ends:
    """The addresses of whoever is behind a SAP, and how it would reach others."""
    sap, port = topology.saps[place.node], wiring.ports[place]
    known = {**dict(_functions(topology)), **dict(addresses(topology, wiring))}

    def source(version: int) -> Address | None:
        return next((own.ip for own in sap.addresses if own.version == version), None)

    def destination(address: Address | None) -> str:
        if address is None:
            return _BROADCAST
        if (group := _group(address)) is not None:
            return group
        near = not sap.addresses or any(address in own.network for own in sap.addresses)
        hop = next((one for one in sap.gateways if one.version == address.version), None)
        for station in [address] if near else [hop]:
            if station in known:
                return known[station]
        return _far(topology, wiring, place)

    return Ends(source, port.mac or _SENDER, destination)


def _functions(topology: Topology) -> Iterator[tuple[Address, str]]:
    """Addresses that bumps in the wire answer at."""
    for name, function in topology.vnfs.items():
        mac = getattr(function.config, "mac", None) or names.mac(topology.name, name)
        yield from ((address.ip, mac) for address in function.addresses)


def _group(address: Address) -> str | None:
    """The MAC address of many (RFC 1112, section 6.4; RFC 2464, section 7)."""
    if address == IPv4Address("255.255.255.255"):
        return _BROADCAST
    if not address.is_multicast:
        return None
    packed = address.packed
    if address.version == 4:
        return bytes((0x01, 0x00, 0x5E, packed[1] & 0x7F, packed[2], packed[3])).hex(":")
    return (b"\x33\x33" + packed[-4:]).hex(":")


def _far(topology: Topology, wiring: Wiring, place: Attachment) -> str:
    """The other end of the chains that begin there, if it is one."""
    ends = {walk.end for walk in entries(topology)[place].walks}
    macs = {wiring.ports[end].mac if end in wiring.ports else None for end in ends}
    (mac,) = macs if len(macs) == 1 else (None,)
    return mac or ASSUMED_MAC
