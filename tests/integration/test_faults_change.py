"""Whatever step of a change fails or dies: what was before runs on, or the next apply mends it."""

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


def test_a_change_that_fails_changes_nothing(site: Site) -> None:
    site.lab.apply()
    site.check_works()
    old = site.lab.text
    before = site.snapshot()
    site.change()
    new = site.lab.text
    for step in itertools.count(1):
        site.lab.text = new
        failure = failed_at(step, site.lab.apply)
        if failure is None:
            break
        assert snapshot.differences(before, site.snapshot()) == [], failure
        site.lab.text = old
        assert site.lab.plan().empty
        assert not site.rejects()
    assert step > 40
    assert site.lab.plan().empty
    assert site.rejects()
    site.check_works()


def test_a_change_that_is_killed_can_be_repeated_or_taken_back(site: Site) -> None:
    """Killed on the way from either text to the other, then on with that or back."""
    site.lab.apply()
    site.check_works()
    old = site.lab.text
    site.change()
    new = site.lab.text
    present = old
    steps = {old: itertools.count(1), new: itertools.count(1)}  # by what they lead away from
    names: dict[str, object] = {}
    ended: dict[str, int] = {}
    while len(ended) < len(steps):
        step = next(steps[present])
        site.lab.text = new if present == old else old
        if not killed_at(step, site.lab.apply):
            ended[present] = step
        elif step % 2:
            site.lab.text = present
        site.lab.apply()
        present = site.lab.text
        assert site.lab.plan().empty, f"step {step}"
        assert site.rejects() == (present == new), f"step {step}"
        site.check_works()
        found = _names(site.snapshot())
        assert names.setdefault(present, found) == found, f"step {step}"
    assert min(ended.values()) > 20


def _names(found: snapshot.Snapshot) -> object:
    """Which objects there are, without their numbers."""
    devices = {
        name: sorted(link["ifname"] for link in space["link show"])
        for name, space in found["namespaces"].items()
    }
    pins, files = sorted(found["pins"]), sorted(found["files"])
    return devices, sorted(link["ifname"] for link in found["devices"]), pins, files
