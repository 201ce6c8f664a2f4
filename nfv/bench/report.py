"""The result of a bench as one HTML file with charts: no script, no other file. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import accumulate
from typing import Any

from nfv.bench import words
from nfv.bench.svg import Axis, Series, chart

Document = Mapping[str, Any]
"""A result as plain data (nfv.bench.result)."""

_RATES = ("pps", "ndr_pps", "pdr_pps")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
svg { max-width: 40rem; display: block; } svg text { font-size: 11px; fill: #444; }
.note { color: #a33; }
"""


def page(document: Document) -> str:
    """The whole file."""
    title = f"{document['topology']}: {document['from']} to {document['to']}"
    body = "\n".join(_sections(document, title))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _sections(document: Document, title: str) -> Iterator[str]:
    yield f"<h1>{escape(title)}</h1>"
    if not document["complete"]:
        yield '<p class="note">Interrupted: what is missing was not measured.</p>'
    yield _facts(document)
    outcomes: Sequence[Document] = document["outcomes"]
    yield from _rates(outcomes)
    tests = dict.fromkeys(one["test"] for one in outcomes)
    for test in tests:
        found = [one for one in outcomes if one["test"] == test]
        yield f"<h2>{escape(test)}</h2>"
        if test == "frame-loss":
            yield _losses(found)
        if test == "latency":
            yield from _latencies(found)
        yield _figures(found)
    yield from _drops(outcomes)
    yield _trials(outcomes)


def _facts(document: Document) -> str:
    facts = {
        "measured": document["started"],
        "duration of a trial": f"{document['trial_seconds']:g} s",
        **document["environment"],
        **{f"profile: {key}": value for key, value in document["profile"].items() if value},
    }
    return _table(("", ""), [(key.replace("_", " "), _fact(value)) for key, value in facts.items()])


def _fact(value: object) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def _rates(outcomes: Sequence[Document]) -> Iterator[str]:
    """Rates by frame size, a line for each test that finds one (RFC 2544, section 26.1)."""
    sizes = list(dict.fromkeys(one["size"] for one in outcomes))
    lines: dict[str, list[tuple[float, float]]] = {}
    for one in outcomes:
        for key in _RATES:
            if key in one["figures"]:
                name = one["test"] if key == "pps" else key.removesuffix("_pps").upper()
                point = float(sizes.index(one["size"])), one["figures"][key]
                lines.setdefault(name, []).append(point)
    highest = max((rate for points in lines.values() for _, rate in points), default=0.0)
    if not highest:
        return
    x_axis = Axis(
        "frame size with FCS, bytes",
        0,
        max(1, len(sizes) - 1),
        lambda place: sizes[round(place)],
        ticks=range(len(sizes)),
    )
    y_axis = Axis("frames/s", 0, highest * 1.1, words.short)
    yield "<h2>Rates</h2>"
    yield chart(x_axis, y_axis, [Series(name, points) for name, points in lines.items()])


def _losses(outcomes: Sequence[Document]) -> str:
    """Loss by load, both in percent of the maximum (RFC 2544, section 26.3)."""
    series = [
        Series(
            one["size"],
            [
                (trial["offered_pps"] / one["figures"]["load_pps"] * 100, _loss(trial) * 100)
                for trial in one["trials"]
            ],
        )
        for one in outcomes
    ]
    load = Axis("load, % of the maximum", 0, 100, lambda value: f"{value:g}")
    return chart(load, Axis("loss, %", 0, 100, lambda value: f"{value:g}"), series)


def _loss(trial: Document) -> float:
    return trial["lost"] / trial["sent"] if trial["sent"] else 0.0


def _latencies(outcomes: Sequence[Document]) -> Iterator[str]:
    """For each frame size, the share of frames that took at most so long."""
    for size in dict.fromkeys(one["size"] for one in outcomes):
        series = [
            Series(f"{one['load']:.0%} load", _shares(one["trials"]))
            for one in outcomes
            if one["size"] == size
        ]
        times = [time for line in series for time, _ in line.points if time]
        if not times:
            continue
        x_axis = Axis("at most", min(times), max(times), words.duration, logarithmic=True)
        y_axis = Axis("frames, %", 0, 100, lambda value: f"{value:g}")
        yield f"<h3>{escape(size)} bytes</h3>"
        yield chart(x_axis, y_axis, series)


def _shares(trials: Sequence[Document]) -> list[tuple[float, float]]:
    counts: dict[float, int] = {}
    for trial in trials:
        for time, count in trial["latency"]["histogram"] if trial["latency"] else ():
            counts[time] = counts.get(time, 0) + count
    total = sum(counts.values())
    ordered = sorted(counts.items())
    sums = accumulate(count for _, count in ordered)
    return [(time, part / total * 100) for (time, _), part in zip(ordered, sums, strict=True)]


def _figures(outcomes: Sequence[Document]) -> str:
    keys = list(outcomes[0]["figures"])
    rows = [
        (
            one["size"],
            "" if one["load"] is None else f"{one['load']:.0%}",
            *(words.figure(key, one["figures"][key]) for key in keys if key in one["figures"]),
            words.limit(one["limit"]),
        )
        for one in outcomes
    ]
    return _table(("size", "load", *(words.TITLES[key] for key in keys), "limit"), rows)


def _drops(outcomes: Sequence[Document]) -> Iterator[str]:
    rows = [
        (one["test"], one["size"], drop["place"], drop["reason"], f"{drop['packets']:,}")
        for one in outcomes
        for drop in words.drops(one["trials"])
    ]
    if rows:
        yield "<h2>Dropped on the way</h2>"
        yield _table(("test", "size", "at", "reason", "packets"), rows)


def _trials(outcomes: Sequence[Document]) -> str:
    header = ("test", "size", "requested/s", "offered/s", "sent", "received", "lost", "unsent")
    rows = [
        (
            one["test"],
            one["size"],
            "" if trial["requested_pps"] is None else f"{trial['requested_pps']:,.0f}",
            f"{trial['offered_pps']:,.0f}",
            *(f"{trial[key]:,}" for key in header[4:]),
        )
        for one in outcomes
        for trial in one["trials"]
    ]
    return f"<details><summary>All {len(rows)} trials</summary>{_table(header, rows)}</details>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in header) if any(header) else ""
    lines = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table>\n<tr>{head}</tr>\n{body}\n</table>" if head else f"<table>\n{body}\n</table>"
