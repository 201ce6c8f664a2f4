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

from benchmarks import report
from benchmarks.extras import Extra
from benchmarks.figures import Figure
from benchmarks.pages import Page, missing, pages
from benchmarks.results import Results, Run, as_json
from benchmarks.runs import Effort, Result, run
from benchmarks.sweeps import Sweep
from nfv.errors import ExitCode, NfvError

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
@click.option("--write", is_flag=True, help="Write the documents of what is measured, whole.")
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
    chosen, more, documents = _choose(only, write)
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
    goals = [goal for document in documents for goal in document.goals]
    click.echo(report.as_markdown(results, goals))
    if write:
        for document in documents:
            document.write(results)
    if json_file:
        json_file.write(as_json(results))


def _choose(only: tuple[str, ...], write: bool) -> tuple[list[Sweep], list[Extra], list[Page]]:
    """The sweeps and other measurements of these names, all if none is given; their documents."""
    known = [part for page in pages() for part in page.parts]
    for name in only:
        if name not in known:
            raise click.BadParameter(f"there are {', '.join(known)}", param_hint="--only")
    names = only or known
    if write and (more := missing(names)):
        text = f"documents are written whole: add {', '.join(more)}"
        raise click.BadParameter(text, param_hint="--only")
    return (
        [sweep for page in pages() for sweep in page.sweeps if sweep.name in names],
        [extra for page in pages() for extra in page.extras if extra.name in names],
        [page for page in pages() if any(part in names for part in page.parts)],
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
