"""Packet rates of several paths, measured in turn, round after round."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.frames import Kind, Leg, conversation
from benchmarks.live import Loader, Sender, Sink, Tally, attach
from benchmarks.wired import Path
from nfv.dataplane.kernel.bpf import Map
from nfv.dataplane.kernel.refusal import refused
from nfv.errors import KernelError

_BATCH = 64  # frames sent at once
_BATCH_COPIED = 16  # of which the copies are carried before the next ones
_LEAST = 16 * _BATCH  # of a sample: slow paths carry batch by batch, and none is seen to begin
_PROBE = 4096  # frames that tell how quick a path is
_SHORTEST_WARM_UP, _LONGEST_WARM_UP = 0.02, 0.5  # seconds
_ESTABLISH_SECONDS = 10.0
_RETRY_SECONDS = 0.05
_TRIES = 5
_PAUSE_SHARE = 0.2
"""Of the time of a sample, left to other processes after it. A real-time thread that takes more
than 95 % of a CPU is made to wait in the middle of a sample (sched_rt_runtime_us)."""


@dataclass(frozen=True)
class Feed:
    """The frames of a kind that are sent, and where senders read of which flow each is.

    `once` has each flow once, `drawn` as they are measured. `established` flows have been answered
    before. Frames that are `copied` arrive at every far host.
    """

    kind: Kind
    flows: int
    once: Map
    drawn: Map
    established: bool = True
    copied: bool = False


@dataclass(frozen=True)
class Sample:
    """One measurement: packets sent, arrived, timed, and the seconds of those that are timed.

    Of frames that are copied, each copy counts.
    """

    sent: int
    arrived: int
    timed: int
    seconds: float

    @property
    def rate(self) -> float:
        """Packets that arrived, per second."""
        return self.timed / self.seconds if self.seconds else 0.0

    @property
    def loss(self) -> float:
        """Share of the packets that did not arrive."""
        return 1 - self.arrived / self.sent


class Lane:
    """A path with traffic on it: what sends there, and what counts."""

    def __init__(self, loader: Loader, sink: Sink, path: Path, feed: Feed) -> None:
        self.feed = feed
        self._loader = loader
        self._sink = sink
        self._path = path
        self._batch = _BATCH_COPIED if feed.copied else _BATCH
        self._copies = len(path.far_hosts) if feed.copied else 1
        self.sender = self._establish()
        self.rate = self.sample(_PROBE).rate / self._copies
        """Frames that are sent in a second."""
        if not self.rate:
            raise KernelError("no packet arrives")

    def sample(self, count: int) -> Sample:
        """Send `count` frames and see what arrives.

        A packet that a process of the machine sends out of the same device has another CPU take the
        frames that lie there, too: such samples are taken again. `KernelError` if all are.
        """
        for _ in range(_TRIES):
            found = self._send(self.sender, count)
            if len(found) < 2:
                return _sample(count * self._copies, found)
        raise KernelError("packets arrive on several CPUs, though one sends them")

    def warm_up(self) -> None:
        """Send until caches and tables are as they are when it goes on like that."""
        seconds = 2 * self.feed.flows / self.rate if self.feed.established else 0.0
        seconds = min(max(seconds, _SHORTEST_WARM_UP), _LONGEST_WARM_UP)
        self.sender.send(int(self.rate * seconds) + 1, self._batch)

    def _establish(self) -> Sender:
        """Have both hosts send what establishes the flows; return the sender to measure with.

        Repeats until all frames arrive, as those that Linux resolves an address for may not.
        """
        path, feed = self._path, self.feed
        legs = conversation(feed.kind, path.near_end, path.far_end, path.translation)
        loader = self._loader
        if not feed.established:
            return Sender(loader, path.near, feed.kind, legs[0], feed.drawn)
        last = Sender(loader, path.near, feed.kind, legs[-1], feed.drawn)
        senders = [each for leg in legs for each in self._speaking(leg)]
        if not path.answers:
            senders = senders[-1:]
        deadline = time.monotonic() + _ESTABLISH_SECONDS
        while True:
            samples = [_sample(count, self._send(sender, count)) for sender, count in senders]
            if not any(sample.loss for sample in samples):
                return last
            if time.monotonic() > deadline:
                raise KernelError(f"{samples[-1].loss:.1%} of the packets do not arrive")
            time.sleep(_RETRY_SECONDS)

    def _speaking(self, leg: Leg) -> Iterator[tuple[Sender, int]]:
        """Who sends a leg of all flows, and how many frames: the near host, or all far ones."""
        hosts = (self._path.near,) if leg.forward else self._path.far_hosts
        flows = self.feed.flows
        for number, host in enumerate(hosts):
            part = range(number * flows // len(hosts), (number + 1) * flows // len(hosts))
            if part:
                once = Sender(self._loader, host, self.feed.kind, leg, self.feed.once, part=part)
                yield once, len(part)

    def _send(self, sender: Sender, count: int) -> list[Tally]:
        """What arrives of `count` frames, by CPU."""
        self._sink.reset()
        start = time.perf_counter()
        sender.send(count, self._batch)
        time.sleep((time.perf_counter() - start) * _PAUSE_SHARE)
        return [tally for tally in self._sink.read() if tally.packets]


def _sample(count: int, found: Sequence[Tally]) -> Sample:
    """The sample of frames that arrived on one CPU; of more, it is not known how long they took."""
    arrived = sum(tally.packets for tally in found)
    timed = found[0] if len(found) == 1 else Tally(0, 0, 0.0)
    return Sample(count, arrived, timed.timed, timed.seconds)


def measure(
    lanes: Sequence[Lane], rounds: int, seconds: float, progress: Callable[[str], None]
) -> list[list[Sample]]:
    """Samples of about `seconds`, one a round, of each lane; the lanes take turns."""
    samples: list[list[Sample]] = [[] for _ in lanes]
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        turns = list(zip(lanes, samples, strict=True))
        for lane, found in turns[:: 1 if number % 2 else -1]:
            lane.warm_up()
            found.append(lane.sample(max(_LEAST, int(lane.rate * seconds))))
    return samples


@contextmanager
def attached(loader: Loader, sink: Sink, paths: Iterable[Path]) -> Iterator[None]:
    """The sink on the hosts, and on plain devices a program that lets them take live frames."""
    accept = loader.load("pass")
    with ExitStack() as stack:
        for path in paths:
            for device in (path.near, *path.far_hosts):
                stack.callback(os.close, attach(sink.program, device))
            for device in path.plain:
                stack.callback(os.close, attach(accept, device))
        yield


@contextmanager
def undisturbed(cpu: int | None = None) -> Iterator[None]:
    """Stay on one CPU, the last by default, before all processes without real-time priority."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError as error:
        raise refused("get real-time priority", error) from error
    os.sched_setaffinity(0, {max(before) if cpu is None else cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
