"""The result of a bench as tables."""

from __future__ import annotations

from collections.abc import Sequence

import click

from nfv.bench import words
from nfv.bench.compare import Comparison
from nfv.bench.outcome import Outcome
from nfv.bench.result import Result, outcome
from nfv.cli import output


def tables(result: Result) -> str:
    """A table for each test, and one of what was dropped on the way."""
    tests = dict.fromkeys(outcome.test for outcome in result.outcomes)
    found = [_table(test, [one for one in result.outcomes if one.test == test]) for test in tests]
    found += [_drops(result.outcomes), _remarks(result)]
    return "\n\n".join(part for part in found if part)


def _table(test: str, outcomes: Sequence[Outcome]) -> str:
    keys = list(outcomes[0].figures)
    header = ("SIZE", "LOAD", *(words.TITLES[key].upper() for key in keys), "TRIALS", "LIMIT")
    rows = [
        (
            one.size,
            "" if one.load is None else f"{one.load:.0%}",
            *(words.figure(key, one.figures[key]) if key in one.figures else "-" for key in keys),
            str(len(one.trials)),
            words.limit(one.limit.value if one.limit else None),
        )
        for one in outcomes
    ]
    filled = [index for index, column in enumerate(zip(*rows, strict=True)) if any(column)]
    rows = [tuple(row[index] for index in filled) for row in rows]
    shown = [header[index] for index in filled]
    return f"{test}\n{output.table(shown, rows, right=header[:-1])}"


def _drops(outcomes: Sequence[Outcome]) -> str:
    """Where frames were lost, and why, over all trials of each test and size."""
    header = ("TEST", "SIZE", "DROPPED AT", "REASON", "PACKETS")
    rows = [
        (one["test"], one["size"], hop["place"], hop["reason"], f"{hop['packets']:,}")
        for one in map(outcome, outcomes)
        for hop in words.drops(one["trials"])
    ]
    return output.table(header, rows, right=("SIZE", "PACKETS"))


def _remarks(result: Result) -> str:
    """What is to be known of the numbers."""
    trials = [trial for one in result.outcomes for trial in one.trials]
    remarks = []
    for what in ("duplicates", "reordered", "late"):
        count = sum(getattr(trial, what) for trial in trials)
        if count:
            remarks.append(f"{what}: {count:,} of {sum(trial.sent for trial in trials):,} frames")
    if not result.complete:
        remarks.append("interrupted: what is missing was not measured")
    return "\n".join(remarks)


def comparison(found: Sequence[Comparison]) -> str:
    """Two results side by side, and what is worse in the second."""
    header = ("TEST", "SIZE", "LOAD", "FIGURE", "OLD", "NEW", "RATIO", "VERDICT")
    rows = [
        (
            one.test,
            one.size,
            "" if one.load is None else f"{one.load:.0%}",
            words.TITLES[one.figure],
            _value(one.figure, one.old),
            _value(one.figure, one.new),
            "" if one.ratio is None else f"{one.ratio:.3f}",
            _verdict(one),
        )
        for one in found
    ]
    worse = sum(one.worse for one in found)
    summary = f"{worse} of {len(found)} figures are worse" if worse else "no figure is worse"
    return (
        f"{output.table(header, rows, right=('SIZE', 'LOAD', 'OLD', 'NEW', 'RATIO'))}\n\n{summary}"
    )


def _value(key: str, value: float | None) -> str:
    return "-" if value is None else words.figure(key, value)


def _verdict(one: Comparison) -> str:
    if one.new is None:
        return click.style("missing", fg="red")
    return click.style("worse", fg="red") if one.worse else "ok"
