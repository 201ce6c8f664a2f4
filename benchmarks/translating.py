"""A NAT and Linux with nftables: mappings that there are, and mappings that are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from benchmarks import chains, ways
from benchmarks.frames import Kind, Protocol
from benchmarks.paths import MASQUERADE, SOURCE_NAT
from benchmarks.sequences import Addresses, Draw
from benchmarks.sweeps import FRESH, FRESH_SECONDS, Point, Sweep
from benchmarks.traffic import Traffic

ESTABLISHED, NEW = "nat", "mappings"

_COUNTS = (1, 1024, 32_768)
_ROOM = 1 << 20  # for all mappings that a measurement makes
_FAR = 192 << 24 | 2 << 8 | 254  # the far host's own address
_FIRST_SUBSCRIBER, _SUBSCRIBERS = 10 << 24 | 64 << 16, 1024


def sweeps() -> Iterator[Sweep]:
    """Established flows, each with a mapping of its own; and flows that make one."""
    held = "a router and a NAT with its address, a mapping for each flow"
    yield Sweep(ESTABLISHED, "NAT", "mappings", held, tuple(map(_established, _COUNTS)))
    held = (
        f"each packet makes a mapping; a router, a NAT with 256 addresses, {_SUBSCRIBERS:,} "
        "inside addresses"
    )
    yield Sweep(NEW, "New mappings", "", held, (_new(),))


def _established(count: int) -> Point:
    """One far host and one near address: flows differ in their port, and so have mappings."""
    declared = partial(chains.nat, mappings=max(1 << 16, 2 * count), flows=count)
    built = {
        ways.OURS: ways.ours(declared),
        ways.LINUX: ways.linux,
        ways.MASQUERADE: ways.nftables(0, count, MASQUERADE),
    }
    traffic = Traffic(Kind(), Draw(count), _addresses(_FAR, 1), label="established")
    return Point(f"{count:,}", built, (traffic,), count != _COUNTS[0])


def _new() -> Point:
    """Many inside addresses: one has too few ports for so many mappings."""
    built = {
        ways.OURS: ways.ours(partial(chains.nat, mappings=_ROOM, pool=True)),
        ways.LINUX: ways.linux,
        ways.SOURCE_NAT: ways.nftables(0, 1, SOURCE_NAT),
    }
    near = _addresses(_FIRST_SUBSCRIBER, _SUBSCRIBERS)
    traffics = tuple(
        Traffic(Kind(protocol, subscribers=True), FRESH, near, False, label)
        for protocol, label in ((Protocol.UDP, "UDP"), (Protocol.TCP, "TCP SYN"))
    )
    return Point("", built, traffics, True, FRESH_SECONDS)


def _addresses(first: int, count: int) -> Callable[[], Addresses]:
    return lambda: np.arange(first, first + count, dtype=np.uint32)
