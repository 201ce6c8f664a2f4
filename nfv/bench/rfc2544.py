"""The tests of RFC 2544, section 26, for one frame size."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from nfv.bench.outcome import Limit, Measure, Outcome
from nfv.bench.trial import Load, Trial

LOADS = (1.0, 0.5, 0.1)
"""Shares of the throughput at which latency is measured; the standard asks for the first."""

_STEP = 0.1  # of the maximum, by which the load is reduced in the frame loss test
_LEAST = 1e-3  # of the maximum, below which throughput is not searched


def throughput(
    measure: Measure, size: str, seconds: float, width: float, maximum: float | None
) -> Outcome:
    """The highest rate at which every frame arrives (section 26.1).

    Bisects between nothing and `maximum` frames a second, or what can be sent at all, until the
    bounds differ by `width` of the upper one. A trial in which the rate could not be offered is
    made again once, and fails then.
    """
    trials: list[Trial] = []

    def attempt(rate: float | None) -> Trial:
        trials.append(measure(Load(seconds, rate)))
        return trials[-1]

    high = maximum if maximum else attempt(None).offered
    best, limit, rate = None, Limit.ASKED if maximum else Limit.GENERATOR, high
    least = high * _LEAST
    while rate > least:
        trial = attempt(rate)
        if not trial.valid and not trial.lost:
            trial = attempt(rate)
        if trial.passed:
            best = trial
        else:
            high, limit = rate, Limit.GENERATOR if not trial.lost else Limit.LOSS
        low = best.load.rate if best and best.load.rate else 0.0
        if high - low <= high * width:
            break
        rate = (low + high) / 2
    found = best.load.rate if best and best.load.rate else 0.0
    figures = {"pps": found, "bps": found * trials[-1].frame_bits}
    return Outcome("throughput", size, figures, trials, limit)


def latency(measure: Measure, size: str, seconds: float, repeat: int, rate: float) -> list[Outcome]:
    """How long frames take at the throughput and at parts of it (section 26.2).

    Figures are the means of those of `repeat` trials.
    """
    return [_latency(measure, size, Load(seconds, rate * share), repeat, share) for share in LOADS]


def _latency(measure: Measure, size: str, load: Load, repeat: int, share: float) -> Outcome:
    trials = [measure(load) for _ in range(repeat)]
    found = [trial.latency for trial in trials if trial.latency]
    names = ("least", "mean", "p50", "p99", "p999", "most") if found else ()
    figures = {"load_pps": load.rate or 0.0}
    figures |= {name: mean(getattr(one, name) for one in found) for name in names}
    figures["loss"] = mean(trial.loss for trial in trials)
    return Outcome("latency", size, figures, trials, held_back(trials), share)


def frame_loss(measure: Measure, size: str, seconds: float, maximum: float | None) -> Outcome:
    """How many frames are lost at 100 %, 90 % and so on of the maximum (section 26.3).

    It ends where two trials in succession lose nothing. Figures are those of the highest load that
    could be offered.
    """
    trials = [measure(Load(seconds, maximum))]
    top = maximum if maximum else trials[0].offered
    for step in range(1, round(1 / _STEP)):
        if len(trials) > 1 and all(trial.passed for trial in trials[-2:]):
            break
        trials.append(measure(Load(seconds, top * (1 - step * _STEP))))
    highest = next((trial for trial in trials if trial.valid), trials[-1])
    figures = {"load_pps": highest.offered, "loss": highest.loss}
    return Outcome("frame-loss", size, figures, trials, held_back(trials[:1]))


def held_back(trials: Sequence[Trial]) -> Limit | None:
    """Whether the generator could not send what was asked for in any of them."""
    return None if all(trial.valid for trial in trials) else Limit.GENERATOR


def back_to_back(measure: Measure, size: str, seconds: float, repeat: int) -> Outcome:
    """The longest burst of frames, sent as fast as possible, that arrives whole (section 26.4).

    The mean of `repeat` searches. Bursts are at most as long as what `seconds` have room for.
    """
    trials: list[Trial] = []
    found = [_burst(measure, seconds, trials) for _ in range(repeat)]
    figures = {
        "burst_frames": mean(burst.sent if burst else 0 for burst in found),
        "burst_seconds": mean(burst.seconds if burst else 0.0 for burst in found),
    }
    whole = all(burst and burst.load.frames is None for burst in found)
    return Outcome("back-to-back", size, figures, trials, Limit.ASKED if whole else Limit.LOSS)


def _burst(measure: Measure, seconds: float, trials: list[Trial]) -> Trial | None:
    trial = measure(Load(seconds))
    trials.append(trial)
    if trial.passed:
        return trial
    best, low, high = None, 0, trial.sent
    while high - low > 1:
        frames = (low + high) // 2
        trial = measure(Load(seconds, frames=frames))
        trials.append(trial)
        if trial.passed:
            best, low = trial, frames
        else:
            high = frames
    return best
