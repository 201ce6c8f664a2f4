"""A module's TOPOLOGY, loaded once; every test of the module finds it without connections."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.functions.bench import Bench


@pytest.fixture(scope="package", autouse=True)
def _one_cpu() -> Iterator[None]:
    """Stay on one CPU: each has its own memory of flows, and tests ask what it remembers."""
    cpus = sorted(os.sched_getaffinity(0))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    os.sched_setaffinity(0, {cpus[worker % len(cpus)]})
    yield
    os.sched_setaffinity(0, cpus)


@pytest.fixture(scope="module")
def loaded(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with closing(Bench(request.module.TOPOLOGY)) as bench:
        yield bench


@pytest.fixture
def bench(loaded: Bench) -> Bench:
    loaded.clear()
    return loaded
