"""Test runs in place of traffic: a topology's programs on frames, with nothing applied.

Frames go through the programs one after the other, as `nfvctl trace` has them, so there are no
times, no hosts and no services: what is handed to Linux or to a service arrives nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path

from nfv.chain.path import Attachment
from nfv.chain.topology import Topology
from nfv.dataplane import statistics
from nfv.dataplane.load.farend import Frame
from nfv.dataplane.observe import tracing
from nfv.dataplane.observe.tracing import Run
from nfv.dataplane.statistics import Statistics
from nfv.dataplane.wiring import Wiring
from nfv.ebpf.observed import Moment
from nfv.ebpf.sources import verdicts
from nfv.testing.case import Replayed
from nfv.testing.sending import timed
from nfv.testing.stage import Arrived, Sent

_NAMES = {number: name for name, number in verdicts().items()}
_LEFT = frozenset({"NEXT", "FORWARD"})


class OfflineStage:
    """The programs of a topology, loaded. Counters are pinned where those of an applied one are."""

    def __init__(self, topology: Topology) -> None:
        self._trace = tracing.trace_for(topology)
        path = self._trace.tracer.path
        self.wiring: Wiring = path.wiring
        self.sent: list[Sent] = []
        self._frames: dict[str, list[Frame]] = {sap: [] for sap in topology.saps}
        self._places = {port.number: place for place, port in path.wiring.ports.items()}
        for pin, found in path.maps.items():
            pin.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            found.pin(pin)

    def replay(self, entries: Sequence[Replayed], home: Path) -> None:
        """Let the frames of all entries come in, in the order in which they are due.

        Captures are named from `home`. What had arrived before is forgotten. Raises `InputError`
        for a frame that no test run takes.
        """
        due = [
            (moment, entry.at, data)
            for entry in entries
            for moment, data in timed(self._trace.known, self.wiring, entry, home)
        ]
        self.sent = [
            Sent(sap, moment, data) for moment, sap, data in sorted(due, key=itemgetter(0))
        ]
        for arrived in self._frames.values():
            arrived.clear()
        for one in self.sent:
            found = self._trace.tracer.run(Attachment(one.sap), one.data)
            egress = self._egress(found)
            if egress is not None and egress.node in self._frames:
                self._frames[egress.node].append(Frame(one.moment, found.frame))

    def _egress(self, found: Run) -> Attachment | None:
        """Where a frame, or its answer, has left; None if it did not."""
        notes = self._trace.tracer.notes
        ends = [one for one in found.records if notes[one.number].moment is Moment.END]
        if not ends or _NAMES[ends[-1].verdict] not in _LEFT:
            return None
        return self._places[ends[-1].egress]

    def wait(
        self, enough: Callable[[Arrived], bool], seconds: float, settle: float
    ) -> dict[str, list[Frame]]:
        """What has arrived by SAP; there is nothing to wait for."""
        return {sap: list(frames) for sap, frames in self._frames.items()}

    def counted(self) -> Statistics:
        """What has been counted since the beginning."""
        return statistics.read(self._trace.known)
