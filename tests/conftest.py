"""What holds for all tests."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings


def pytest_configure() -> None:
    """Let what the tests start be interrupted, also where this was started in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    settings.register_profile("loaded", deadline=None)  # no test depends on how busy a machine is
    settings.load_profile("loaded")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write what the tests in tests/golden expect"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out, and say so, what only root can do."""
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="needs root")
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(skip)
