"""How long a frame takes from one host to the other, one at a time.

Frames arrive by chance (exponentially distributed intervals), and each says when it was due: what
had to wait because the path was busy, has waited (no coordinated omission).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

from benchmarks.figures import Figure, percentile
from benchmarks.frames import conversation, stamp_at
from benchmarks.live import RESOLUTION, Loader, Sender, Sink
from benchmarks.rates import Lane, attached, undisturbed
from benchmarks.runs import Effort, Progress
from benchmarks.traffic import Traffic
from benchmarks.ways import Builder
from nfv.errors import NfvError

TABLE = "latency"
PERCENTILES = (0.5, 0.9, 0.99, 0.999)

_UNLOADED = 20_000  # mean nanoseconds between frames
_LONGEST = 100_000  # nanoseconds that a sender waits for the next frame
_INTERVALS = 4096
_SECONDS = 0.1  # of a sample
_SEED = 4


def measure(
    ways: Mapping[str, Builder], traffic: Traffic, effort: Effort, progress: Progress
) -> Iterator[Figure]:
    """Percentiles in microseconds of each way, without load and at half of what it carries."""
    with ExitStack() as stack:
        loader = stack.enter_context(Loader())
        paths = {}
        for number, (way, builder) in enumerate(ways.items()):
            progress(f"latency: setting up {way}")
            try:
                paths[way] = stack.enter_context(builder(loader, f"bench-{number}"))
            except NfvError as error:
                progress(f"latency: not run: {way}: {error.message}")
        kind = traffic.kind
        sink = Sink(loader, stamp_at(kind))
        feed = traffic.feed(loader)
        stack.enter_context(attached(loader, sink, paths.values()))
        stack.enter_context(undisturbed(effort.cpu))
        senders = {}
        for way, path in paths.items():
            lane = Lane(loader, sink, path, feed)
            leg = conversation(kind, path.near_end, path.far_end, path.translation)[-1]
            busy = Sender(loader, path.near, kind, leg, feed.drawn, [0])
            capacity = _capacity(sink, busy, int(lane.rate * _SECONDS))
            for load, mean in (("unloaded", _UNLOADED), ("half load", 2 / capacity * 1e9)):
                pace = intervals(mean)
                sender = Sender(loader, path.near, kind, leg, feed.drawn, pace)
                senders[way, load] = sender, int(_SECONDS * 1e9 / mean)
        found: dict[tuple[str, str], list[list[float]]] = {place: [] for place in senders}
        for number in range(effort.rounds):
            progress(f"latency: round {number + 1} of {effort.rounds}")
            for place, (sender, count) in senders.items():
                sink.reset()
                sender.send(count, batch=1)
                counts = sink.durations()
                found[place].append([_microseconds(counts, share) for share in PERCENTILES])
    for (way, load), rounds in found.items():
        for index, share in enumerate(PERCENTILES):
            values = tuple(percentiles[index] for percentiles in rounds)
            yield Figure(TABLE, way, f"{load}, {share * 100:g} %", "µs", values)


def intervals(mean: float) -> list[int]:
    """Nanoseconds between frames that come independently of each other."""
    draw = random.Random(_SEED)
    return [min(int(draw.expovariate(1 / mean)), _LONGEST) for _ in range(_INTERVALS)]


def _capacity(sink: Sink, sender: Sender, count: int) -> float:
    """Frames a second if one is sent as soon as the last has arrived."""
    sink.reset()
    sender.send(count, batch=1)
    tally = max(sink.read(), key=lambda tally: tally.packets)  # late ones are on another CPU
    return tally.timed / tally.seconds


def _microseconds(counts: list[int], share: float) -> float:
    return percentile(counts, share) * RESOLUTION / 1000
