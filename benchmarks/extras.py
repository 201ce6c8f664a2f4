"""What is measured besides the sweeps: two cores, latency, TCP, programs, applying."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from benchmarks import bulk, chains, cores, costs, latency, sweeps, ways
from benchmarks.figures import Figure
from benchmarks.frames import Kind
from benchmarks.runs import Effort, Progress, Result
from benchmarks.sequences import Addresses, Draw
from benchmarks.traffic import Traffic

_FLOWS, _RULES = sweeps.FLOWS, sweeps.RULES

_BULK_ROUNDS, _BULK_SECONDS = 10, 2
_COST_ROUNDS, _QUICK_COST_ROUNDS = 3, 1
_QUICK_SAPS = {1: 3, 10: 3}
_SAPS = {1: 3, 10: 3, 100: 3, 1000: 1}
"""Rounds by number of SAPs."""

Found: TypeAlias = Iterator[Result | Figure]


@dataclass(frozen=True)
class Extra:
    """A measurement; `measure` is told whether there is time for all of it."""

    name: str
    measure: Callable[[bool, Effort, Progress], Found]


def extras() -> list[Extra]:
    """All of them, in order."""
    return [
        Extra(cores.SWEEP, _cores),
        Extra(latency.TABLE, _latency),
        Extra(bulk.TABLE, _bulk),
        Extra(costs.PROGRAMS, _programs),
        Extra(costs.APPLY, _apply),
    ]


def _cores(_full: bool, effort: Effort, progress: Progress) -> Found:
    """Two cores have different flows, as where a network card spreads them."""

    def half(number: int) -> Addresses:
        return np.array_split(sweeps.addresses(), 2)[number]

    traffics = [Traffic(Kind(), Draw(_FLOWS), partial(half, number)) for number in (0, 1)]
    built = sweeps.routed({**sweeps.stateful(_RULES, 2 * _FLOWS), ways.LINUX: ways.linux})
    yield from cores.measure(built, traffics, effort, progress)


def _latency(_full: bool, effort: Effort, progress: Progress) -> Found:
    built = sweeps.routed({**sweeps.stateful(_RULES, _FLOWS), ways.LINUX: ways.linux})
    yield from latency.measure(
        {ways.BARE: ways.bare, **built}, sweeps.udp(_FLOWS), effort, progress
    )


def _bulk(full: bool, effort: Effort, progress: Progress) -> Found:
    """Router against router: hosts and SAPs as they are when nothing is said of them."""
    declared = partial(chains.router, hook=None)
    built = {
        ways.LINUX: ways.linux,
        bulk.NO_OFFLOADS: bulk.without_offloads(ways.linux),
        ways.OURS: ways.ours(declared),
        bulk.AT_XDP: ways.ours(chains.router),
    }
    rounds = _BULK_ROUNDS if full else min(effort.rounds, _BULK_ROUNDS)
    yield from bulk.measure(built, rounds, _BULK_SECONDS if full else 1, progress)


def _programs(full: bool, _effort: Effort, progress: Progress) -> Found:
    yield from costs.programs(_COST_ROUNDS if full else _QUICK_COST_ROUNDS, _RULES, progress)


def _apply(full: bool, _effort: Effort, progress: Progress) -> Found:
    yield from costs.apply(_SAPS if full else _QUICK_SAPS, progress)
