"""What the benchmarks write of their results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import cores, filtering, goals, plots, report, ways
from benchmarks.figures import Figure
from benchmarks.pages import missing, pages
from benchmarks.rates import Sample
from benchmarks.results import Results, Run, as_json
from benchmarks.runs import Result
from benchmarks.sweeps import Point, Sweep

LENGTH = Sweep(
    "length", "Chain length", "functions", "all else", (Point("1", {}, ()), Point("8", {}, ()))
)
GOALS = (*goals.chains(), *goals.functions())
TRAFFIC = "1,024 flows, uniform"


def samples(*rates: float) -> tuple[Sample, ...]:
    return tuple(Sample(1000, 1000, 1000, 1000 / rate) for rate in rates)


@pytest.fixture
def results() -> Results:
    rates = [
        Result("length", "1", ways.BARE, TRAFFIC, samples(1000, 2000, 1000)),
        Result("length", "1", ways.OURS, TRAFFIC, samples(800, 1600, 900)),
        Result("length", "8", ways.BARE, TRAFFIC, samples(1000, 1000, 1000)),
        Result(
            "length", "8", ways.OURS, TRAFFIC, (*samples(784, 784), Sample(1000, 900, 900, 1.0))
        ),
        Result("length", "8", ways.POLYCUBE, TRAFFIC, (), "too many programs"),
        Result(cores.SWEEP, "1", ways.OURS, TRAFFIC, samples(1e6, 1e6)),
        Result(cores.SWEEP, "2", ways.OURS, TRAFFIC, samples(1.9e6, 2e6)),
    ]
    rates += [
        Result(filtering.NAME, "10,000", way, filtering.UDP, samples(*found))
        for way, found in (
            (ways.BARE, (1e7, 1e7)),
            (ways.OURS, (1e6, 2e6)),
            (ways.NFTABLES, (1e4, 4e4)),
        )
    ]
    figures = [
        Figure("tcp", ways.LINUX, "one connection", "Gbit/s", (4.0, 4.0)),
        Figure("tcp", ways.OURS, "one connection", "Gbit/s", (6.0, 6.0)),
    ]
    run = Run("2030-01-31", "a machine", "6.0", "make bench", 3, 0.1, 2.0)
    return Results(run, [LENGTH], rates, figures, {"latency": "no clock"})


def test_tables_compare_with_the_bare_redirect(results: Results) -> None:
    rows = report.as_markdown(results, GOALS).splitlines()
    assert "|  | 1 functions | 8 functions |" in rows
    (ours,) = [row for row in rows if row.startswith("| ours | 0.80 (0.80-0.85) ~<br>1111111 ns")]
    assert "0.78 (0.78-" in ours
    assert "| Polycube-like |  | not run |" in rows
    assert "| ours | 1.00 | 1.95 | 1.95 (1.92-1.98) |" in rows
    assert "Packets lost, worst sample: ours (length, 8, 1,024 flows, uniform) 10.00%." in rows
    assert f"- Polycube-like: too many programs (length, 8, {TRAFFIC})" in rows
    assert "- latency: no clock" in rows


def test_goals_are_judged_by_the_median(results: Results) -> None:
    rows = report.as_markdown(results, GOALS).splitlines()
    assert "| 8 functions against 1 | 0.96 | 0.98 (0.98-0.99) | yes |" in rows
    assert "| two cores against one | 1.80 | 1.95 (1.92-1.98) | yes |" in rows
    linux = "| TCP bulk between host SAPs, of Linux with offloads | 1.00 | 1.50 (1.50-1.50) | yes |"
    assert linux in rows
    begun = "| new flows, 10k rules"
    assert f"{begun}, thousands a second | 300.00 | 1500.00 (1250.00-1750.00) ~ | yes |" in rows
    assert f"{begun}: times nftables | 20.00 | 75.00 (62.50-87.50) ~ | yes |" in rows
    assert "| the same, 32k flows uniform | 0.85 | not measured |  |" in rows


def test_json_has_every_sample(results: Results) -> None:
    data = json.loads(as_json(results))
    assert data["rates"][0]["packets_per_second"] == [1000, 2000, 1000]
    assert data["rates"][3]["loss"] == pytest.approx([0, 0, 0.1])
    assert data["rates"][4]["not_run"] == "too many programs"
    assert data["figures"][1]["values"] == [6.0, 6.0]


def test_results_take_the_place_of_former_ones() -> None:
    page = f"before\n{report.BEGIN}\nformer\n{report.END}\nafter\n"
    once = report.replace_between_markers(page, "results")
    assert "former" not in once
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert report.replace_between_markers(once, "results") == once
    with pytest.raises(ValueError, match="are not there"):
        report.replace_between_markers("no markers", "results")


def test_pictures_are_the_same_for_the_same_results(results: Results, tmp_path: Path) -> None:
    assert plots.draw(results, tmp_path) == ["length"]
    first = (tmp_path / "length.svg").read_text()
    plots.draw(results, tmp_path)
    assert (tmp_path / "length.svg").read_text() == first
    ElementTree.fromstring(first)
    assert "packet rate, bare redirect = 1" in first
    background = re.search(r'id="patch_1">.*?style="fill: (\w+|#\w+)', first, re.DOTALL)
    assert background is None or background[1] == "none"  # shows the page's own


def test_a_document_is_not_written_in_part() -> None:
    for page in pages():
        assert missing(page.parts) == []
        assert missing(page.parts[1:]) == page.parts[:1]
        results = (Path("docs") / f"{page.name}.md").read_text().partition(report.BEGIN)[2]
        assert report.END in results
