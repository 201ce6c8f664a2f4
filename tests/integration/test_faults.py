"""Whatever step of a first apply fails or dies: nothing is left, or the next command mends it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.integration.helpers import snapshot
from tests.integration.helpers.faults import Site, a_site, failed_at, killed_at

pytestmark = pytest.mark.root


@pytest.fixture
def site() -> Iterator[Site]:
    with a_site() as made:
        yield made


def test_a_first_apply_that_fails_leaves_nothing(site: Site) -> None:
    before = site.snapshot()
    assert not any(name.startswith("nfv.") for name in before["namespaces"])
    for step in itertools.count(1):
        failure = failed_at(step, site.lab.apply)
        if failure is None:
            break
        assert snapshot.differences(before, site.snapshot()) == [], failure
    assert step > 40
    assert site.lab.plan().empty
    site.check_works()
    site.lab.destroy()
    assert snapshot.differences(before, site.snapshot()) == []


def test_a_first_apply_that_is_killed_can_be_repeated(site: Site) -> None:
    before = site.snapshot()
    for step in itertools.count(1):
        if not killed_at(step, site.lab.apply):
            break
        if step % 2:
            site.lab.apply()
            assert site.lab.plan().empty, f"step {step}"
            site.check_works()
        site.lab.destroy()
        assert snapshot.differences(before, site.snapshot()) == [], f"step {step}"
    assert step > 40
