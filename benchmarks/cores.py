"""One CPU and two at once, each with a sender and flows of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from threading import Barrier, BrokenBarrierError, Thread

from benchmarks import ways
from benchmarks.live import Loader, Sink
from benchmarks.rates import Lane, Sample, attached, undisturbed
from benchmarks.runs import Effort, Progress, Result
from benchmarks.traffic import Traffic
from benchmarks.ways import Builder
from nfv.errors import InputError, KernelError, NfvError

SWEEP = "cores"

_COUNTS = (1, 2)


def measure(
    built: Mapping[str, Builder],
    traffics: Sequence[Traffic],
    effort: Effort,
    progress: Progress,
) -> Iterator[Result]:
    """Packet rates of each way with one sender and with two, which take turns."""
    cpus = sorted(os.sched_getaffinity(0), reverse=True)[: max(_COUNTS)]
    if len(cpus) < max(_COUNTS):
        raise InputError("two cores are not measured: this machine has one CPU")
    with ExitStack() as stack:
        loader = stack.enter_context(Loader())
        sink = Sink(loader)
        paths = {}
        for number, (way, builder) in enumerate({ways.BARE: ways.bare, **built}.items()):
            progress(f"cores: setting up {way}")
            try:
                paths[way] = stack.enter_context(builder(loader, f"bench-{number}"))
            except NfvError as error:
                yield Result(SWEEP, "", way, traffics[0].name, (), error.message)
        stack.enter_context(attached(loader, sink, paths.values()))
        feeds = [traffic.feed(loader) for traffic in traffics]
        lanes: dict[str, list[Lane]] = {way: [] for way in paths}
        for cpu, feed in zip(cpus, feeds, strict=True):
            with undisturbed(cpu):
                for way, path in paths.items():
                    lanes[way].append(Lane(loader, sink, path, feed))
        found: dict[tuple[str, int], list[Sample]] = {
            (way, count): [] for way in lanes for count in _COUNTS
        }
        for number in range(effort.rounds):
            progress(f"cores: round {number + 1} of {effort.rounds}")
            for (way, count), samples in found.items():
                samples.append(_together(sink, lanes[way][:count], cpus, effort.seconds))
    for (way, count), samples in found.items():
        yield Result(SWEEP, str(count), way, traffics[0].name, tuple(samples))


def _together(sink: Sink, lanes: Sequence[Lane], cpus: Sequence[int], seconds: float) -> Sample:
    """Send on all lanes at once, each from its CPU; the rates of the CPUs are added."""
    counts = [int(lane.rate * seconds) for lane in lanes]
    ready = Barrier(len(lanes), action=sink.reset)
    failures: list[Exception] = []

    def send(lane: Lane, cpu: int, count: int) -> None:
        try:
            with undisturbed(cpu):
                lane.warm_up()
                ready.wait()
                lane.sender.send(count)
        except BrokenBarrierError:  # another sender failed, and says why
            return
        except (NfvError, OSError) as error:
            ready.abort()
            failures.append(error)

    _run_all([partial(send, *each) for each in zip(lanes, cpus, counts, strict=False)])
    if failures:
        raise KernelError(f"a sender failed: {failures[0]}")
    tallies = [tally for tally in sink.read() if tally.packets]
    timed = sum(tally.timed for tally in tallies)
    rate = sum(tally.timed / tally.seconds for tally in tallies if tally.seconds)
    arrived = sum(tally.packets for tally in tallies)
    return Sample(sum(counts), arrived, timed, timed / rate if rate else 0.0)


def _run_all(tasks: Sequence[Callable[[], None]]) -> None:
    threads = [Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
