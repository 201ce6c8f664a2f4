"""All results of a run, and looking them up. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import ways
from benchmarks.figures import Figure, Spread, ratio
from benchmarks.runs import Result
from benchmarks.sweeps import Sweep


@dataclass(frozen=True)
class Run:
    """When, where and how the results came about."""

    date: str
    machine: str
    kernel: str
    command: str
    rounds: int
    seconds: float  # of a sample
    minutes: float  # the whole run


@dataclass(frozen=True)
class Results:
    """Packet rates by sweep, other figures by table, and why parts were left out."""

    run: Run
    sweeps: Sequence[Sweep]
    rates: Sequence[Result]
    figures: Sequence[Figure]
    omitted: Mapping[str, str]

    def of(self, sweep: str) -> list[Result]:
        """The results of a sweep."""
        return [result for result in self.rates if result.sweep == sweep]

    def find(self, sweep: str, point: str, way: str, traffic: str | None = None) -> Result | None:
        """The result of a way at a point, with the first traffic unless told, if there is one."""
        for result in self.of(sweep):
            same = (result.point, result.way) == (point, way)
            if same and result.samples and traffic in (None, result.traffic):
                return result
        return None

    def against(self, result: Result, way: str = ways.BARE) -> Spread | None:
        """The packet rate of a result, that of another way at the same point being 1."""
        shares = self.shares(result, way)
        return ratio(shares, [1.0] * len(shares)) if shares else None

    def shares(self, result: Result, way: str = ways.BARE) -> list[float]:
        """The same, round by round."""
        base = self.find(result.sweep, result.point, way, result.traffic)
        if base is None or not result.samples:
            return []
        return [
            own.rate / other.rate for own, other in zip(result.samples, base.samples, strict=True)
        ]

    def figure(self, table: str, row: str, column: str) -> Figure | None:
        """One cell of a table."""
        for found in self.figures:
            if (found.table, found.row, found.column) == (table, row, column):
                return found
        return None


def as_json(results: Results) -> str:
    """Every sample, a result a line: rates in packets per second, figures in their units."""
    rates = [
        {
            "sweep": result.sweep,
            "point": result.point,
            "way": result.way,
            "traffic": result.traffic,
            "packets_per_second": [round(sample.rate) for sample in result.samples],
            "loss": [round(sample.loss, 6) for sample in result.samples],
            **({"not_run": result.refusal} if result.refusal else {}),
        }
        for result in results.rates
    ]
    figures = [asdict(figure) for figure in results.figures]
    return (
        f'{{"run": {json.dumps(asdict(results.run))},\n'
        f'"rates": {_lines(rates)},\n'
        f'"figures": {_lines(figures)},\n'
        f'"not_run": {json.dumps(dict(results.omitted))}}}\n'
    )


def _lines(items: Sequence[Mapping[str, Any]]) -> str:
    return "[\n" + ",\n".join(map(json.dumps, items)) + "\n]"
