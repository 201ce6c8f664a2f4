"""A router, as docs/functions/router.md, RFC 1812 and RFC 8200 say what it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from tests.property.model.packets import ETHERNET, Packet, internet_checksum
from tests.property.model.rules import span_of
from tests.property.model.verdicts import Action, Verdict, drop, punt

MINIMUM = 60
"""Bytes of a frame on the wire, to which network cards pad."""

NO_SOURCES = tuple(
    span_of(prefix)
    for prefix in (
        *("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255"),  # RFC 1812, 5.3.7
        *("::/128", "::1/128", "ff00::/8"),  # RFC 4291, section 2.5
    )
)
LINK_LOCAL = span_of("fe80::/10")


@dataclass(frozen=True)
class NextHop:
    """Where packets to a prefix go: to a neighbour, to nowhere, or to the kernel."""

    kind: str  # "forward", "blackhole", "punt", "own"
    interface: str = ""
    mac: str = ""  # the neighbour's
    mtu: int = 0


@dataclass
class Interface:
    """An interface of the router."""

    mac: bytes
    up: bool = True


class Router:
    """Longest prefix match by trying every route."""

    def __init__(self, macs: Mapping[str, str]) -> None:
        """`macs` has the interfaces' MAC addresses by name."""
        self.interfaces = {name: Interface(octets(mac)) for name, mac in macs.items()}
        self.route({})

    def route(self, routes: Mapping[str, NextHop]) -> None:
        """Take these routes, by prefix, in place of all others."""
        found = [
            (ip_network(prefix).prefixlen, *span_of(prefix), hop) for prefix, hop in routes.items()
        ]
        found.sort(key=lambda route: -route[0])
        self._routes = found

    def process(self, packet: Packet, interface: str) -> Verdict:
        """Treat a packet that came in by an interface; one that is forwarded is rewritten."""
        verdict = self._refuse(packet, self.interfaces[interface])
        if verdict:
            return verdict
        hop = self._next_hop(packet.family, packet.dst)
        if hop is None or hop.kind in ("punt", "own"):
            return punt("local")
        if hop.kind == "blackhole":
            return drop("blackhole")
        if packet.ttl <= 1:
            return punt("ttl")
        if packet.length > hop.mtu:
            return punt("too_big")
        _send(packet, octets(hop.mac), self.interfaces[hop.interface].mac)
        return Verdict(Action.FORWARD, "forwarded", hop.interface)

    def _next_hop(self, family: int, address: int) -> NextHop | None:
        for _, version, low, high, hop in self._routes:
            if version == family and low <= address <= high:
                return hop
        return None

    def _refuse(self, packet: Packet, interface: Interface) -> Verdict | None:
        """What only the kernel may handle, or nobody."""
        group = packet.frame[0] & 1
        if packet.frame[:6] != interface.mac and not group:
            return drop("other_host")
        if not packet.family:
            return punt("control")
        if group and packet.frame[:6] != interface.mac:
            return punt("link_local")
        if not interface.up:
            return punt("local")
        if packet.options:
            return punt("options")
        if len(packet.frame) > MINIMUM and len(packet.frame) != packet.end:
            return punt("padding")
        if packet.family == 4 and internet_checksum(packet.frame[ETHERNET : ETHERNET + 20]):
            return drop("checksum")
        if any(
            version == packet.family and low <= packet.src <= high
            for version, low, high in NO_SOURCES
        ):
            return drop("source")
        back = self._next_hop(packet.family, packet.src)
        if packet.family == 4 and back is not None and back.kind == "own":
            return drop("source")
        if packet.family == 6 and LINK_LOCAL[1] <= packet.src <= LINK_LOCAL[2]:
            return punt("link_local")
        return None


def _send(packet: Packet, to: bytes, by: bytes) -> None:
    """One hop less, a right checksum, and the next link's MAC addresses."""
    packet.ttl -= 1
    header = bytearray(packet.frame[ETHERNET : packet.transport])
    if packet.family == 4:
        header[8] = packet.ttl
        header[10:12] = b"\0\0"
        header[10:12] = internet_checksum(bytes(header)).to_bytes(2, "big")
    else:
        header[7] = packet.ttl
    packet.frame = to + by + packet.frame[12:ETHERNET] + header + packet.frame[packet.transport :]


def octets(mac: str) -> bytes:
    """The bytes of a MAC address."""
    return bytes.fromhex(mac.replace(":", ""))
