"""The configuration of a router's BIRD (bird.network.cz, version 2), from the topology."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Interface

from nfv.chain import names
from nfv.chain.path import Attachment
from nfv.chain.surroundings import Surroundings
from nfv.chain.topology import Topology
from nfv.functions.router import Router, RouterInterface
from nfv.services.bird.advertise import (
    AUTONOMOUS_LENGTH,
    Advertise,
    AdvertisedPrefix,
    AdvertisedRoute,
    advertised,
)
from nfv.services.bird.dhcpflags import Served, served
from nfv.services.bird.routing import routing

_HEAD = """\
log stderr {{ info, remote, warning, error, auth, fatal, bug }};
router id {identity};
protocol device {{ }}
"""


def text(topology: Topology, name: str) -> str | None:
    """What BIRD is told of a function; None if it needs none."""
    router = topology.vnfs[name]
    if not isinstance(router, Router) or not router.has_daemon:
        return None
    around = _surroundings(topology)
    parts = [_HEAD.format(identity=_identity(router))]
    protocols = router.config.protocols
    if protocols is not None:
        addresses = {key: interface.ip for key, interface in router.interfaces.items()}
        parts.append("\n".join(routing(protocols, addresses)) + "\n")
    for key, interface in router.config.interfaces.items():
        if interface.advertise is not None:
            found = served(around, str(Attachment(name, key)))
            parts.append("\n".join(_advertising(key, interface, interface.advertise, found)))
    return "\n".join(parts)


def _surroundings(topology: Topology) -> Surroundings:
    """A topology as it looks at itself while it is checked."""
    paths = {
        chain.name: [str(chain.near), *chain.functions, str(chain.far)]
        for chain in topology.chains.values()
    }
    return Surroundings(topology.saps, topology.vnfs, paths)


def _identity(router: Router) -> str:
    """The router ID: as declared, or its first IPv4 address, or one that is nobody's."""
    if router.config.protocols is not None and router.config.protocols.router_id is not None:
        return str(router.config.protocols.router_id)
    addresses = (one for interface in router.interfaces.values() for one in interface.ip)
    own = (str(one.ip) for one in addresses if isinstance(one, IPv4Interface))
    return next(own, "192.0.0.8")  # the dummy address of RFC 7600


def _advertising(
    key: str, interface: RouterInterface, wanted: Advertise, found: list[Served]
) -> Iterator[str]:
    """The protocol radv of one interface, and a table with the routes that it tells hosts of."""
    lifetime = wanted.dns_lifetime if wanted.dns_lifetime is not None else 3 * wanted.interval
    if wanted.routes:
        yield f"ipv6 table 'told-{key}';"
        yield f"protocol static 'routes-{key}' {{"
        yield f"  ipv6 {{ table 'told-{key}'; }};"
        yield from (_route(route, wanted) for route in wanted.routes)
        yield "}"
    yield f"protocol radv 'ra-{key}' {{"
    if wanted.routes:
        yield f"  ipv6 {{ table 'told-{key}'; import none; export all; }};"
        yield "  propagate routes yes;"
    yield f'  interface "{names.interface_device(key)}" {{'
    yield f"    max ra interval {wanted.interval};"
    yield f"    default lifetime {wanted.lifetime};"
    yield f"    default preference {wanted.preference};"
    yield f"    managed {_flag(wanted.managed, any(one.managed for one in found))};"
    yield f"    other config {_flag(wanted.other, bool(found))};"
    yield f"    link mtu {wanted.mtu or interface.mtu};"
    yield f"    current hop limit {wanted.hop_limit};"
    yield f"    reachable time {wanted.reachable};"
    yield f"    retrans timer {wanted.retransmit};"
    yield from (_prefix(prefix, found) for prefix in advertised(wanted, interface.ip))
    yield "    prefix ::/0 { skip yes; };"
    for address in wanted.dns:
        yield f"    rdnss {{ ns {address}; lifetime {lifetime}; }};"
    for domain in wanted.search:
        yield f'    dnssl {{ domain "{domain}"; lifetime {lifetime}; }};'
    yield "  };"
    yield "}\n"


def _flag(said: bool | None, derived: bool) -> str:
    return "yes" if (derived if said is None else said) else "no"


def _route(route: AdvertisedRoute, wanted: Advertise) -> str:
    lifetime = wanted.lifetime if route.lifetime is None else route.lifetime
    preference = f"RA_PREF_{route.preference.upper()}"
    told = f"ra_lifetime = {lifetime}; ra_preference = {preference};"
    return f"  route {route.to} unreachable {{ {told} }};"


def _prefix(part: AdvertisedPrefix, found: list[Served]) -> str:
    given = any(network.overlaps(part.prefix) for one in found for network in one.networks)
    derived = part.prefix.prefixlen == AUTONOMOUS_LENGTH and not given
    flags = f"onlink {_flag(part.on_link, True)}; autonomous {_flag(part.autonomous, derived)};"
    times = f"valid lifetime {part.valid}; preferred lifetime {part.preferred};"
    return f"    prefix {part.prefix} {{ {flags} {times} }};"
