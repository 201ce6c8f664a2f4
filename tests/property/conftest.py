"""Topologies here may have the functions of tests/vnfs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vnfs import installed


@pytest.fixture(autouse=True, scope="module")
def more_functions() -> Iterator[None]:
    with installed():
        yield
