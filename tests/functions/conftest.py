"""A module's TOPOLOGY, loaded once; every test of the module finds it without connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.functions.bench import Bench


@pytest.fixture(scope="module")
def loaded(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with closing(Bench(request.module.TOPOLOGY)) as bench:
        yield bench


@pytest.fixture
def bench(loaded: Bench) -> Bench:
    loaded.clear()
    return loaded
