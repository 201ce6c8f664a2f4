"""Which tests a bench makes, in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nfv.bench.mrr import mrr
from nfv.bench.outcome import Measure, Outcome
from nfv.bench.rfc2544 import back_to_back, frame_loss, latency, throughput

THROUGHPUT, LATENCY = "throughput", "latency"


@dataclass(frozen=True)
class Plan:
    """`seconds` is the duration of a trial; rates are found to within `width` of themselves."""

    tests: Sequence[str]
    seconds: float = 1.0
    repeat: int = 3
    width: float = 0.01
    maximum: float | None = None  # frames a second; None: what can be sent


def measured(plan: Plan, measure: Measure, size: str) -> Iterator[Outcome]:
    """The outcomes of one frame size, each as soon as it is there.

    Latency is measured at the throughput, which is found first where it is not asked for.
    """
    seconds, maximum = plan.seconds, plan.maximum
    tests: dict[str, Callable[[], Outcome]] = {
        "frame-loss": lambda: frame_loss(measure, size, seconds, maximum),
        "back-to-back": lambda: back_to_back(measure, size, seconds, plan.repeat),
        "mrr": lambda: mrr(measure, size, seconds, plan.repeat, maximum),
        "ndr-pdr": lambda: _ndr_pdr(plan, measure, size),
    }
    if {THROUGHPUT, LATENCY}.intersection(plan.tests):
        found = throughput(measure, size, seconds, plan.width, maximum)
        yield found
        rate = found.figures["pps"]
        if LATENCY in plan.tests and rate:
            yield from latency(measure, size, seconds, plan.repeat, rate)
    for name, test in tests.items():
        if name in plan.tests:
            yield test()


def _ndr_pdr(plan: Plan, measure: Measure, size: str) -> Outcome:
    from nfv.bench.ndrpdr import ndr_pdr  # a library of its own, of use for this only

    return ndr_pdr(measure, size, plan.seconds, plan.width, plan.maximum)
