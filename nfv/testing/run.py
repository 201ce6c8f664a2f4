"""One case from its beginning to its outcome."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nfv.dataplane.isolation import Place
from nfv.dataplane.load.farend import Frame
from nfv.errors import InputError, NfvError
from nfv.testing import counting, fields, latency, sending
from nfv.testing.case import Case, Expected
from nfv.testing.compare import Kind, compare
from nfv.testing.fields import FieldName
from nfv.testing.neighbours import is_background
from nfv.testing.offline import OfflineStage
from nfv.testing.stage import Arrived, Sent, Stage
from nfv.traffic import capture, link
from nfv.traffic.link import Macs
from nfv.traffic.pace import NANOSECONDS

_MOST_SHOWN = 10  # differences of a SAP
_MACS = (FieldName("Ether", "dst"), FieldName("Ether", "src"))
_UNKNOWN = Macs(bytes(6), bytes(6))


Bench = Stage | OfflineStage
"""What a case is run on."""


@dataclass(frozen=True)
class Problem:
    """What is not as expected: in a line, and further ones with the details."""

    words: str
    lines: tuple[str, ...] = ()
    sap: str | None = None  # where frames are not as expected


@dataclass(frozen=True)
class Arrival:
    """What arrived at a SAP where something else was expected."""

    entry: Expected
    frames: Sequence[tuple[int, bytes]] = field(repr=False)  # times from the first frame sent


@dataclass(frozen=True)
class Outcome:
    """How a case went."""

    case: Case
    seconds: float
    problems: tuple[Problem, ...] = ()
    arrivals: tuple[Arrival, ...] = ()
    error: NfvError | None = None  # it could not be run

    @property
    def passed(self) -> bool:
        return not self.problems and self.error is None


def run(case: Case, recording: bool = False) -> Outcome:
    """Run a case in namespaces of its own, which end with it.

    To record what arrives, all is waited for that may come, as it is not known how much that is.
    """
    begun = time.monotonic()
    try:
        with Place(lambda: _staged(case)) as place:
            problems, arrivals = place.call(_run, case, recording)
    except NfvError as error:
        return Outcome(case, time.monotonic() - begun, error=error)
    return Outcome(case, time.monotonic() - begun, tuple(problems), tuple(arrivals))


@dataclass(frozen=True)
class _Wanted:
    """An expectation with the frames that it stands for."""

    entry: Expected
    frames: Sequence[bytes]
    ignored: Sequence[FieldName]

    def relevant(self, arrived: Sequence[Frame]) -> list[Frame]:
        """The frames that count: what Linux sends by itself only if the case says so."""
        if self.entry.neighbours:
            return list(arrived)
        return [frame for frame in arrived if not is_background(frame.data)]


def _staged(case: Case) -> Bench:
    if case.config.mode == "offline":
        return OfflineStage(case.topology)
    return Stage(case.topology, case.config.hosts == "silent")


def _run(stage: Bench, case: Case, recording: bool) -> tuple[list[Problem], list[Arrival]]:
    """Send, wait and compare."""
    config, home = case.config, case.path.parent
    stage.replay(config.replay, home)
    longest = max((entry.within for entry in config.expect), default=0.0)
    settle = max(config.settle, longest) if recording else config.settle
    problems, arrivals = expect(stage, config.expect, home, settle)
    counted = stage.counted()
    problems += map(Problem, counting.counters(config.counters, counted))
    problems += map(Problem, counting.dropped(config.drops, counted))
    return problems, arrivals


def expect(
    stage: Bench, entries: Sequence[Expected], home: Path, settle: float
) -> tuple[list[Problem], list[Arrival]]:
    """Wait for what is expected, and compare it with what has arrived since the last replay.

    Captures are named from `home`; for `settle` seconds nothing more must come.
    """
    wanted = [_wanted(stage, entry, home) for entry in entries]

    def enough(arrived: Arrived) -> bool:
        return all(len(one.relevant(arrived[one.entry.at])) >= len(one.frames) for one in wanted)

    longest = max((entry.within for entry in entries), default=0.0)
    arrived = stage.wait(enough, longest, settle)
    begun = min((one.moment for one in stage.sent), default=0)
    problems: list[Problem] = []
    arrivals: list[Arrival] = []
    for one in wanted:
        frames = one.relevant(arrived[one.entry.at])
        different = list(_differences(one, frames))
        problems += [*different, *_late(one.entry, frames, stage.sent)]
        if different:
            timed = [(frame.moment - begun, frame.data) for frame in frames]
            arrivals.append(Arrival(one.entry, timed))
    return problems, arrivals


def _wanted(stage: Bench, entry: Expected, home: Path) -> _Wanted:
    ignored = tuple(entry.ignore)
    if entry.pcap is not None:
        frames = _captured(home / entry.pcap)
    elif entry.from_ is not None:
        frames = [one.data for one in stage.sent if one.sap == entry.from_]
    else:
        frames = list(sending.built(entry.frames, _UNKNOWN))
        ignored += _MACS if any("Ether(" not in text for text in entry.frames) else ()
    values = sending.resolved(entry.rewrite, stage.wiring)
    return _Wanted(entry, [fields.written(frame, values) for frame in frames], ignored)


def _captured(path: Path) -> list[bytes]:
    """The frames of an expected capture; none if there is no such file yet."""
    if not path.exists():
        return []
    frames = []
    for packet in capture.read(path):
        if packet.link != link.ETHERNET or len(packet.data) < packet.whole:
            raise InputError(f"{path} has packets that are not whole Ethernet frames")
        frames.append(packet.data)
    return frames


def _differences(wanted: _Wanted, arrived: Sequence[Frame]) -> Iterator[Problem]:
    """What is wrong with the frames."""
    entry = wanted.entry
    found = compare(wanted.frames, [one.data for one in arrived], wanted.ignored, entry.order)
    shown = [one for one in found if one.kind is not Kind.EXTRA or entry.extra == "fail"]
    for one in shown[:_MOST_SHOWN]:
        yield Problem(f"{entry.at}: {one.words}", one.lines, entry.at)
    if len(shown) > _MOST_SHOWN:
        more = f"{entry.at}: and {len(shown) - _MOST_SHOWN:,} more differences"
        yield Problem(more, (), entry.at)


def _late(entry: Expected, arrived: Sequence[Frame], sent: Sequence[Sent]) -> Iterator[Problem]:
    """What is wrong with the times."""
    last = max((one.moment for one in sent), default=0)
    for number, frame in enumerate(arrived, 1):
        seconds = (frame.moment - last) / NANOSECONDS
        if seconds > entry.within:
            words = f"packet {number} that arrived is late: {seconds:.3f} s after the last was sent"
            yield Problem(f"{entry.at}: {words}", (f"expected within {entry.within:g} s",))
    if entry.latency is not None:
        taken = latency.latencies(
            [(one.moment, one.data) for one in sent], [(one.moment, one.data) for one in arrived]
        )
        for words in _beyond(entry.latency.bounds, taken):
            yield Problem(f"{entry.at}: {words}")


def _beyond(bounds: Mapping[str, tuple[float, float]], taken: Sequence[int]) -> Iterator[str]:
    """The latencies that exceed their bounds."""
    if not taken:
        yield "no frame that was sent is recognised, so there is no latency"
        return
    for name, (share, bound) in bounds.items():
        seconds = latency.percentile(taken, share) / NANOSECONDS
        if seconds > bound:
            yield f"latency {name} expected at most {bound:g} s, got {seconds:.6f} s"
