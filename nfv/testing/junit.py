"""Outcomes as a JUnit file, which CI systems show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from nfv.errors import InputError
from nfv.testing.report import details
from nfv.testing.run import Outcome


def write(path: Path, outcomes: Sequence[Outcome], seconds: float) -> None:
    """Write all outcomes. Raises `InputError` if that is not possible."""
    root = Element("testsuites")
    suite = SubElement(
        root,
        "testsuite",
        name="nfvctl test",
        tests=str(len(outcomes)),
        failures=str(sum(bool(one.problems) for one in outcomes)),
        errors=str(sum(one.error is not None for one in outcomes)),
        time=f"{seconds:.3f}",
    )
    for one in outcomes:
        _case(suite, one)
    indent(root)
    try:
        ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def _case(suite: Element, outcome: Outcome) -> None:
    directory, _, name = outcome.case.name.rpartition("/")
    case = SubElement(
        suite,
        "testcase",
        classname=directory.replace("/", "."),
        name=name,
        file=str(outcome.case.path),
        time=f"{outcome.seconds:.3f}",
    )
    if outcome.error is not None:
        error = SubElement(case, "error", message=outcome.error.message)
        error.text = outcome.error.hint
    elif outcome.problems:
        failure = SubElement(case, "failure", message=outcome.problems[0].words)
        failure.text = "\n".join(details(outcome))
