"""Chains from SAP to SAP: what the programs do with a frame is what the model says."""

from __future__ import annotations

import pytest

from nfv.chain.sap import Hook
from tests.property.cases import MANY, Cases, seeds

pytestmark = pytest.mark.root

CASES = Cases(seeds(2, 4, 11, 14, 17, 30), routers=lambda seed: 0)

REASONS = {
    *("forwarded", "malformed", "rule", "rejected", "reject_limit", "invalid", "table_full"),
    *("fragment", "ethertype", "no_chain"),
}


@pytest.mark.parametrize("seed", CASES.seeds)
def test_chains_of_functions(seed: int) -> None:
    CASES.check(seed)


@pytest.mark.parametrize("seed", CASES.seeds if MANY else [17])
def test_the_same_at_tc(seed: int) -> None:
    CASES.check(seed, Hook.TC)


def test_a_topology_that_nobody_has_tried() -> None:
    CASES.check_any()


def test_packets_ended_in_every_way() -> None:
    CASES.check_all_met(REASONS)
