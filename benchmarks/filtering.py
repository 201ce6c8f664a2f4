"""A firewall alone and nftables with the same rules: established flows, and flows that begin."""

from __future__ import annotations

from functools import partial

from benchmarks import chains, ways
from benchmarks.frames import Kind, Protocol
from benchmarks.sequences import Draw
from benchmarks.sweeps import (
    FLOWS,
    FRESH,
    FRESH_CONNECTIONS,
    FRESH_SECONDS,
    Point,
    Sweep,
    addresses,
    routed,
)
from benchmarks.traffic import Traffic

NAME = "setups"
ESTABLISHED, UDP, SYN = "established", "new, UDP", "new, TCP SYN"

_COUNTS = (10, 100, 1000, 10_000)


def sweep() -> Sweep:
    """Rules looked at by packets of known flows, and by the first ones of flows."""
    held = f"a firewall alone, {FLOWS:,} established flows; of new ones every packet begins one"
    points = tuple(_point(count) for count in _COUNTS)
    return Sweep(NAME, "Flow set-ups by rules", "rules", held, points)


def _point(count: int) -> Point:
    declared = partial(chains.firewall, rule_count=count, connections=FRESH_CONNECTIONS)
    built = {
        ways.OURS: ways.ours(declared),
        ways.OPEN: ways.ours(partial(declared, stateless=True)),
        ways.LINUX: ways.linux,
        ways.NFTABLES: ways.nftables(count, FLOWS),
        ways.NFT_STATELESS: ways.nft_stateless(count),
    }
    traffics = (
        Traffic(Kind(), Draw(FLOWS), addresses, label=ESTABLISHED),
        Traffic(Kind(), FRESH, addresses, False, UDP),
        Traffic(Kind(Protocol.TCP), FRESH, addresses, False, SYN),
    )
    quick = count in (_COUNTS[0], _COUNTS[-1])
    return Point(f"{count:,}", routed(built), traffics, quick, FRESH_SECONDS)
