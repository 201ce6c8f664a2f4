"""Golden files: what was reviewed, to compare with what is."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfv.chain.topology import Topology, load

TOPOLOGIES = sorted((Path(__file__).parents[2] / "topologies").glob("*.yaml"))


@pytest.fixture(params=TOPOLOGIES, ids=lambda path: path.stem, scope="module")
def topology(request: pytest.FixtureRequest) -> Topology:
    return load(request.param)


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    """Whether to write golden files instead of comparing."""
    return bool(request.config.getoption("--update-golden"))
