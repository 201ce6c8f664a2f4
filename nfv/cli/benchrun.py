"""A bench as the command runs it: all that was asked for, or what there is when interrupted."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import click
from pydantic_core import PydanticCustomError

from nfv.bench.connections import Step, connections
from nfv.bench.outcome import Outcome
from nfv.bench.plan import Plan, measured
from nfv.bench.result import Result
from nfv.bench.trial import Load, Trial
from nfv.cli.progress import Progress
from nfv.dataplane import state
from nfv.dataplane.load.exclusive import exclusive
from nfv.dataplane.load.fitting import Setup
from nfv.dataplane.load.handshake import Handshakes
from nfv.dataplane.load.rig import Rig
from nfv.dataplane.state import State
from nfv.errors import InputError
from nfv.traffic.profile import Profile, parse_size
from nfv.traffic.profile import load as load_profile

CONNECTIONS = "connections"

Told = Callable[[str], None]
"""Told what is done at the moment."""


def profile(path: Path | None, sizes: tuple[str, ...]) -> Profile:
    """What the file says, or the default, with the sizes of the command line if there are any."""
    found = load_profile(path) if path else Profile()
    if not sizes:
        return found
    try:
        wanted = [parse_size(int(size) if size.isdecimal() else size) for size in sizes]
    except PydanticCustomError as error:
        raise click.BadParameter(error.message(), param_hint="--size") from error
    return found.model_copy(update={"sizes": tuple(wanted)})


def result(applied: State, setup: Setup, plan: Plan, count: int) -> Result:
    """All outcomes, or those that there were when the user interrupted.

    `count` is how many connections are opened, where they are asked for.
    """
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)  # so that everything is put back
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    outcomes: list[Outcome] = []
    complete = False
    rig = Rig(applied, setup)
    try:
        with Progress(quiet=not sys.stderr.isatty()) as progress, _alone(applied):
            for outcome in _outcomes(rig, plan, count, progress):
                outcomes.append(outcome)
        complete = True
    except KeyboardInterrupt:
        pass
    return Result(
        applied.name,
        setup.near,
        setup.far,
        rig.kinds,
        rig.profile,
        started,
        setup.seconds,
        complete,
        outcomes,
    )


def _alone(applied: State) -> AbstractContextManager[None]:
    """One bench of a topology at a time, as they would count each other's frames."""
    return exclusive(
        state.directory(applied.name) / "bench",
        lambda process: InputError(
            f"topology {applied.name} is being measured by process {process}", "wait for its end"
        ),
    )


def _outcomes(rig: Rig, plan: Plan, count: int, progress: Progress) -> Iterator[Outcome]:
    """Each outcome as soon as it is there."""
    sizes = rig.profile.sizes
    if set(plan.tests) != {CONNECTIONS}:
        with rig:
            for number, size in enumerate(sizes):
                told = partial(progress, number=number, total=len(sizes))
                yield from _sized(rig, plan, size, told)
    if CONNECTIONS in plan.tests:
        many = rig.setup.profile.model_copy(update={"flows": count})
        with Handshakes(rig.applied, replace(rig.setup, profile=many)) as handshakes:
            steps = list(Step)

            def take(step: Step) -> Trial:
                progress(f"{count:,} connections: {step.value}", steps.index(step), len(steps))
                return handshakes.take(step)

            yield connections(take, handshakes.size)


def _sized(rig: Rig, plan: Plan, size: str, told: Told) -> Iterator[Outcome]:
    """The outcomes of one frame size."""

    def trial(load: Load) -> Trial:
        rate = f"{load.rate:,.0f} frames/s" if load.rate else "as fast as possible"
        told(f"{size} bytes, {rate}")
        return rig.run(load)

    told(f"{size} bytes")
    rig.use(size)
    yield from measured(plan, trial, size)
