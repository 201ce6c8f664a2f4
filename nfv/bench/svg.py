"""Line charts as SVG, without a library: reports are one file that any browser shows. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 150, 32, 48
_COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#8e5a9b", "#b8860b", "#2a9d8f", "#6c757d", "#d1495b")
_TICKS = 5


@dataclass(frozen=True)
class Series:
    """A line, with a mark at each point if there are few."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Axis:
    """What an axis shows, from `low` to `high`; `words` are those of a value at a tick."""

    title: str
    low: float
    high: float
    words: Callable[[float], str]
    logarithmic: bool = False
    ticks: Sequence[float] = ()  # where there are to be; otherwise they are chosen

    def share(self, value: float) -> float:
        """How far along the axis a value is, from 0 to 1."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        return min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 0.5

    def marks(self) -> Sequence[float]:
        """The values at the ticks."""
        if self.ticks:
            return self.ticks
        if not self.logarithmic:
            return [number * _step(self.high) for number in range(_TICKS * 2)]
        first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
        return [10.0**power for power in range(first, last + 1)]


def _step(high: float) -> float:
    """A round distance of ticks up to a value."""
    rough = max(high, 1e-12) / _TICKS
    unit = 10.0 ** math.floor(math.log10(rough))
    return next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)


def chart(x_axis: Axis, y_axis: Axis, series: Sequence[Series]) -> str:
    """An <svg> element."""
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg">',
        *_x_ticks(x_axis),
        *_y_ticks(y_axis),
    ]
    for number, line in enumerate(series):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [_place(x_axis, y_axis, point) for point in line.points]
        parts += _line(places, colour)
        parts += _legend(number, line.name, colour)
    return "\n".join([*parts, "</svg>"])


def _place(x_axis: Axis, y_axis: Axis, point: Point) -> Point:
    return (
        _LEFT + x_axis.share(point[0]) * (_WIDTH - _LEFT - _RIGHT),
        _HEIGHT - _BOTTOM - y_axis.share(point[1]) * (_HEIGHT - _TOP - _BOTTOM),
    )


def _line(places: Sequence[Point], colour: str) -> Iterator[str]:
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    yield f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>'
    if len(places) <= 2 * _TICKS:
        for x, y in places:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'


def _legend(number: int, name: str, colour: str) -> Iterator[str]:
    x, y = _WIDTH - _RIGHT + 16, _TOP + 12 + 18 * number
    yield f'<rect x="{x}" y="{y - 8}" width="12" height="4" fill="{colour}"/>'
    yield _text(x + 18, y, name, "start")


def _x_ticks(axis: Axis) -> Iterator[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for value in _within(axis):
        x = _LEFT + axis.share(value) * (right - _LEFT)
        yield _rule(x, _TOP, x, bottom)
        yield _text(x, bottom + 16, axis.words(value), "middle")
    yield _text((_LEFT + right) / 2, _HEIGHT - 8, axis.title, "middle")


def _y_ticks(axis: Axis) -> Iterator[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for value in _within(axis):
        y = bottom - axis.share(value) * (bottom - _TOP)
        yield _rule(_LEFT, y, right, y)
        yield _text(_LEFT - 8, y + 4, axis.words(value), "end")
    yield _text(_LEFT - 8, _TOP - 14, axis.title, "middle")


def _within(axis: Axis) -> list[float]:
    return [value for value in axis.marks() if axis.low <= value <= axis.high * 1.0001]


def _rule(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="#ddd"/>'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
