"""Random routes for the routers of a topology: most lead somewhere, some astray."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_interface, ip_network
from random import Random
from typing import Any

from tests.property.generate.rules import prefix_around
from tests.property.generate.topologies import addresses_of
from tests.property.model.router import NextHop

RESERVED = (
    "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3",
    "::/127", "fe80::/10", "ff00::/8",
)  # fmt: skip
"""Destinations that routers leave to their kernel, as nfv.dataplane.routing.rib has them."""

PUNT, OWN = NextHop("punt"), NextHop("own")
NOBODY = "02:99:99:99:99:99"


@dataclass(frozen=True)
class Station:
    """A host, or an interface of a router, on a link."""

    place: str
    mac: str
    ip: tuple[str, ...]  # as "10.0.1.1/24"

    @property
    def router(self) -> str | None:
        """The router that it belongs to."""
        node, colon, _ = self.place.partition(":")
        return node if colon else None


def stations(spec: Mapping[str, Any]) -> Iterator[Station]:
    """All that have addresses."""
    for name, config in spec["saps"].items():
        yield Station(name, config["mac"], tuple(config["ip"]))
    for name, config in spec["vnfs"].items():
        for key, interface in config.get("interfaces", {}).items():
            yield Station(f"{name}:{key}", interface["mac"], tuple(interface["ip"]))


def routes(random: Random, spec: Mapping[str, Any], router: str) -> dict[str, NextHop]:
    """All routes of one router, by prefix."""
    everyone = list(stations(spec))
    own = [station for station in everyone if station.router == router]
    hops = list(_neighbours(everyone, own))
    found = dict.fromkeys(RESERVED, PUNT)
    found.update(_ways(everyone, router, hops))
    pool = list(addresses_of(spec["saps"], spec["vnfs"]))
    for _ in range(random.choice((0, 2, 5, 12))):
        hop = _next_hop(random, [hop for hop, _ in hops])
        found[prefix_around(random, random.choice(pool))] = hop
    for text in ("0.0.0.0/0", "::/0"):
        if hops and random.random() < 0.6:
            found[text] = random.choice(hops)[0]
    found.update({_host(ip): OWN for station in own for ip in station.ip})
    return found


Hop = tuple[NextHop, Station]


def _host(ip: str) -> str:
    return str(ip_network(ip_interface(ip).ip))


def _neighbours(everyone: list[Station], own: list[Station]) -> Iterator[Hop]:
    """Who is on a link of the router."""
    for mine in own:
        link = ip_interface(mine.ip[0]).network
        for other in everyone:
            if other is not mine and ip_interface(other.ip[0]).network == link:
                interface = mine.place.partition(":")[2]
                yield NextHop("forward", interface, other.mac, 1500), other


def _ways(everyone: list[Station], router: str, hops: list[Hop]) -> Iterator[tuple[str, NextHop]]:
    """Neighbours themselves, and the links that lie behind other routers."""
    for hop, station in hops:
        for ip in station.ip:
            yield _host(ip), hop
        if station.router:
            for behind in _behind(everyone, station.router, {router}):
                for ip in behind.ip:
                    yield str(ip_network(ip, strict=False)), hop


def _behind(everyone: list[Station], router: str, passed: set[str]) -> Iterator[Station]:
    """What a router leads to."""
    own = [station for station in everyone if station.router == router]
    yield from own
    for _, station in _neighbours(everyone, own):
        if station.router and station.router not in passed | {router}:
            yield from _behind(everyone, station.router, passed | {router})


def _next_hop(random: Random, hops: list[NextHop]) -> NextHop:
    kind = random.random()
    if kind < 0.2 or not hops:
        return NextHop("blackhole")
    if kind < 0.35:
        return PUNT
    hop = random.choice(hops)
    mac = NOBODY if random.random() < 0.15 else hop.mac
    return NextHop("forward", hop.interface, mac, random.choice((1500, 1500, 1280, 600)))
