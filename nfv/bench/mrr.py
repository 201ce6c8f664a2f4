"""Maximum receive rate: what arrives when as much is sent as possible. Quick, so for CI."""

from __future__ import annotations

from statistics import mean, pstdev

from nfv.bench.outcome import Limit, Measure, Outcome
from nfv.bench.trial import Load


def mrr(measure: Measure, size: str, seconds: float, repeat: int, maximum: float | None) -> Outcome:
    """The mean of the rates at which frames arrived in `repeat` trials at maximum load."""
    trials = [measure(Load(seconds, maximum)) for _ in range(repeat)]
    rates = [trial.forwarded for trial in trials]
    found = mean(rates)
    figures = {"pps": found, "bps": found * trials[0].frame_bits, "stddev_pps": pstdev(rates)}
    whole = maximum is not None and all(trial.valid for trial in trials)
    lost = any(trial.lost for trial in trials)
    limit = Limit.LOSS if lost else Limit.ASKED if whole else Limit.GENERATOR
    return Outcome("mrr", size, figures, trials, limit)
