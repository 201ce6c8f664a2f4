"""Chains from SAP to SAP: what the programs do with a frame is what the model says."""

from __future__ import annotations

import pytest

from tests.property.cases import Cases, seeds

pytestmark = pytest.mark.root

CASES = Cases(seeds(2, 4, 9, 14, 17, 22), routers=lambda seed: 0)

REASONS = {
    *("forwarded", "malformed", "rule", "rejected", "reject_limit", "invalid", "table_full"),
    *("fragment", "ethertype", "no_chain"),
}


@pytest.mark.parametrize("seed", CASES.seeds)
def test_chains_of_functions(seed: int) -> None:
    CASES.check(seed)


def test_a_topology_that_nobody_has_tried() -> None:
    CASES.check_any()


def test_packets_ended_in_every_way() -> None:
    CASES.check_all_met(REASONS)
