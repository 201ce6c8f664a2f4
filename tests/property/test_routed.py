"""Chains through routers: what the programs do with a frame is what the model says."""

from __future__ import annotations

import pytest

from nfv.chain.sap import Hook
from tests.property.cases import MANY, Cases, seeds

pytestmark = pytest.mark.root

CASES = Cases(seeds(4, 5, 10, 15, 28, 30, 33), routers=lambda seed: (1, 1, 2, 3)[seed % 4])

REASONS = {
    *("forwarded", "malformed", "checksum", "rule", "rejected", "reject_limit", "invalid"),
    *("table_full", "fragment", "ethertype", "other_host", "blackhole", "source", "no_chain"),
    *("loop", "local", "ttl", "too_big", "options", "link_local", "control", "padding"),
}


@pytest.mark.parametrize("seed", CASES.seeds)
def test_chains_with_routers(seed: int) -> None:
    CASES.check(seed)


@pytest.mark.parametrize("seed", CASES.seeds if MANY else [4])
def test_the_same_at_tc(seed: int) -> None:
    CASES.check(seed, Hook.TC)


def test_a_topology_that_nobody_has_tried() -> None:
    CASES.check_any()


def test_packets_ended_in_every_way() -> None:
    CASES.check_all_met(REASONS)
