"""Measures sweeps point by point: builds the ways, sends the traffic, takes all down again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks import ways
from benchmarks.live import Loader, Sink
from benchmarks.rates import Lane, Sample, attached, measure, undisturbed
from benchmarks.sweeps import Point, Sweep
from benchmarks.wired import Path
from nfv.errors import KernelError, NfvError, TopologyError

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """The samples of one way with one traffic at a point, one a round; or why there are none."""

    sweep: str
    point: str
    way: str
    traffic: str
    samples: tuple[Sample, ...]
    refusal: str = ""


@dataclass(frozen=True)
class Effort:
    """How much is measured: rounds, and the seconds of a sample."""

    rounds: int
    seconds: float
    cpu: int


def run(sweep: Sweep, quick: bool, effort: Effort, progress: Progress) -> Iterator[Result]:
    """Measure the points of a sweep, or those that are to be measured when there is little time.

    A point that cannot be measured says why, and the others follow.
    """
    for point in sweep.points:
        if quick and not point.quick:
            continue
        try:
            yield from _Measurement(sweep, point, effort, progress).results()
        except (NfvError, OSError) as error:
            why = getattr(error, "message", str(error))
            progress(f"{sweep.title}, {point.label}: not run: {why}")
            yield Result(sweep.name, point.label, "all ways", "", (), why)


class _Measurement:
    def __init__(self, sweep: Sweep, point: Point, effort: Effort, progress: Progress) -> None:
        self._sweep = sweep
        self._point = point
        self._effort = effort
        place = f", {point.label} {sweep.axis}" if point.label else ""
        self._place = f"{sweep.title}{place}"
        self._tell = progress
        self._refused: dict[tuple[str, str], str] = {}

    def _progress(self, text: str) -> None:
        self._tell(f"{self._place}: {text}")

    def results(self) -> Iterator[Result]:
        """Measure; ways that cannot be built, or do not carry the traffic, say why."""
        with ExitStack() as stack:
            loader = stack.enter_context(Loader())
            sink = Sink(loader)
            paths = dict(self._build(stack, loader, sink))
            stack.enter_context(undisturbed(self._effort.cpu))
            lanes = dict(self._lanes(loader, sink, paths))
            seconds = self._point.seconds or self._effort.seconds
            samples = measure([*lanes.values()], self._effort.rounds, seconds, self._progress)
        for (way, traffic), found in zip(lanes, samples, strict=True):
            yield self._result(way, traffic, tuple(found))
        for (way, traffic), why in self._refused.items():
            yield self._result(way, traffic, (), why)

    def _result(
        self, way: str, traffic: str, samples: tuple[Sample, ...], refusal: str = ""
    ) -> Result:
        return Result(self._sweep.name, self._point.label, way, traffic, samples, refusal)

    def _build(self, stack: ExitStack, loader: Loader, sink: Sink) -> Iterator[tuple[str, Path]]:
        """The ways that there can be here, the bare redirect first.

        The sink is attached to it at once, and so before the many programs of other ways (`Sink`).
        """
        builders = {ways.BARE: ways.bare, **self._point.ways}
        for number, (way, builder) in enumerate(builders.items()):
            self._progress(f"setting up {way}")
            try:
                path = stack.enter_context(builder(loader, f"bench-{number}"))
                stack.enter_context(attached(loader, sink, [path]))
                yield way, path
            except NfvError as error:
                for traffic in self._point.traffics:
                    self._refuse(way, traffic.name, error)

    def _lanes(
        self, loader: Loader, sink: Sink, paths: dict[str, Path]
    ) -> Iterator[tuple[tuple[str, str], Lane]]:
        for traffic in self._point.traffics:
            feed = traffic.feed(loader)
            for way, path in paths.items():
                self._progress(f"establishing {traffic.name}, {way}")
                try:
                    yield (way, traffic.name), Lane(loader, sink, path, feed)
                except KernelError as error:
                    self._refuse(way, traffic.name, error)

    def _refuse(self, way: str, traffic: str, error: NfvError) -> None:
        text = error.message
        if isinstance(error, TopologyError):
            text = "; ".join(problem.message for problem in error.problems)
        self._progress(f"not run: {way}: {text}")
        self._refused[way, traffic] = text
