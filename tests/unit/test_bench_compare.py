"""Two results compared: what counts as worse, and the exit code that says so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nfv.bench.compare import Tolerance, compare, differences
from nfv.bench.result import FORMAT
from nfv.cli.main import main
from nfv.errors import ExitCode

TOLERANCE = Tolerance(rates=0.1, times=0.5)


def document(*outcomes: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    return {"format": FORMAT, "outcomes": list(outcomes), **values}


def outcome(test: str = "mrr", size: str = "64", **figures: Any) -> dict[str, Any]:
    return {"test": test, "size": size, "load": None, "figures": figures}


def _one(figure: str, value: float) -> dict[str, Any]:
    return {figure: value}


def written(directory: Path, name: str, content: object) -> str:
    path = directory / name
    path.write_text(json.dumps(content))
    return str(path)


@pytest.mark.parametrize(
    ("figure", "old", "new", "worse"),
    [
        ("pps", 1e6, 0.9e6, False),
        ("pps", 1e6, 0.899e6, True),
        ("pps", 1e6, 2e6, False),
        ("ndr_pps", 1e6, 0.8e6, True),
        ("p99", 1e-3, 1.5e-3, False),
        ("p99", 1e-3, 1.51e-3, True),
        ("p99", 1e-3, 1e-6, False),
        ("loss", 0.0, 0.0, False),
        ("loss", 0.0, 1e-6, True),
        ("loss", 0.1, 0.05, False),
        ("burst_frames", 100, 80, True),
    ],
)
def test_a_figure_is_worse_by_its_ratio(figure: str, old: float, new: float, worse: bool) -> None:
    (found,) = compare(
        document(outcome(**_one(figure, old))), document(outcome(**_one(figure, new))), TOLERANCE
    )
    assert (found.figure, found.old, found.new, found.worse) == (figure, old, new, worse)
    assert found.ratio == (new / old if old else None)


@pytest.mark.parametrize("figure", ["most", "p999", "least", "stddev_pps", "load_pps"])
def test_rare_events_are_not_judged(figure: str) -> None:
    old, new = document(outcome(**_one(figure, 1.0))), document(outcome(**_one(figure, 100.0)))
    assert compare(old, new, TOLERANCE) == []


def test_times_at_full_load_are_not_judged() -> None:
    full, half = (outcome("latency", p99=1e-3) | {"load": load} for load in (1.0, 0.5))
    found = compare(document(full, half), document(), TOLERANCE)
    assert [(one.load, one.worse) for one in found] == [(0.5, True)]


def test_what_is_missing_is_worse() -> None:
    old = document(outcome(pps=1.0), outcome(size="128", pps=1.0))
    (_, missing) = compare(old, document(outcome(pps=1.0), outcome(test="mlr", pps=3.0)), TOLERANCE)
    assert (missing.size, missing.new, missing.worse, missing.ratio) == ("128", None, True, None)


def test_other_machines_and_profiles_are_told() -> None:
    old = document(environment={"cpu": "A", "cpus": 2}, to="wan")
    new = document(environment={"cpu": "B", "cpus": 2}, to="wan")
    assert list(differences(old, new)) == ["environment: cpu A, cpus 2 and cpu B, cpus 2"]
    assert list(differences(old, old)) == []


def test_the_exit_code_says_if_anything_is_worse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = written(tmp_path, "old.json", document(outcome(pps=1e6, bps=1e9)))
    new = written(tmp_path, "new.json", document(outcome(pps=0.95e6, bps=0.5e9)))
    assert main(["bench", "--compare", old, old]) == ExitCode.OK
    assert "no figure is worse" in capsys.readouterr().out
    assert main(["bench", "--compare", old, new]) == ExitCode.FAILED
    assert "1 of 2 figures are worse" in capsys.readouterr().out
    words = ["--tolerance", "3", "50", "--format", "json"]
    assert main(["bench", "--compare", old, new, *words]) == ExitCode.FAILED
    found = json.loads(capsys.readouterr().out)
    assert [(one["figure"], one["ratio"], one["worse"]) for one in found] == [
        ("pps", 0.95, True), ("bps", 0.5, True)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is no JSON"), ("[]", "is no result of a bench"), ("{}", "is no result of a bench")],
)
def test_other_files_are_refused(
    tmp_path: Path, content: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    assert main(["bench", "--compare", str(path), str(path)]) == ExitCode.BAD_INPUT
    assert message in capsys.readouterr().err
    assert main(["bench", "--compare", "/nowhere", str(path)]) == ExitCode.BAD_INPUT
    assert "cannot read /nowhere" in capsys.readouterr().err


def test_measuring_needs_two_saps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "branch", "lan"]) == ExitCode.BAD_INPUT
    assert "name a topology, and two of its SAPs" in capsys.readouterr().err
