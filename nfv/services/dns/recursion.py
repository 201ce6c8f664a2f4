"""What a function's configuration says of names that are not its own."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from ipaddress import ip_network

import dns.name
import dns.rdata

from nfv.chain.fields import Network
from nfv.chain.topology import Topology
from nfv.functions.dns import Dns
from nfv.services.dns.cache import Cache
from nfv.services.dns.channel import trust
from nfv.services.dns.config import ForwardConfig
from nfv.services.dns.connection import MakeSocket, Server
from nfv.services.dns.forwarder import Forwarder, Rule
from nfv.services.dns.harvest import Bounds
from nfv.services.dns.responder import Recursion
from nfv.services.dns.upstream import Upstream
from nfv.services.dns.zone import Zone

_TTL = 10_800  # seconds, as RFC 6303 has it

_LOCAL = (
    # RFC 6303, sections 4.1 to 4.6; documentation prefixes may be a lab's own.
    *("10.in-addr.arpa", *(f"{n}.172.in-addr.arpa" for n in range(16, 32))),
    *("168.192.in-addr.arpa", "0.in-addr.arpa", "127.in-addr.arpa", "254.169.in-addr.arpa"),
    *("255.255.255.255.in-addr.arpa", "d.f.ip6.arpa"),
    *(f"{n}.e.f.ip6.arpa" for n in "89ab"),
    *(f"{n}.{'0.' * 31}ip6.arpa" for n in "01"),
    *(f"{n}.100.in-addr.arpa" for n in range(64, 128)),  # RFC 7793: shared address space
    # RFC 6761, sections 6.4 and 6.3; RFC 7686; RFC 8375, section 4.
    *("invalid", "localhost", "onion", "home.arpa"),
)


def recursion(topology: Topology, function: Dns, make: MakeSocket) -> Recursion | None:
    """Who resolves other names, if somebody does; `make` makes sockets to ask with."""
    forward = function.config.forward
    if forward is None:
        return None
    servers = [*forward.to, *(one for servers in forward.domains.values() for one in servers)]
    by_tls = any(Server.parse(server).name for server in servers)
    context = trust(function.certificates) if by_tls else None
    forwarder = Forwarder(
        _rules(forward, make, context),
        Cache(forward.entries, forward.stale),
        Bounds(forward.max_ttl, forward.max_negative_ttl),
    )
    return Recursion(forwarder, clients(topology, function))


def clients(topology: Topology, function: Dns) -> Sequence[Network]:
    """Who may ask about any name."""
    forward = function.config.forward
    return (forward.clients if forward else ()) or _subnets(topology)


def local_zones(function: Dns) -> Iterator[Zone]:
    """Zones that nobody else may be asked about, but for those that are forwarded by name."""
    forward = function.config.forward
    if forward is None:
        return
    asked = [dns.name.from_text(name) for name in forward.domains]
    for text in _LOCAL:
        origin = dns.name.from_text(text)
        if not any(origin.is_subdomain(name) or name.is_subdomain(origin) for name in asked):
            yield _empty(origin)


def _rules(
    forward: ForwardConfig, make: MakeSocket, context: ssl.SSLContext | None
) -> dict[dns.name.Name, Rule]:
    rules = {
        dns.name.from_text(name): Rule(_upstreams(servers, make, context), True)
        for name, servers in forward.domains.items()
    }
    if forward.to:
        rules[dns.name.root] = Rule(
            _upstreams(forward.to, make, context), not forward.filter_private
        )
    return rules


def _upstreams(
    servers: Sequence[str], make: MakeSocket, context: ssl.SSLContext | None
) -> list[Upstream]:
    return [Upstream(Server.parse(server), make, context) for server in servers]


def _subnets(topology: Topology) -> list[Network]:
    """Every subnet that the topology declares."""
    addresses = [address for sap in topology.saps.values() for address in sap.addresses]
    for function in topology.vnfs.values():
        addresses += function.addresses
        addresses += [one for interface in function.interfaces.values() for one in interface.ip]
    return [ip_network(address.network) for address in addresses]


def _empty(origin: dns.name.Name) -> Zone:
    """A zone without names (RFC 6303, section 3); localhost has its addresses (RFC 6761)."""
    texts = [("SOA", f"@ nobody.invalid. 1 3600 1200 604800 {_TTL}"), ("NS", "@")]
    if origin == dns.name.from_text("localhost"):
        texts += [("A", "127.0.0.1"), ("AAAA", "::1")]
    return Zone(
        origin,
        (
            (origin, _TTL, dns.rdata.from_text("IN", rdtype, text, origin=origin, relativize=False))
            for rdtype, text in texts
        ),
    )
