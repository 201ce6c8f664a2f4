"""A module's TOPOLOGY, loaded once for each hook; a module's tests find it without connections."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from nfv.chain.sap import Hook
from tests.functions.bench import Bench
from tests.functions.natting import OUTSIDE, locate, nat


@pytest.fixture(scope="package", autouse=True)
def _one_cpu() -> Iterator[None]:
    """Stay on one CPU: each has its own memory of flows, and tests ask what it remembers."""
    cpus = sorted(os.sched_getaffinity(0))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    os.sched_setaffinity(0, {cpus[worker % len(cpus)]})
    yield
    os.sched_setaffinity(0, cpus)


@pytest.fixture(scope="module", params=Hook, ids=lambda hook: hook.name)
def loaded(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with closing(Bench(request.module.TOPOLOGY, hook=request.param)) as bench:
        yield bench


@pytest.fixture
def bench(loaded: Bench) -> Bench:
    loaded.clear()
    return loaded


@pytest.fixture
def forgotten(bench: Bench) -> None:
    """No port counts as taken by what another test did."""
    memory = bench.map_of("nat", "ports").memory()
    memory[:] = bytes(len(memory))


@pytest.fixture
def other(request: pytest.FixtureRequest, bench: Bench) -> Iterator[Bench]:
    """A bench at the same hook whose NAT has the keys of the parameter."""
    with closing(Bench(nat(*request.param), hook=bench.hook)) as found:
        locate(found, masquerade=OUTSIDE)
        yield found
