"""A switch and a Linux bridge: many stations, many ports, and frames that are flooded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from benchmarks import chains, ways
from benchmarks.frames import Kind
from benchmarks.sequences import Addresses, Draw
from benchmarks.sweeps import Point, Sweep
from benchmarks.traffic import Traffic

STATIONS, PORTS = "stations", "ports"
KNOWN, FLOODED = "known stations", "flooded"

_KNOWN_FROM, _UNKNOWN_FROM = 10 << 24, 11 << 24  # addresses, with which MAC addresses end
_FEW_STATIONS, _FEW_PORTS = 1000, 8
_STATIONS = (_FEW_STATIONS, 10_000, 100_000)
_PORTS = (2, _FEW_PORTS, 32, 64)
_KIND = Kind(stations=True)


def sweeps() -> Iterator[Sweep]:
    """By stations that are known, and by ports that they are behind."""
    counts = tuple(_by_stations(count) for count in _STATIONS)
    held = f"{_FEW_PORTS} ports; each frame is for another station, drawn uniformly"
    yield Sweep(STATIONS, "Stations of a switch", "stations", held, counts)
    held = f"{_FEW_STATIONS:,} stations; each copy of a flooded frame counts as a packet"
    yield Sweep(PORTS, "Ports of a switch", "ports", held, tuple(map(_by_ports, _PORTS)))


def _by_stations(count: int) -> Point:
    return Point(f"{count:,}", _built(_FEW_PORTS), (_known(count),), count != _STATIONS[1])


def _by_ports(count: int) -> Point:
    traffics = (_known(_FEW_STATIONS), _flooded())
    quick = count in (_PORTS[0], _PORTS[-1])
    return Point(str(count), _built(count), traffics, quick)


def _built(ports: int) -> dict[str, ways.Builder]:
    declared = partial(chains.switch, ports=ports, stations=2 * _STATIONS[-1])
    built = {ways.OURS: ways.ours(declared), ways.BRIDGE: ways.bridge(ports)}
    return {name: ways.silent(builder) for name, builder in built.items()}


def _known(count: int) -> Traffic:
    """Frames for stations that have been heard, as many behind each port."""
    return Traffic(_KIND, Draw(count), _stations(_KNOWN_FROM, count), label=KNOWN)


def _flooded() -> Traffic:
    """Frames for stations that were never heard."""
    unknown = _stations(_UNKNOWN_FROM, _FEW_STATIONS)
    return Traffic(_KIND, Draw(_FEW_STATIONS), unknown, False, FLOODED, copied=True)


def _stations(first: int, count: int) -> Callable[[], Addresses]:
    return lambda: np.arange(first, first + count, dtype=np.uint32)
