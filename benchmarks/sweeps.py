"""What is measured: sweeps, each a row of points, each point some ways and the traffic on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from benchmarks import chains, routes, ways
from benchmarks.frames import IMIX, Kind, Protocol
from benchmarks.paths import MASQUERADE
from benchmarks.routes import Table
from benchmarks.sequences import LENGTH, Addresses, Draw
from benchmarks.traffic import Traffic
from benchmarks.ways import Builder

DESTINATIONS = 1024
"""Far addresses that the flows are spread over."""

RULES, ROUTES, FLOWS = 100, 1000, 1024
"""What is held where it is not what varies."""

_ZIPF = 1.1
_ACTIVE = 65536  # destinations in use, of a route table that has more
_SKEWED = Draw(1 << 20, _ZIPF)

FRESH = Draw(LENGTH, once=True)
"""Flows each of which comes once, so that every packet begins one."""

FRESH_CONNECTIONS = 1 << 21
"""Room for all that begin in a measurement."""

FRESH_SECONDS = 0.02
"""Of a sample in which each packet takes a place in the connection tables."""


@dataclass(frozen=True)
class Point:
    """One place of a sweep: what varies has one value. The bare redirect is in every point."""

    label: str
    ways: Mapping[str, Builder]
    traffics: tuple[Traffic, ...]
    quick: bool = False  # measured also if there is little time
    seconds: float | None = None  # of a sample, if not the usual


@dataclass(frozen=True)
class Sweep:
    """Points that differ in one thing, `axis`."""

    name: str
    title: str
    axis: str
    held: str
    points: tuple[Point, ...]


def sweeps() -> Iterator[Sweep]:
    """Those of chains of several functions, in the order in which they are measured."""
    yield _overview()
    yield _lengths()
    yield _rules()
    yield _routes(4, (10, 1000, 100_000, 1_000_000))
    yield _routes(6, (10, 1000, 10_000, 200_000))
    yield _flows()
    yield _fresh()
    yield _sizes()


@cache
def tables() -> tuple[Table, ...]:
    """The routes of a chain where they are not what varies."""
    return routes.table(4, ROUTES), routes.table(6, ROUTES)


@cache
def addresses(version: int = 4) -> Addresses:
    """Where the flows lead to."""
    (table,) = (found for found in tables() if found.version == version)
    return np.unique(routes.destinations(table, 2 * DESTINATIONS))[:DESTINATIONS]


def udp(flows: int, sizes: tuple[int, ...] = (60,)) -> Traffic:
    """Established UDP over IPv4."""
    return Traffic(Kind(sizes=sizes), Draw(flows), addresses)


def routed(built: Mapping[str, Builder]) -> dict[str, Builder]:
    """The ways, their routers with the usual routes."""
    return {name: ways.with_routes(builder, tables) for name, builder in built.items()}


def stateful(
    rule_count: int, flows: int, connections: int = chains.CONNECTIONS
) -> dict[str, Builder]:
    """What has a firewall, a router and a NAT, of ours; and Linux, without and with NAT."""
    declared = partial(chains.standard, rule_count=rule_count, flows=flows, connections=connections)
    return {
        ways.OURS: ways.ours(declared),
        ways.UNCACHED: ways.variants_of(declared)[ways.UNCACHED],
        ways.NFTABLES: ways.nftables(rule_count, flows),
        ways.MASQUERADE: ways.nftables(rule_count, flows, MASQUERADE),
    }


def _overview() -> Sweep:
    declared = partial(chains.standard, rule_count=RULES)
    built = {
        ways.DROP: ways.drop,
        **ways.variants_of(declared),
        ways.FIB: ways.fib,
        ways.LINUX: ways.linux,
        **stateful(RULES, FLOWS),
    }
    traffics = (
        udp(FLOWS),
        Traffic(Kind(Protocol.TCP), Draw(FLOWS), addresses),
        Traffic(Kind(Protocol.UDP, 6), Draw(FLOWS), partial(addresses, 6)),
    )
    held = f"firewall of {RULES} rules, router of {ROUTES:,} routes, NAT, {FLOWS:,} flows"
    point = Point("", routed(built), traffics, quick=True)
    return Sweep("overview", "All ways", "", held, (point,))


def _lengths() -> Sweep:
    points = tuple(
        Point(
            str(count),
            ways.variants_of(partial(chains.firewalls, count=count, rule_count=RULES)),
            (udp(FLOWS),),
            quick=count in (1, 8),
        )
        for count in (1, 2, 4, 8, 16)
    )
    held = f"stateful firewalls in a row, {RULES} rules each, {FLOWS:,} flows"
    return Sweep("length", "Chain length", "functions", held, points)


def _rules() -> Sweep:
    def point(count: int) -> Point:
        open_ = partial(chains.standard, rule_count=count, stateless=True)
        built = {
            **stateful(count, FLOWS),
            ways.STATELESS: ways.variants_of(open_)[ways.UNCACHED],
            ways.NFT_STATELESS: ways.nft_stateless(count),
        }
        del built[ways.MASQUERADE]
        return Point(f"{count:,}", routed(built), (udp(FLOWS),), quick=count in (10, 10_000))

    held = f"firewall, router and NAT, {ROUTES:,} routes, {FLOWS:,} flows"
    points = tuple(point(count) for count in (0, 10, 100, 1000, 10_000))
    return Sweep("rules", "Firewall rules", "rules", held, points)


def _routes(version: int, counts: Sequence[int]) -> Sweep:
    def point(count: int) -> Point:
        table = cache(partial(routes.table, version, count))
        built = {
            ways.OURS: ways.ours(chains.router),
            ways.FIB: ways.fib,
            ways.LINUX: ways.linux,
        }
        kind = Kind(version=version)

        def leading(destinations: int) -> Callable[[], Addresses]:
            return lambda: routes.destinations(table(), destinations)

        traffics = (
            Traffic(kind, Draw(_ACTIVE), leading(_ACTIVE), False, "64k active destinations"),
            Traffic(kind, Draw(LENGTH, once=True), leading(LENGTH), False, "uniform destinations"),
            Traffic(kind, _SKEWED, leading(_SKEWED.flows), False, f"Zipf {_ZIPF} destinations"),
        )
        full = {
            name: ways.with_routes(builder, lambda: [table()]) for name, builder in built.items()
        }
        return Point(f"{count:,}", full, traffics, quick=count == counts[-1])

    held = "a router alone, 16 next hops"
    title = f"IPv{version} routes"
    return Sweep(f"routes{version}", title, "routes", held, tuple(point(count) for count in counts))


def _flows() -> Sweep:
    def point(count: int) -> Point:
        draws = [Draw(count)] if count == 1 else [Draw(count), Draw(count, _ZIPF)]
        mixes = tuple(Traffic(Kind(), draw, addresses, label=draw.how) for draw in draws)
        built = routed(stateful(RULES, count))
        return Point(f"{count:,}", built, mixes, quick=count > 1)

    held = f"firewall of {RULES} rules, router of {ROUTES:,} routes, NAT"
    points = tuple(point(count) for count in (1, 1024, 32_768, 1_000_000))
    return Sweep("flows", "Flows", "flows", held, points)


def _fresh() -> Sweep:
    traffic = Traffic(Kind(), FRESH, addresses, False, "new flows")
    built = stateful(RULES, 1, FRESH_CONNECTIONS)
    del built[ways.UNCACHED]
    point = Point("", routed(built), (traffic,), quick=True, seconds=FRESH_SECONDS)
    held = f"every packet begins a flow; firewall of {RULES} rules, router, NAT"
    return Sweep("fresh", "New flows", "", held, (point,))


def _sizes() -> Sweep:
    def point(label: str, sizes: tuple[int, ...]) -> Point:
        built = {**stateful(RULES, FLOWS), ways.LINUX: ways.linux}
        return Point(label, routed(built), (udp(FLOWS, sizes=sizes),))

    mixes = {"60": (60,), "512": (512,), "1,514": (1514,), "IMIX": IMIX}
    points = tuple(point(label, sizes) for label, sizes in mixes.items())
    held = f"firewall of {RULES} rules, router, NAT, {FLOWS:,} flows"
    return Sweep("sizes", "Frame sizes", "bytes", held, points)
