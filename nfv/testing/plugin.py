"""The pytest plugin: the fixture `nfv`, and case files collected as tests."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from nfv.testing.lab import Labs
    from nfv.testing.run import Outcome

_SUFFIX = "test.nfv.yaml"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("nfv", "test cases for service chains (nfv)")
    group.addoption(
        "--nfv-update",
        action="store_true",
        help="record what arrives in test.nfv.yaml cases as what is expected",
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A case file is collected as a test."""
    if not file_path.name.endswith(_SUFFIX):
        return None
    from nfv.testing.case import is_case

    return CaseFile.from_parent(parent, path=file_path) if is_case(file_path) else None


@pytest.fixture
def nfv(request: pytest.FixtureRequest) -> Iterator[Labs]:
    """Applies topologies in namespaces of their own, which end with the test.

    `lab = nfv.apply("branch.yaml")`, then `lab.replay(...)`, `lab.expect(...)`. Needs root.
    """
    _need_root()
    from nfv.testing.lab import Labs

    labs = Labs(request.path.parent)
    try:
        yield labs
    finally:
        labs.close()


class CaseFile(pytest.File):
    """A case file, which is one test."""

    def collect(self) -> Iterable[pytest.Item]:
        name = self.path.name.removesuffix(_SUFFIX).rstrip(".") or self.path.parent.name
        yield CaseItem.from_parent(self, name=name)


class CaseItem(pytest.Item):
    """A case as a test."""

    def runtest(self) -> None:
        _need_root()
        from nfv.testing import case, keep, run

        recording = bool(self.config.getoption("--nfv-update"))
        outcome = run.run(case.load(self.path), recording)
        if recording:
            outcome, _ = keep.record(outcome)
        kept = list(keep.actual(outcome))
        if not outcome.passed:
            raise CaseFailed(outcome, kept)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The problems; no trace of the bench's own code."""
        from nfv.chain.report import format_problem
        from nfv.errors import TopologyError

        error = excinfo.value
        if isinstance(error, TopologyError):
            return "\n".join(map(format_problem, error.problems))
        if isinstance(error, CaseFailed):
            return str(error)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


class CaseFailed(Exception):
    """A case did not go as expected."""

    def __init__(self, outcome: Outcome, kept: Iterable[Path]) -> None:
        from nfv.testing.report import details

        super().__init__("\n".join([*details(outcome), *(f"arrived: {path}" for path in kept)]))


def _need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
