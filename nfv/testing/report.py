"""Outcomes in words and as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from nfv.chain.report import format_problem
from nfv.errors import TopologyError
from nfv.testing.run import Outcome, Problem


def lines(problems: Iterable[Problem]) -> Iterator[str]:
    """Problems, each with its details."""
    for problem in problems:
        yield problem.words
        yield from (f"    {line}" for line in problem.lines)


def details(outcome: Outcome) -> Iterator[str]:
    """What is wrong, in lines."""
    yield from lines(outcome.problems)
    error = outcome.error
    if isinstance(error, TopologyError):
        for found in error.problems:
            yield from format_problem(found).splitlines()
    if error is not None:
        yield error.message
        yield from (f"    {line}" for line in (error.hint or "").splitlines())


def summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    """How many went how."""
    failed = sum(not one.passed for one in outcomes)
    return f"{len(outcomes) - failed} passed, {failed} failed in {seconds:.1f} s"


def plain(outcome: Outcome) -> dict[str, object]:
    """An outcome as data."""
    return {
        "case": outcome.case.name,
        "file": str(outcome.case.path),
        "title": outcome.case.config.title,
        "passed": outcome.passed,
        "seconds": outcome.seconds,
        "problems": [
            {"message": one.words, "details": list(one.lines)} for one in outcome.problems
        ],
        "error": outcome.error and outcome.error.message,
    }
