"""The HTML report: well-formed, whole in itself, and with the figures of the result."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from nfv.bench.outcome import Outcome
from nfv.bench.plan import Plan, measured
from nfv.bench.report import page
from nfv.bench.result import Result, plain
from nfv.bench.svg import Axis, Series, chart
from nfv.bench.trial import Hop
from nfv.bench.words import duration
from nfv.cli.benchtables import tables
from nfv.traffic.profile import Profile
from tests.unit.test_bench_search import Device

SVG = "{http://www.w3.org/2000/svg}"


class Reader(HTMLParser):
    """What is in a page: its words, and attributes that could lead elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for key, value in attrs if key in ("src", "href")]
        if tag not in ("meta", "rect", "line", "polyline", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def result(outcomes: list[Outcome], complete: bool = True) -> Result:
    kinds = {"from_kind": "host, tc", "to_kind": "host, tc"}
    return Result(
        "<lab>", "lan", "wan", kinds, Profile(), "2030-01-01T00:00:00", 0.1, complete, outcomes
    )


def outcomes() -> list[Outcome]:
    tests = ["throughput", "latency", "frame-loss", "mrr", "ndr-pdr", "back-to-back"]
    plan = Plan(tests, seconds=0.1, repeat=1)
    return [one for size in ("64", "imix") for one in measured(plan, Device(4e6), size)]


def test_a_report_is_whole_in_itself_and_has_every_figure() -> None:
    found = outcomes()
    text = page(plain(result(found)))
    read = Reader(text)
    assert (read.open, read.links) == ([], [])
    assert not re.search(r"url\(|@import|<script", text)
    assert "<lab>: lan to wan" in read.words
    for outcome in found:
        if "pps" in outcome.figures:
            assert f"{outcome.figures['pps']:,.0f}" in read.words
    assert sum(word.startswith("All ") for word in read.words) == 1
    assert f"All {sum(len(one.trials) for one in found)} trials" in read.words


def test_charts_are_rates_losses_and_a_latency_for_each_size() -> None:
    text = page(plain(result(outcomes())))
    drawn = [ElementTree.fromstring(found) for found in re.findall("<svg.*?</svg>", text, re.S)]
    lines = [len(one.findall(f"{SVG}polyline")) for one in drawn]
    # throughput, mrr, NDR and PDR; 100, 50 and 10 % of each size; each size
    assert lines == [4, 3, 3, 2]


def test_tables_fit_a_hundred_columns_without_folding() -> None:
    parts = tables(result(outcomes())).split("\n\n")
    latency = next(part for part in parts if part.startswith("latency")).splitlines()
    assert len(latency) == 2 + 6  # title, header, three loads of two sizes
    assert max(map(len, latency)) <= 100
    assert "LIMIT" not in latency[1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 µs"), (943e-9, "943 ns"), (0.9996e-6, "1 µs"), (7.77e-6, "7.77 µs"), (2.0, "2 s")],
)
def test_times_have_three_digits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_interrupted_bench_says_so() -> None:
    read = Reader(page(plain(result([], complete=False))))
    assert "Interrupted: what is missing was not measured." in read.words


def test_drops_are_added_up_by_place_and_reason() -> None:
    trial = replace(outcomes()[0].trials[0], hops=[Hop("fw", "rule", 7), Hop("gw", "ttl", 1)])
    found = Outcome("mrr", "64", {"pps": 1.0}, [trial, trial])
    words = Reader(page(plain(result([found])))).words
    assert words[words.index("fw") : words.index("fw") + 3] == ["fw", "rule", "14"]
    assert words[words.index("gw") : words.index("gw") + 3] == ["gw", "ttl", "2"]


def points(text: str) -> list[tuple[float, float]]:
    (line,) = ElementTree.fromstring(text).findall(f"{SVG}polyline")
    return [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]  # type: ignore[misc]


@pytest.mark.parametrize("logarithmic", [False, True])
def test_points_are_where_the_axes_say(logarithmic: bool) -> None:
    x_axis = Axis("x", 1, 100, str, logarithmic)
    y_axis = Axis("y", 0, 10, str)
    places = points(chart(x_axis, y_axis, [Series("a", [(1, 0), (10, 5), (100, 10)])]))
    (left, bottom), (middle, half), (right, top) = places
    share = 0.5 if logarithmic else 9 / 99
    assert middle == pytest.approx(left + share * (right - left), abs=0.1)
    assert half == pytest.approx((bottom + top) / 2, abs=0.1)
    assert right > left
    assert top < bottom


def test_names_are_escaped() -> None:
    text = chart(Axis("<x>", 0, 1, str), Axis("&", 0, 1, str), [Series("a<b", [(0, 0)])])
    words = [element.text for element in ElementTree.fromstring(text).iter(f"{SVG}text")]
    assert {"<x>", "&", "a<b"} <= set(words)
