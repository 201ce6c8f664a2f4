"""NDR and PDR by MLRsearch: rates at which at most 0 % and 0.5 % are lost.

The search is that of the package MLRsearch, by the authors of the method
(draft-ietf-bmwg-mlrsearch). Frames that the generator could not send count as lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from MLRsearch import Config, MeasurementResult, MultipleLossRatioSearch, SearchGoal

from nfv.bench.outcome import Limit, Measure, Outcome
from nfv.bench.trial import Load, Trial

PDR_LOSS = 0.005
EXCEED = 0.5
"""The share of the time in trials at one load that may lose more."""

DURATION_SUM = 21
"""Durations of a trial that a load has to be tried for until it is a bound."""

_LEAST = 1e-3  # of the maximum, below which is not searched
_PATIENCE = 1000  # durations of a trial, after which a search is given up
"""CSIT's settings, but for the duration of a trial, 1 second there, which is chosen by the user."""


@dataclass
class _Measurer:
    """What MLRsearch calls for each trial."""

    trial: Measure
    trials: list[Trial]

    def measure(self, intended_duration: float, intended_load: float) -> MeasurementResult:
        trial = self.trial(Load(intended_duration, intended_load))
        self.trials.append(trial)
        return MeasurementResult(
            intended_duration=intended_duration,
            intended_load=intended_load,
            offered_count=trial.sent,
            forwarding_count=trial.received,
            intended_count=trial.load.intended,
        )


def ndr_pdr(
    measure: Measure, size: str, seconds: float, width: float, maximum: float | None
) -> Outcome:
    """Both conditional throughputs; at most `maximum`, or what can be sent at all."""
    first = [] if maximum else [measure(Load(seconds))]
    top = maximum if maximum else first[0].offered
    goals = [
        SearchGoal(
            loss_ratio=loss,
            exceed_ratio=EXCEED,
            relative_width=width,
            initial_trial_duration=seconds,
            final_trial_duration=seconds,
            duration_sum=seconds * DURATION_SUM,
            fail_fast=False,
        )
        for loss in (0.0, PDR_LOSS)
    ]
    config = Config()
    config.goals = goals
    config.max_load, config.min_load = top, top * _LEAST
    config.search_duration_max = seconds * _PATIENCE
    config.warmup_duration = seconds
    measurer = _Measurer(measure, first)
    found = MultipleLossRatioSearch(config=config).search(measurer=measurer, debug=lambda _: None)
    ndr, pdr = (found[goal] for goal in goals)
    figures = {
        "ndr_pps": _rate(ndr.conditional_throughput),
        "pdr_pps": _rate(pdr.conditional_throughput),
    }
    return Outcome("ndr-pdr", size, figures, measurer.trials, _limit(measurer.trials, maximum))


def _limit(trials: Sequence[Trial], maximum: float | None) -> Limit:
    if any(trial.lost for trial in trials):
        return Limit.LOSS
    return Limit.ASKED if maximum and all(trial.valid for trial in trials) else Limit.GENERATOR


def _rate(load: object) -> float:
    return float(load) if load is not None else 0.0  # type: ignore[arg-type]
