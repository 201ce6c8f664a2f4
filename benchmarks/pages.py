"""The documents with results: what is measured for each, and what is to be reached."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import filtering, goals, plots, report, sweeps, switching, translating
from benchmarks.extras import Extra, extras
from benchmarks.goals import Goal
from benchmarks.results import Results, as_json
from benchmarks.sweeps import Sweep

_DOCS = Path(__file__).parent.parent / "docs"
_PLOTS = _DOCS / "plots"


@dataclass(frozen=True)
class Page:
    """docs/NAME.md, with its data in docs/NAME.json."""

    name: str
    sweeps: Sequence[Sweep]
    extras: Sequence[Extra]
    goals: Sequence[Goal]

    @property
    def parts(self) -> list[str]:
        """The names of all that is measured for it."""
        return [sweep.name for sweep in self.sweeps] + [extra.name for extra in self.extras]

    def write(self, results: Results) -> None:
        """Put results into the document, its data and its pictures."""
        parts = self.parts
        own = replace(
            results,
            sweeps=self.sweeps,
            rates=[rate for rate in results.rates if rate.sweep in parts],
            figures=[figure for figure in results.figures if figure.table in parts],
            omitted={name: why for name, why in results.omitted.items() if name in parts},
        )
        text = report.as_markdown(own, self.goals, plots.draw(own, _PLOTS))
        document = _DOCS / f"{self.name}.md"
        document.write_text(report.replace_between_markers(document.read_text(), text))
        document.with_suffix(".json").write_text(as_json(own))


def pages() -> list[Page]:
    """Chains of several functions, and functions by themselves."""
    alone = (filtering.sweep(), *translating.sweeps(), *switching.sweeps())
    return [
        Page("performance", tuple(sweeps.sweeps()), extras(), goals.chains()),
        Page("performance-functions", alone, (), goals.functions()),
    ]


def missing(names: Collection[str]) -> list[str]:
    """What must be measured besides to write the documents of these: they are written whole."""
    return [
        part
        for page in pages()
        if any(part in names for part in page.parts)
        for part in page.parts
        if part not in names
    ]
