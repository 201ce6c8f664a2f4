"""Measure, print the tables, write what was asked for."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

import click

from benchmarks import plots, report
from benchmarks.extras import Extra, extras
from benchmarks.figures import Figure
from benchmarks.results import Results, Run, as_json
from benchmarks.runs import Effort, Result, run
from benchmarks.sweeps import Sweep, sweeps
from nfv.errors import ExitCode, NfvError

DOCS = Path(__file__).parent.parent / "docs"
DOCUMENT = DOCS / "performance.md"
DATA = DOCS / "performance.json"
PLOTS = DOCS / "plots"

_BEGUN = time.monotonic()


@click.command()
@click.option("--full", is_flag=True, help="All points of all sweeps, not only the outer ones.")
@click.option("--only", multiple=True, help="Only this sweep or measurement; may be repeated.")
@click.option(
    "--rounds", type=click.IntRange(2), default=10, show_default=True, help="Samples of each."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.01, 0.4),
    default=0.1,
    show_default=True,
    help="Length of one sample; a round has one of each way and traffic.",
)
@click.option("--json", "json_file", type=click.File("w"), help="Write every sample.")
@click.option("--write", is_flag=True, help="Write docs/performance.md, its data and pictures.")
def main(
    full: bool,
    only: tuple[str, ...],
    rounds: int,
    seconds: float,
    json_file: IO[str] | None,
    write: bool,
) -> None:
    """Compare service chains with a bare XDP redirect and with Linux, in one run."""
    effort = Effort(rounds, seconds, max(os.sched_getaffinity(0)))
    chosen, more = _choose(only)
    found: list[Result | Figure] = []
    omitted: dict[str, str] = {}
    for sweep in chosen:
        found += run(sweep, not full, effort, _progress)
    for extra in more:
        try:
            found += extra.measure(full, effort, _progress)
        except (NfvError, OSError) as error:
            omitted[extra.name] = getattr(error, "message", str(error))
            _progress(f"not run: {extra.name}: {omitted[extra.name]}")
    run_ = _describe(effort, (time.monotonic() - _BEGUN) / 60)
    rates = [each for each in found if isinstance(each, Result)]
    figures = [each for each in found if isinstance(each, Figure)]
    results = Results(run_, chosen, rates, figures, omitted)
    click.echo(report.as_markdown(results))
    if write:
        drawn = plots.draw(results, PLOTS)
        text = report.as_markdown(results, drawn)
        DOCUMENT.write_text(report.replace_between_markers(DOCUMENT.read_text(), text))
        DATA.write_text(as_json(results))
    if json_file:
        json_file.write(as_json(results))


def _choose(only: tuple[str, ...]) -> tuple[list[Sweep], list[Extra]]:
    """The sweeps and other measurements of these names; all if none is given."""
    known = [sweep.name for sweep in sweeps()] + [extra.name for extra in extras()]
    for name in only:
        if name not in known:
            raise click.BadParameter(f"there are {', '.join(known)}", param_hint="--only")
    return (
        [sweep for sweep in sweeps() if not only or sweep.name in only],
        [extra for extra in extras() if not only or extra.name in only],
    )


def _describe(effort: Effort, minutes: float) -> Run:
    return Run(
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        machine=f"{_cpu_model()}, {os.cpu_count()} CPUs",
        kernel=platform.release(),
        command=shlex.join(["benchmarks/run", *sys.argv[1:]]),
        rounds=effort.rounds,
        seconds=effort.seconds,
        minutes=minutes,
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def _progress(text: str) -> None:
    click.echo(f"{time.monotonic() - _BEGUN:5.0f} s  {text}", err=True)


def _run() -> int:
    try:
        main(prog_name="benchmarks/run", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return ExitCode.BAD_INPUT
    except click.Abort:
        _progress("interrupted; nothing remains")
        return ExitCode.INTERRUPTED
    except NfvError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        _progress(f"error: {error.message}{hint}")
        return error.exit_code
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(_run())
