"""Packet rates of several paths, measured in turn, round after round."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.frames import Traffic, conversation
from benchmarks.live import Loader, Sender, Sink, attach
from benchmarks.paths import Path
from nfv.dataplane.refusal import refused
from nfv.errors import KernelError

_WARM_UP = 20_000  # frames
_ESTABLISH_SECONDS = 10.0
_RETRY_SECONDS = 0.05
_SLICES = 3
"""Parts of a sample, between which the other paths have their turns: what slows the machine down
for a second, slows all paths down."""
_PAUSE_SHARE = 0.15
"""Of the time of a slice, left to other processes after it; a real-time thread that takes more than
95 % of a CPU is made to wait in the middle of a slice (sched_rt_runtime_us)."""


@dataclass(frozen=True)
class Sample:
    """One measurement: packets sent, arrived, timed, and the seconds of those that are timed."""

    sent: int
    arrived: int
    timed: int
    seconds: float

    def __add__(self, other: Sample) -> Sample:
        return Sample(
            self.sent + other.sent,
            self.arrived + other.arrived,
            self.timed + other.timed,
            self.seconds + other.seconds,
        )

    @property
    def rate(self) -> float:
        """Packets that arrived, per second."""
        return self.timed / self.seconds

    @property
    def loss(self) -> float:
        """Share of the packets that did not arrive."""
        return 1 - self.arrived / self.sent


class Lane:
    """A path, what sends on both of its ends, and what counts there."""

    def __init__(self, loader: Loader, sink: Sink, name: str, path: Path) -> None:
        self._loader = loader
        self._sink = sink
        self._name = name
        self._path = path

    def establish(self, traffic: Traffic) -> Sender:
        """Have both hosts send what establishes the flows; return the sender to measure with.

        Repeats until all frames arrive, as those that Linux resolves an address for may not.
        """
        legs = conversation(traffic, self._path.near_end, self._path.far_end)
        senders = []
        deadline = time.monotonic() + _ESTABLISH_SECONDS
        for leg in legs:
            device = self._path.near if leg.forward else self._path.far
            senders.append(Sender(self._loader, device, leg.frames))
        while True:
            samples = [self.sample(sender, traffic.flows) for sender in senders]
            if not any(sample.loss for sample in samples):
                return senders[-1]
            if time.monotonic() > deadline:
                raise KernelError(f"{traffic.name}: packets do not arrive by {self._name}")
            time.sleep(_RETRY_SECONDS)

    def sample(self, sender: Sender, count: int) -> Sample:
        """Send `count` frames and see what arrives."""
        self._sink.reset()
        start = time.perf_counter()
        sender.send(count)
        time.sleep((time.perf_counter() - start) * _PAUSE_SHARE)
        tally = self._sink.read()
        return Sample(count, tally.packets, tally.timed, tally.seconds)


def measure(
    loader: Loader,
    paths: Mapping[str, Path],
    traffics: Sequence[Traffic],
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
) -> dict[tuple[str, Traffic], list[Sample]]:
    """Samples of about `seconds` by path and traffic, one a round, in slices taken in turn.

    Raises `KernelError` if a path does not carry the packets.
    """
    sink = Sink(loader)
    with _attached(loader, sink, paths.values()), _undisturbed():
        lanes = {name: Lane(loader, sink, name, path) for name, path in paths.items()}
        places = [(name, traffic) for traffic in traffics for name in lanes]
        senders = {}
        counts = {}
        for name, traffic in places:
            progress(f"warm-up: {traffic.name}, {name}")
            senders[name, traffic] = lanes[name].establish(traffic)
            warm = lanes[name].sample(senders[name, traffic], _WARM_UP)
            counts[name, traffic] = max(1, int(warm.rate * seconds / _SLICES))
        samples: dict[tuple[str, Traffic], list[Sample]] = {place: [] for place in places}
        for number in range(1, rounds + 1):
            progress(f"round {number} of {rounds}")
            for traffic in traffics:
                for slice_ in range(_SLICES):
                    for name, lane in lanes.items():
                        place = name, traffic
                        part = lane.sample(senders[place], counts[place])
                        if slice_ == 0:
                            samples[place].append(part)
                        else:
                            samples[place][-1] += part
        return samples


@contextmanager
def _attached(loader: Loader, sink: Sink, paths: Iterable[Path]) -> Iterator[None]:
    """The sink on the hosts, and on plain devices a program that lets them take live frames."""
    accept = loader.load("pass")
    with ExitStack() as stack:
        for path in paths:
            for device in (path.near, path.far):
                stack.callback(os.close, attach(sink.program, device))
            for device in path.plain:
                stack.callback(os.close, attach(accept, device))
        yield


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Stay on one CPU, before all processes that have no real-time priority."""
    cpus = os.sched_getaffinity(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError as error:
        raise refused("get real-time priority", error) from error
    os.sched_setaffinity(0, {max(cpus)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cpus)
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
