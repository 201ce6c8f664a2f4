"""How figures are shown, in tables and reports. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nfv.bench.outcome import DURATIONS, Limit

TITLES = {
    "pps": "frames/s",
    "bps": "bits/s",
    "ndr_pps": "NDR frames/s",
    "pdr_pps": "PDR frames/s",
    "stddev_pps": "std dev",
    "cps": "connections/s",
    "connections": "concurrent",
    "burst_frames": "burst",
    "burst_seconds": "seconds",
    "load_pps": "frames/s",
    "loss": "loss",
    "least": "min",
    "mean": "mean",
    "p50": "p50",
    "p99": "p99",
    "p999": "p99.9",
    "most": "max",
}

_LIMITS = {
    Limit.LOSS.value: "frames are lost above",
    Limit.GENERATOR.value: "no more can be sent",
    Limit.ASKED.value: "no more was asked for",
}


def figure(key: str, value: float) -> str:
    """A figure with its unit, if it is no count or rate."""
    if key == "loss":
        return f"{value:.4%}" if value else "0"
    if key == "burst_seconds":
        return f"{value:.3f}"
    if key in DURATIONS:
        return duration(value)
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """A time with three digits, in the unit that fits."""
    if seconds >= 0.9995:
        return f"{seconds:.3g} s"
    if seconds >= 0.9995e-3:
        return f"{seconds * 1e3:.3g} ms"
    if seconds >= 0.9995e-6 or not seconds:
        return f"{seconds * 1e6:.3g} µs"
    return f"{seconds * 1e9:.3g} ns"


def short(value: float) -> str:
    """A number with a prefix: 2.5M."""
    for unit, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{prefix}"
    return f"{value:g}"


def limit(value: str | None) -> str:
    """Why a rate is not higher."""
    return _LIMITS[value] if value else ""


def drops(trials: Iterable[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """What was dropped in all of them, by place and reason."""
    counts: Counter[tuple[str, str]] = Counter()
    for trial in trials:
        for hop in trial["drops"]:
            counts[hop["place"], hop["reason"]] += hop["packets"]
    return [
        {"place": place, "reason": reason, "packets": packets}
        for (place, reason), packets in counts.items()
    ]
