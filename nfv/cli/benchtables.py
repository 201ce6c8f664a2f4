"""The result of a bench as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import click

from nfv.bench.compare import Comparison
from nfv.bench.outcome import DURATIONS, Limit, Outcome
from nfv.bench.result import Result
from nfv.cli import output

_LIMITS = {
    Limit.LOSS: "frames are lost above",
    Limit.GENERATOR: "no more can be sent",
    Limit.ASKED: "no more was asked for",
    None: "",
}
_TITLES = {
    "pps": "FRAMES/S",
    "bps": "BITS/S",
    "ndr_pps": "NDR FRAMES/S",
    "pdr_pps": "PDR FRAMES/S",
    "stddev_pps": "STD DEV",
    "burst_frames": "BURST",
    "burst_seconds": "SECONDS",
    "load_pps": "FRAMES/S",
    "loss": "LOSS",
    "least": "MIN",
    "mean": "MEAN",
    "p50": "P50",
    "p99": "P99",
    "p999": "P99.9",
    "most": "MAX",
}


def tables(result: Result) -> str:
    """A table for each test, and one of what was dropped on the way."""
    tests = dict.fromkeys(outcome.test for outcome in result.outcomes)
    found = [_table(test, [one for one in result.outcomes if one.test == test]) for test in tests]
    found += [_drops(result.outcomes), _remarks(result)]
    return "\n\n".join(part for part in found if part)


def _table(test: str, outcomes: Sequence[Outcome]) -> str:
    keys = list(outcomes[0].figures)
    header = ("SIZE", "LOAD", *(_TITLES[key] for key in keys), "TRIALS", "LIMIT")
    rows = [
        (
            one.size,
            "" if one.load is None else f"{one.load:.0%}",
            *(figure(key, one.figures[key]) if key in one.figures else "-" for key in keys),
            str(len(one.trials)),
            _LIMITS[one.limit],
        )
        for one in outcomes
    ]
    return f"{test}\n{output.table(header, rows, right=header[:-1])}"


def figure(key: str, value: float) -> str:
    """A figure as it is shown."""
    if key == "loss":
        return f"{value:.4%}" if value else "0"
    if key == "burst_seconds":
        return f"{value:.3f}"
    if key in DURATIONS:
        return duration(value)
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """A time with three digits, in the unit that fits."""
    if seconds >= 0.9995e-3:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds * 1e6:.3g} µs"


def _drops(outcomes: Sequence[Outcome]) -> str:
    """Where frames were lost, and why, over all trials of each test and size."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for one in outcomes:
        for trial in one.trials:
            for hop in trial.hops:
                counts[one.test, one.size, hop.place, hop.reason] += hop.packets
    header = ("TEST", "SIZE", "DROPPED AT", "REASON", "PACKETS")
    rows = [(*key, f"{packets:,}") for key, packets in counts.items()]
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
            _TITLES[one.figure].lower(),
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
    return "-" if value is None else figure(key, value)


def _verdict(one: Comparison) -> str:
    if one.new is None:
        return click.style("missing", fg="red")
    return click.style("worse", fg="red") if one.worse else "ok"
