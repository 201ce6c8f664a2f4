"""Chains through routers: what the programs do with a frame is what the model says."""

from __future__ import annotations

import pytest

from tests.property.cases import Cases, seeds

pytestmark = pytest.mark.root

CASES = Cases(seeds(2, 4, 5, 6, 8, 15), routers=lambda seed: (1, 1, 2, 3)[seed % 4])

REASONS = {
    *("forwarded", "malformed", "checksum", "rule", "rejected", "reject_limit", "invalid"),
    *("table_full", "fragment", "ethertype", "other_host", "blackhole", "source", "no_chain"),
    *("loop", "local", "ttl", "too_big", "options", "link_local", "control", "padding"),
}


@pytest.mark.parametrize("seed", CASES.seeds)
def test_chains_with_routers(seed: int) -> None:
    CASES.check(seed)


def test_a_topology_that_nobody_has_tried() -> None:
    CASES.check_any()


def test_packets_ended_in_every_way() -> None:
    CASES.check_all_met(REASONS)
