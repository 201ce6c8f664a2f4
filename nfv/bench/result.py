"""The result of a bench as plain data: what JSON holds, and what two results are compared by."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nfv import __version__
from nfv.bench.outcome import Outcome
from nfv.bench.trial import Trial
from nfv.traffic import profile
from nfv.traffic.profile import Profile

FORMAT = "nfv-bench-1"
"""Names the form of the document; another number means another form."""


@dataclass(frozen=True)
class Result:
    """A bench from one SAP to another one; `seconds` is the duration of a trial."""

    topology: str
    near: str
    far: str
    kinds: Mapping[str, str]  # of both SAPs, and the hooks of their programs
    profile: Profile
    started: str  # ISO 8601
    seconds: float
    complete: bool
    outcomes: Sequence[Outcome]


def plain(result: Result) -> dict[str, object]:
    """Plain data; rates a second, times in seconds, bits of frames with FCS."""
    return {
        "format": FORMAT,
        "topology": result.topology,
        "from": result.near,
        "to": result.far,
        "started": result.started,
        "trial_seconds": result.seconds,
        "complete": result.complete,
        "environment": {**environment(), **result.kinds},
        "profile": profile.plain(result.profile),
        "outcomes": [outcome(one) for one in result.outcomes],
    }


def environment() -> dict[str, object]:
    """What rates depend on."""
    return {
        "nfv": __version__,
        "kernel": platform.release(),
        "cpu": _cpu(),
        "cpus": len(os.sched_getaffinity(0)),
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def outcome(found: Outcome) -> dict[str, Any]:
    """One of the outcomes as plain data."""
    return {
        "test": found.test,
        "size": found.size,
        "load": found.load,
        "figures": dict(found.figures),
        "limit": found.limit.value if found.limit else None,
        "trials": [_trial(trial) for trial in found.trials],
    }


def _trial(trial: Trial) -> dict[str, object]:
    return {
        "requested_pps": trial.load.rate,
        "requested_frames": trial.load.intended,
        "requested_seconds": trial.load.seconds,
        "offered_pps": trial.offered,
        "forwarded_pps": trial.forwarded,
        "valid": trial.valid,
        "sent": trial.sent,
        "sent_bytes": trial.sent_bytes,
        "seconds": trial.seconds,
        "worst_delay_seconds": trial.worst,
        "received": trial.received,
        "received_bytes": trial.received_bytes,
        "lost": trial.lost,
        "unsent": trial.unsent,
        "duplicates": trial.duplicates,
        "reordered": trial.reordered,
        "late": trial.late,
        "entered": trial.entered,
        "left": trial.left,
        "drops": [asdict(hop) for hop in trial.hops],
        "latency": asdict(trial.latency) if trial.latency else None,
    }
