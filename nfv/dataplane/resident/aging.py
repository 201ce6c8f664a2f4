"""Keeps the maps that fill by themselves in order, and logs what functions tell of them.

A pass goes through all functions in short steps, so that routes need not wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nfv.chain.topology import Topology
from nfv.dataplane import epoch
from nfv.dataplane.kernel.bpf import Map
from nfv.dataplane.kernel.jiffies import Jiffies
from nfv.dataplane.resident.journal import Journal
from nfv.ebpf.connections import Occupancy
from nfv.errors import InputError
from nfv.functions.base import Function, Row

_INTERVAL = 5.0  # seconds from the end of a pass to the next
_INTERVAL_CROWDED = 0.5  # the same when a map is nearly full
_CROWDED = 0.9  # of a map's capacity

Table = Mapping[str, Map]


class Aging:
    """The passes over the functions of one topology; call `step` when `delay` has passed."""

    def __init__(self, topology: Topology, pins: Path) -> None:
        """Open the maps of the functions, pinned in `pins`/vnf/NAME. Raises `KernelError`."""
        self._epoch = pins / "epoch"
        self._jiffies = Jiffies()
        self._functions = topology.vnfs
        self._journal = Journal(topology)
        self._maps = {name: _open(pins / "vnf" / name) for name in topology.vnfs}
        self._pass: Generator[None, None, None] | None = None
        self._due = time.monotonic()
        self.occupancy: dict[str, Mapping[str, Occupancy]] = {}

    def close(self) -> None:
        self._jiffies.close()
        self._journal.close()
        for maps in self._maps.values():
            for found in maps.values():
                found.close()

    @property
    def delay(self) -> float:
        """Seconds until there is something to do; 0 in the middle of a pass."""
        return 0.0 if self._pass else max(0.0, self._due - time.monotonic())

    def step(self) -> None:
        """Do a little of what is due."""
        if self.delay:
            return
        if self._pass is None:
            self._pass = self._run()
        try:
            next(self._pass)
        except StopIteration:
            self._pass = None
            self._due = time.monotonic() + (_INTERVAL_CROWDED if self._is_crowded else _INTERVAL)

    def tell(self, name: str, request: str, values: Mapping[str, str]) -> Sequence[Row]:
        """Have a function do something with its maps, and no flow go on as before.

        Raises `InputError`.
        """
        if name not in self._functions:
            raise InputError(f"there is no function '{name}'")
        rows = self._functions[name].tell(self._maps[name], request, values)
        epoch.advance_at(self._epoch)
        return rows

    def _run(self) -> Generator[None, None, None]:
        for name, function in self._functions.items():
            self._jiffies.refresh()
            if (yield from function.expire(self._maps[name])):
                epoch.advance_at(self._epoch)
            occupancy = yield from function.maintain(self._maps[name], self._jiffies.age)
            if occupancy:
                self.occupancy[name] = occupancy
            events = function.events(self._maps[name], self._jiffies.age)
            yield from self._journal.keep(name, events)

    @property
    def _is_crowded(self) -> bool:
        return any(
            found.used > found.capacity * _CROWDED
            for tables in self.occupancy.values()
            for found in tables.values()
        )


def entries(
    function: Function[Any], pins: Path, counted: Mapping[int, str]
) -> Iterator[dict[str, object]]:
    """What has come into the maps of a function by itself; `counted` names places of its counters.

    Raises `KernelError`.
    """
    maps, clock = _open(pins), Jiffies()
    try:
        yield from map(dict, function.entries(maps, clock.age, counted))
    finally:
        clock.close()
        for found in maps.values():
            found.close()


def _open(directory: Path) -> Table:
    """The maps pinned in a directory, by name."""
    if not directory.is_dir():
        return {}
    return {pin.name: Map.open(pin) for pin in sorted(directory.iterdir())}
