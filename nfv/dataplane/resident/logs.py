"""What programs tell of packets, as lines of JSON in a file for each function that has a log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from nfv.dataplane import state
from nfv.dataplane.journal import Journal
from nfv.dataplane.kernel.bpf import Map
from nfv.dataplane.kernel.ring import Ring
from nfv.functions.base import Function

MAP = "log"
"""The ring buffer of a function that has a log."""

FILE = "log.jsonl"


class Log:
    """The log of one function."""

    def __init__(
        self, topology: str, function: Function[Any], pin: Path, counters: Mapping[str, int]
    ) -> None:
        """`counters` are the places where the function counts. Raises `KernelError`."""
        self._function = function
        self._names = {place: name for name, place in counters.items()}
        self._map = Map.open(pin)
        self._ring = Ring(self._map)
        directory = state.data(topology) / function.name
        directory.mkdir(parents=True, exist_ok=True)
        self._journal = Journal(directory / FILE)

    def fileno(self) -> int:
        """For select: there is something to read."""
        return self._ring.fileno()

    def read(self) -> None:
        """Write lines about what programs have told."""
        moment = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        for entry in self._ring.read():
            self._journal.write({"time": moment, **self._function.described(entry, self._names)})

    def close(self) -> None:
        self._ring.close()
        self._map.close()
        self._journal.close()


def logs(topology: str, functions: Mapping[str, Function[Any]]) -> dict[str, Log]:
    """The logs of those functions of an applied topology that have one."""
    applied = state.load(topology)
    pins = {name: state.pins(topology) / "vnf" / name / MAP for name in functions}
    return {
        name: Log(topology, function, pins[name], applied.counters[name])
        for name, function in functions.items()
        if applied and pins[name].exists()
    }
