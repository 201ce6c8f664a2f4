"""What the fast path is to reach, and what a run says of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import bulk, cores, filtering, ways
from benchmarks.figures import Spread, ratio, spread
from benchmarks.results import Results

Got = Callable[[Results], Spread | None]


@dataclass(frozen=True)
class Goal:
    """A measure, the least that it should be, and how it is found; None if it was not measured."""

    text: str
    least: float
    got: Got


def chains() -> Sequence[Goal]:
    """Of chains of functions; without a remark, shares of the bare redirect's rate."""
    return (
        Goal("firewall, router, NAT: 1k flows, hits", 0.97, _share("flows", "1,024")),
        Goal("the same, 32k flows uniform", 0.85, _share("flows", "32,768")),
        Goal("the same, 1M flows uniform", 0.65, _share("flows", "1,000,000", 0)),
        Goal("the same, 1M flows Zipf 1.1", 0.85, _share("flows", "1,000,000", 1)),
        Goal("8 functions against 1", 0.96, _quotient("length", "8", "1")),
        Goal("10k rules against 10, established", 0.97, _quotient("rules", "10,000", "10")),
        Goal("10 IPv4 routes, 64k active destinations", 0.9, _share("routes4", "10", 0)),
        Goal("1M IPv4 routes, 64k active destinations", 0.85, _share("routes4", "1,000,000", 0)),
        Goal("1M IPv4 routes, uniform destinations", 0.65, _share("routes4", "1,000,000", 1)),
        Goal(
            "times Linux with conntrack and masquerade",
            6.0,
            _times(ways.MASQUERADE, "overview", ""),
        ),
        Goal("two cores against one", 1.8, _cores),
        Goal("TCP bulk between host SAPs, of Linux with offloads", 1.0, _bulk),
    )


def functions() -> Sequence[Goal]:
    """Of a firewall alone; nftables has its rules in one chain, and conntrack before them."""
    few, many = ((filtering.NAME, point) for point in ("10", "10,000"))
    begun = "new flows, 10k rules"
    return (
        Goal("a firewall alone, 10k rules, established", 0.9, _share(*many)),
        Goal("the same, 10 rules: times nftables", 4.0, _times(ways.NFTABLES, *few)),
        Goal(f"{begun}, thousands a second", 300, _thousands(*many, filtering.UDP)),
        Goal(f"{begun}: times nftables", 20, _times(ways.NFTABLES, *many, filtering.UDP)),
    )


def _share(sweep: str, point: str, traffic: int = 0) -> Got:
    def got(results: Results) -> Spread | None:
        names = list(dict.fromkeys(r.traffic for r in results.of(sweep) if r.point == point))
        if traffic >= len(names):
            return None
        found = results.find(sweep, point, ways.OURS, names[traffic])
        return results.against(found) if found else None

    return got


def _quotient(sweep: str, point: str, other: str) -> Got:
    """The shares at one point against those at another, in the order of the rounds."""

    def got(results: Results) -> Spread | None:
        pair = [results.find(sweep, place, ways.OURS) for place in (point, other)]
        shares = [results.shares(found) for found in pair if found]
        return ratio(*shares) if len(shares) == 2 and all(shares) else None

    return got


def _times(way: str, sweep: str, point: str, traffic: str | None = None) -> Got:
    def got(results: Results) -> Spread | None:
        found = results.find(sweep, point, ways.OURS, traffic)
        return results.against(found, way) if found else None

    return got


def _thousands(sweep: str, point: str, traffic: str) -> Got:
    """Thousands of packets a second, which is not a share of anything."""

    def got(results: Results) -> Spread | None:
        found = results.find(sweep, point, ways.OURS, traffic)
        return spread([sample.rate / 1e3 for sample in found.samples]) if found else None

    return got


def _cores(results: Results) -> Spread | None:
    pair = [results.find(cores.SWEEP, point, ways.OURS) for point in ("2", "1")]
    rates = [[sample.rate for sample in found.samples] for found in pair if found]
    return ratio(*rates) if len(rates) == 2 else None


def _bulk(results: Results) -> Spread | None:
    pair = [results.figure(bulk.TABLE, way, bulk.COLUMN) for way in (ways.OURS, ways.LINUX)]
    values = [found.values for found in pair if found]
    return ratio(*values) if len(values) == 2 else None
