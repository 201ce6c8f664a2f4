"""Route tables as long as wanted, their destinations, and putting them into a router.

Prefix lengths are spread about as in a full BGP table (three of five IPv4 routes are /24, half of
the IPv6 ones /48; bgp.potaroo.net), next hops evenly.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.sequences import Addresses
from benchmarks.wired import NEXT_HOPS, next_hop, run

_SEED = 2

_SHARES = {
    4: {24: 60, 23: 10, 22: 12, 21: 5, 20: 5, 19: 3, 18: 2, 17: 1, 16: 2},
    6: {48: 50, 44: 8, 40: 12, 36: 4, 32: 16, 46: 5, 42: 5},
}
"""Per cent of the routes with each prefix length, by IP version."""

_WIDTH = {4: 32, 6: 64}  # bits that a prefix may have, of IPv6 the upper half
_SPACES = {4: ["16.0.0.0/4", "32.0.0.0/3", "64.0.0.0/3", "128.0.0.0/3"], 6: ["2400::/6"]}
"""Where the prefixes are: none of them holds an address that the benchmarks use otherwise."""


@dataclass(frozen=True)
class Table:
    """Routes of one IP version: prefixes, as numbers of the version's width, and their lengths."""

    version: int
    prefixes: Addresses
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.prefixes)


def table(version: int, count: int) -> Table:
    """So many different routes, always the same ones."""
    random = np.random.default_rng(_SEED)
    width = _WIDTH[version]
    lengths = np.array(list(_SHARES[version]))
    shares = np.array(list(_SHARES[version].values())) / 100
    found: NDArray[np.uint64] = np.empty(0, np.uint64)
    while len(found) < count:
        chosen = random.choice(lengths, size=count, p=shares).astype(np.uint64)
        prefixes = _addresses(random, version, count)
        shift = np.uint64(width) - chosen
        fresh = (prefixes >> shift) << shift
        packed = fresh | chosen if version == 6 else fresh << np.uint64(8) | chosen
        found = np.concatenate([found, packed])
        _, first = np.unique(found, return_index=True)
        found = found[np.sort(first)]
    found = found[:count]
    mask = np.uint64(0x3F)
    prefixes = (found >> np.uint64(8)) if version == 4 else found & ~mask
    return Table(version, prefixes, (found & mask).astype(np.int64))


def destinations(routes: Table, count: int, active: int | None = None) -> Addresses:
    """Addresses that random routes lead to; at most `active` different ones."""
    random = np.random.default_rng(_SEED)
    chosen = random.integers(len(routes), size=active or count)
    host_bits = (_WIDTH[routes.version] - routes.lengths[chosen]).astype(np.uint64)
    noise = random.integers(1 << 62, size=len(chosen), dtype=np.uint64)
    found = routes.prefixes[chosen] | noise % (np.uint64(1) << host_bits)
    return found if active is None else np.resize(found, count)


def install(namespace: str, routes: Table) -> None:
    """Add the routes to a namespace's main table."""
    run(namespace, "ip", f"-{routes.version}", "-batch", "-", text="\n".join(_lines(routes)))


def _lines(routes: Table) -> list[str]:
    hops = [next_hop(routes.version, number) for number in range(NEXT_HOPS)]
    return [
        f"route add {prefix} via {hops[number % NEXT_HOPS]}"
        for number, prefix in enumerate(_texts(routes))
    ]


def _texts(routes: Table) -> list[str]:
    """The prefixes as they are written."""
    pairs = zip(routes.prefixes.tolist(), routes.lengths.tolist(), strict=True)
    if routes.version == 4:
        return [
            f"{key >> 24}.{key >> 16 & 255}.{key >> 8 & 255}.{key & 255}/{length}"
            for key, length in pairs
        ]
    return [f"{ipaddress.IPv6Address(key << 64)}/{length}" for key, length in pairs]


def _addresses(random: np.random.Generator, version: int, count: int) -> NDArray[np.uint64]:
    """Random addresses of the version's spaces."""
    spaces = [ipaddress.ip_network(text) for text in _SPACES[version]]
    drop = np.uint64(0 if version == 4 else 64)
    first = np.array([int(space.network_address) >> int(drop) for space in spaces], np.uint64)
    sizes = np.array([space.num_addresses >> int(drop) for space in spaces], np.uint64)
    chosen = random.choice(len(spaces), size=count, p=sizes / sizes.sum())
    noise = random.integers(1 << 62, size=count, dtype=np.uint64)
    found: NDArray[np.uint64] = first[chosen] + noise % sizes[chosen]
    return found
