"""Which topologies are tried, how many packets each gets, and what must have happened."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from nfv.chain.sap import Hook
from tests.property.bed import Bed, draw, load

MANY = "NFV_PROPERTY_SEEDS" in os.environ
PACKETS = int(os.environ.get("NFV_PROPERTY_PACKETS", "7000"))
BATCH = 400
"""Packets between two changes."""


def seeds(*usual: int) -> list[int]:
    """The seeds to try: $NFV_PROPERTY_SEEDS, as 100-199, or the usual ones."""
    first, _, last = os.environ.get("NFV_PROPERTY_SEEDS", "").partition("-")
    return list(range(int(first), int(last or first) + 1)) if first else list(usual)


class Cases:
    """The topologies of one module."""

    def __init__(self, usual: list[int], routers: Callable[[int], int]) -> None:
        """`usual` are the seeds, besides one that is another each time."""
        self.seeds = usual
        self._routers = routers
        self._done: set[int] = set()
        self._packets = 0
        self._hits = 0
        self._reasons: set[str] = set()

    def check(self, seed: int, hook: Hook = Hook.XDP) -> None:
        """Compare program and model over the traffic of a seed, while things change."""
        spec = draw(seed, self._routers(seed))
        with closing(load(spec, hook)) as bench:
            bed = Bed(seed, spec, bench)
            while bed.packets < PACKETS:
                bed.run(min(BATCH, PACKETS - bed.packets))
                bed.check_connections()
                bed.change()
        self._done.add(seed)
        self._packets += bed.packets
        self._hits += bed.counters.hits
        self._reasons |= bed.reasons

    def check_any(self) -> None:
        """The same for a topology that nobody has tried. A failure prints the seed."""
        self.check(time.time_ns() % 1_000_000_000 + 1_000_000)

    def check_all_met(self, reasons: set[str]) -> None:
        """Packets ended for all these reasons, and the flow cache sent many of them on."""
        if not self._done.issuperset(self.seeds):
            pytest.skip("needs the tests of all seeds in one run")
        assert self._reasons >= reasons
        assert self._hits > self._packets // 30
