"""Two results compared, figure by figure, by ratio."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfv.bench.outcome import DURATIONS, FIGURES, Better
from nfv.bench.result import FORMAT
from nfv.errors import InputError

Document = Mapping[str, Any]
Key = tuple[str, str, float | None]
"""Test, frame size, and the share of the throughput that is offered."""

_SAME = ("from", "to", "trial_seconds", "environment", "profile")


@dataclass(frozen=True)
class Tolerance:
    """By which share a figure may be worse: rates and losses, and times of frames."""

    rates: float
    times: float


@dataclass(frozen=True)
class Comparison:
    """One figure in both results; None where one lacks it."""

    test: str
    size: str
    load: float | None
    figure: str
    old: float | None
    new: float | None
    worse: bool

    @property
    def ratio(self) -> float | None:
        """The new value by the old one."""
        return self.new / self.old if self.old and self.new is not None else None


def read(path: Path) -> Document:
    """A result in JSON. Raises `InputError` if the file is none."""
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InputError(
            f"{path} is no result of a bench", "make one: nfvctl bench ... --format json > FILE"
        )
    return found


def compare(old: Document, new: Document, tolerance: Tolerance) -> list[Comparison]:
    """Every figure that is judged; what the new result lacks is worse."""
    before, after = _figures(old), _figures(new)
    return [
        Comparison(
            *key,
            name,
            value,
            after.get((key, name)),
            _is_worse(name, value, after.get((key, name)), tolerance),
        )
        for (key, name), value in before.items()
        if FIGURES[name] is not Better.NEITHER and not _is_at_limit(key, name)
    ]


def differences(old: Document, new: Document) -> Iterator[str]:
    """What makes the two hard to compare."""
    for key in _SAME:
        if old.get(key) != new.get(key):
            yield f"{key.replace('_', ' ')}: {_words(old.get(key))} and {_words(new.get(key))}"


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {one}" for key, one in value.items())
    return str(value)


def _figures(document: Document) -> dict[tuple[Key, str], float]:
    return {
        ((one["test"], one["size"], one["load"]), name): value
        for one in document["outcomes"]
        for name, value in one["figures"].items()
        if name in FIGURES
    }


def _is_at_limit(key: Key, name: str) -> bool:
    """Whether a time is one at full load, which says how near the limit was and little else."""
    return name in DURATIONS and key[2] == 1.0


def _is_worse(name: str, old: float, new: float | None, tolerance: Tolerance) -> bool:
    if new is None:
        return True
    allowed = tolerance.times if name in DURATIONS else tolerance.rates
    if FIGURES[name] is Better.HIGHER:
        return new < old * (1 - allowed)
    return new > old * (1 + allowed)
