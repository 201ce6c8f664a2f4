"""The results as data and as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.frames import Traffic
from benchmarks.rates import Sample
from benchmarks.spread import Spread, ratio, spread

BEGIN, END = "<!-- results: written by benchmarks/run --write -->", "<!-- end of results -->"


@dataclass(frozen=True)
class Run:
    """When, where and how the results came about."""

    date: str
    machine: str
    kernel: str
    command: str
    rounds: int
    seconds: float


@dataclass(frozen=True)
class Results:
    """Samples by path and traffic, and throughputs in bits per second by way; one a round.

    All paths are compared to `base`, and `subject` to the `rivals`; all ways to the first.
    """

    run: Run
    base: str
    subject: str
    rivals: Sequence[str]
    rates: Mapping[tuple[str, Traffic], Sequence[Sample]]
    bulk: Mapping[str, Sequence[float]]

    @property
    def paths(self) -> list[str]:
        """In the order of the measurement."""
        return list(dict.fromkeys(path for path, _ in self.rates))

    @property
    def traffics(self) -> list[Traffic]:
        """In the order of the measurement."""
        return list(dict.fromkeys(traffic for _, traffic in self.rates))

    def series(self, path: str, traffic: Traffic) -> list[float]:
        """Packets per second, by round."""
        return [sample.rate for sample in self.rates[path, traffic]]

    def ratio(self, path: str, to: str, traffic: Traffic) -> Spread:
        """Packet rate of a path, that of another one being 1."""
        return ratio(self.series(path, traffic), self.series(to, traffic))


def as_json(results: Results) -> dict[str, Any]:
    """Every sample: rates in packets per second, throughputs in bits per second."""
    return {
        "run": vars(results.run),
        "rates": [
            {
                "path": path,
                "protocol": traffic.protocol.name.lower(),
                "ip": traffic.version,
                "flows": traffic.flows,
                "packets_per_second": [sample.rate for sample in samples],
                "loss": [sample.loss for sample in samples],
            }
            for (path, traffic), samples in results.rates.items()
        ],
        "bulk": [
            {"way": way, "bits_per_second": list(values)} for way, values in results.bulk.items()
        ],
    }


def as_markdown(results: Results) -> str:
    """Tables of ratios, of nanoseconds a packet, and of bulk throughput."""
    run, paths = results.run, results.paths
    return "\n\n".join(
        (
            f"{run.date}, {run.machine}, Linux {run.kernel}, `{run.command}`.",
            f"Packet rate, {results.base} = 1:",
            _matrix(results, paths, lambda path, traffic: _ratio(results, path, traffic)),
            f"Packet rate of the {results.subject}, times that of Linux:",
            _matrix(results, results.rivals, lambda path, traffic: _gain(results, path, traffic)),
            "Nanoseconds a packet, sender and sink included:",
            _matrix(results, paths, lambda path, traffic: _duration(results, path, traffic)),
            _loss(results),
            "TCP bulk throughput, one connection:",
            _bulk(results.bulk),
        )
    )


def replace_between_markers(text: str, results: str) -> str:
    """The text of a document with the results in place of what is between its markers.

    `ValueError` if it does not have both markers.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the lines {BEGIN} and {END} are not there")
    return f"{before}{BEGIN}\n\n{results}\n\n{END}{after}"


def _ratio(results: Results, path: str, traffic: Traffic) -> str:
    return _spread(results.ratio(path, results.base, traffic))


def _gain(results: Results, path: str, traffic: Traffic) -> str:
    return _spread(results.ratio(results.subject, path, traffic))


def _duration(results: Results, path: str, traffic: Traffic) -> str:
    return f"{1e9 / spread(results.series(path, traffic)).median:.0f}"


def _matrix(results: Results, paths: Sequence[str], cell: Callable[[str, Traffic], str]) -> str:
    rows = [[path, *(cell(path, traffic) for traffic in results.traffics)] for path in paths]
    return _table(["", *(traffic.name for traffic in results.traffics)], rows)


def _loss(results: Results) -> str:
    worst = {place: max(one.loss for one in samples) for place, samples in results.rates.items()}
    lossy = [
        f"{path} ({traffic.name}) {worst[path, traffic]:.2%}"
        for path, traffic in worst
        if worst[path, traffic]
    ]
    return f"Packets lost, worst sample: {'; '.join(lossy) or 'none'}."


def _bulk(bulk: Mapping[str, Sequence[float]]) -> str:
    base = next(iter(bulk.values()))
    rows = [
        [way, f"{spread(values).median / 1e9:.1f}", _spread(ratio(values, base))]
        for way, values in bulk.items()
    ]
    return _table(["", "Gbit/s", "ratio"], rows)


def _spread(value: Spread) -> str:
    return f"{value.median:.2f} ({value.low:.2f}-{value.high:.2f})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
