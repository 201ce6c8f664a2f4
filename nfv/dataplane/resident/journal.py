"""The log of what functions tell of their maps: JSON lines, and IPFIX to who wants it.

Lines are appended to /var/log/nfv/TOPOLOGY/FUNCTION.jsonl, which is opened for each: whoever
rotates logs may rename it at any moment.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Generator
from datetime import datetime, timezone

from nfv.chain.topology import Topology
from nfv.dataplane import state
from nfv.dataplane.resident.ipfix import Exporter
from nfv.functions.base import Row

_MODE = 0o750  # of directories: who used which port when is personal data


class Journal:
    """The logs of one topology's functions."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology.name
        self._exporters = {
            name: Exporter(function.collector, f"{topology.name}/{name}")
            for name, function in topology.vnfs.items()
            if function.collector
        }
        self._failure = ""

    def close(self) -> None:
        """Let go of sockets."""
        for exporter in self._exporters.values():
            exporter.close()

    def keep(
        self, name: str, events: Generator[Row | None, bool | None, None]
    ) -> Generator[None, None, None]:
        """Write what a function tells, and tell it of each record whether that was possible."""
        is_kept: bool | None = None
        while True:
            try:
                record = events.send(is_kept)
            except StopIteration:
                return
            is_kept = self._write(name, record) if record else None
            yield

    def _write(self, name: str, record: Row) -> bool:
        values = dict(record)
        age = values.pop("age")
        assert isinstance(age, float)
        moment = time.time() - age
        stamp = datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="milliseconds")
        line = json.dumps({"time": stamp, "topology": self._topology, "function": name, **values})
        path = state.events(self._topology, name)
        try:
            path.parent.mkdir(_MODE, parents=True, exist_ok=True)
            with path.open("a") as file:
                file.write(f"{line}\n")
        except OSError as error:
            self._complain(f"cannot write {path}: {error.strerror}")
            return False
        self._complain("")
        if name in self._exporters:
            self._exporters[name].send(values, moment)
        return True

    def _complain(self, failure: str) -> None:
        """Say once why nothing can be written."""
        if failure and failure != self._failure:
            print(f"error: {failure}; it is tried again", file=sys.stderr, flush=True)
        self._failure = failure
