"""The results as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from benchmarks import bulk, cores, costs, latency
from benchmarks.figures import Spread, spread
from benchmarks.goals import Goal
from benchmarks.results import Results
from benchmarks.runs import Result
from benchmarks.sweeps import Sweep

BEGIN, END = "<!-- results: written by benchmarks/run --write -->", "<!-- end of results -->"

_NOISE = "~"
_TABLES = {
    bulk.TABLE: "TCP bulk throughput",
    latency.TABLE: "Latency",
    costs.PROGRAMS: "Programs",
    costs.APPLY: "Applying",
}


def as_markdown(results: Results, goals: Sequence[Goal], plots: Sequence[str] = ()) -> str:
    """Tables of all that was measured; `plots` are names of sweeps that have a picture."""
    run = results.run
    parts = [
        f"{run.date}, {run.machine}, Linux {run.kernel}, `{run.command}`, {run.rounds} rounds, "
        f"{run.minutes:.0f} minutes.",
        "### Goals",
        _goals(results, goals),
    ]
    for sweep in results.sweeps:
        if results.of(sweep.name):
            parts += [f"### {sweep.title}", f"Held: {sweep.held}."]
            if sweep.name in plots:
                parts.append(f"![{sweep.title}](plots/{sweep.name}.svg)")
            parts.append(_sweep(results, sweep))
    if results.of(cores.SWEEP):
        parts += ["### Two cores", _cores(results)]
    for table, title in _TABLES.items():
        if any(figure.table == table for figure in results.figures):
            parts += [f"### {title}", _figures(results, table)]
    parts += ["### Losses and omissions", _losses(results), *_omissions(results)]
    return "\n\n".join(parts)


def replace_between_markers(text: str, results: str) -> str:
    """The text of a document with the results in place of what is between its markers.

    `ValueError` if it does not have both markers.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the lines {BEGIN} and {END} are not there")
    return f"{before}{BEGIN}\n\n{results}\n\n{END}{after}"


def _goals(results: Results, goals: Sequence[Goal]) -> str:
    rows = []
    for goal in goals:
        got = goal.got(results)
        said = "not measured" if got is None else _spread(got)
        met = "" if got is None else "yes" if got.median >= goal.least else "no"
        rows.append([goal.text, f"{goal.least:.2f}", said, met])
    return _table(["measure", "goal", "got", "met"], rows)


def _sweep(results: Results, sweep: Sweep) -> str:
    """Ways in rows, points and traffics in columns; of each the share, and nanoseconds."""
    found = results.of(sweep.name)
    points = [point.label for point in sweep.points]
    columns = sorted(
        dict.fromkeys((result.point, result.traffic) for result in found),
        key=lambda column: points.index(column[0]),
    )
    traffics = {traffic for _, traffic in columns}
    cells = {(result.way, result.point, result.traffic): result for result in found}
    head = [
        f"{point} {sweep.axis}".strip()
        if len(traffics) == 1 and point
        else f"{point} {sweep.axis}, {traffic}".strip(" ,")
        for point, traffic in columns
    ]
    rows = [
        [way, *(_rate(results, cells.get((way, *column))) for column in columns)]
        for way in dict.fromkeys(result.way for result in found)
    ]
    return _table(["", *head], rows)


def _rate(results: Results, result: Result | None) -> str:
    if result is None:
        return ""
    share = results.against(result)
    if not result.samples or share is None:
        return "not run"
    nanoseconds = 1e9 / spread([sample.rate for sample in result.samples]).median
    return f"{_spread(share)}<br>{nanoseconds:.0f} ns"


def _cores(results: Results) -> str:
    """Rates with one and with two senders, and how they compare in the same round."""
    rows = []
    for way in dict.fromkeys(result.way for result in results.of(cores.SWEEP)):
        one, two = (results.find(cores.SWEEP, point, way) for point in ("1", "2"))
        if one is None or two is None:
            rows.append([way, "not run", "", ""])
            continue
        rates = [[sample.rate / 1e6 for sample in found.samples] for found in (one, two)]
        gain = spread([both / alone for alone, both in zip(*rates, strict=True)])
        rows.append([way, *(f"{spread(each).median:.2f}" for each in rates), _spread(gain)])
    return _table(["", "one core, Mpps", "two cores, Mpps", "two against one"], rows)


def _figures(results: Results, table: str) -> str:
    found = [figure for figure in results.figures if figure.table == table]
    columns = list(dict.fromkeys((figure.column, figure.unit) for figure in found))
    cells = {(figure.row, figure.column): figure for figure in found}
    rows = []
    for row in dict.fromkeys(figure.row for figure in found):
        cell = [cells.get((row, column)) for column, _ in columns]
        rows.append([row, *(_number(spread(each.values)) if each else "" for each in cell)])
    return _table(["", *(f"{name}, {unit}" if unit else name for name, unit in columns)], rows)


def _number(value: Spread) -> str:
    if value.low == value.high:
        return f"{value.median:,.4g}" if value.median < 1000 else f"{value.median:,.0f}"
    return f"{value.median:.3g} ({value.low:.3g}-{value.high:.3g})"


def _losses(results: Results) -> str:
    worst = {
        f"{result.way} ({_place(result)})": max(sample.loss for sample in result.samples)
        for result in results.rates
        if result.samples
    }
    lossy = [f"{place} {loss:.2%}" for place, loss in worst.items() if loss > 0]
    return f"Packets lost, worst sample: {'; '.join(lossy) or 'none'}."


def _omissions(results: Results) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for result in results.rates:
        if result.refusal:
            reasons.setdefault(f"{result.way}: {result.refusal}", []).append(_place(result))
    lines = [f"- {what} ({'; '.join(places)})" for what, places in reasons.items()]
    lines += [f"- {what}: {why}" for what, why in results.omitted.items()]
    if lines:
        yield "Not run:"
        yield "\n".join(lines)


def _place(result: Result) -> str:
    return ", ".join(part for part in (result.sweep, result.point, result.traffic) if part)


def _spread(value: Spread) -> str:
    mark = f" {_NOISE}" if value.noisy else ""
    return f"{value.median:.2f} ({value.low:.2f}-{value.high:.2f}){mark}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
