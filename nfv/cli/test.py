"""nfvctl test."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from fnmatch import fnmatchcase
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nfv.cli import arguments, failure, output
from nfv.cli.output import Format
from nfv.cli.progress import Progress
from nfv.errors import ExitCode, Problem, TopologyError

if TYPE_CHECKING:
    from nfv.testing.case import Case
    from nfv.testing.run import Outcome


@click.command
@click.argument(
    "places", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path), default=(Path(),)
)
@click.option("-k", "pattern", metavar="PATTERN", help="Only cases whose name matches.")
@click.option("--update", is_flag=True, help="Record what arrived as what is expected.")
@click.option(
    "--junit",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the outcomes as JUnit XML, too.",
)
@click.option(
    "-j",
    "--jobs",
    metavar="N",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Run so many cases at once. Latencies are then those of a busy machine.",
)
@output.format_option
@click.pass_context
def command(
    context: click.Context,
    places: tuple[Path, ...],
    pattern: str | None,
    update: bool,
    junit: Path | None,
    jobs: int,
    format_: Format,
) -> None:
    """Replay what cases say, and compare what becomes of it with what they expect.

    PATH is a case file, or a directory in which, and below which, files called test.nfv.yaml or
    NAME.test.nfv.yaml are cases; by default the current one. Each case has its topology applied in
    namespaces of its own, which end with it: what runs on this machine is not touched. All files
    are checked before anything is run.

    Where packets differ from the expected ones, fields are shown, and what arrived is kept beside
    the expected capture as NAME.actual.pcap. --update writes it in place of the expected capture.

    PATTERN is a part of the name of a case, or a pattern such as 'firewall/*'. Exits with 1 if a
    case fails, with 3 if a file has a mistake, and with 5 if there is no case.

    \b
    Examples:
      sudo nfvctl test tests/cases
      sudo nfvctl test tests/cases -k firewall
      sudo nfvctl test tests/cases/nat/test.nfv.yaml --update
      sudo nfvctl test -j 2 --junit results.xml
    """
    from nfv.testing import report

    cases = _selected(places, pattern)
    if not cases:
        matching = f" matches '{pattern}'" if pattern else ""
        click.echo(f"no case{matching} in {', '.join(map(str, places))}", err=True)
        context.exit(ExitCode.NO_TEST)
    arguments.require_root("running cases takes root")
    begun = time.monotonic()
    outcomes = []
    with Progress(quiet=not sys.stderr.isatty()) as progress:
        progress(cases[0].name, 0, len(cases))
        for number, outcome in enumerate(_run(cases, update, jobs), 1):
            progress.clear()
            outcomes.append(_settled(outcome, update, format_))
            if number < len(cases):
                progress(cases[number].name, number, len(cases))
    seconds = time.monotonic() - begun
    if junit is not None:
        from nfv.testing import junit as writer

        writer.write(junit, outcomes, seconds)
    if format_ == "table":
        click.echo(report.summary(outcomes, seconds))
    else:
        output.document([report.plain(one) for one in outcomes], format_)
    if not all(one.passed for one in outcomes):
        context.exit(ExitCode.FAILED)


def _selected(places: Sequence[Path], pattern: str | None) -> list[Case]:
    """The cases that are meant, all of them read. Raises TopologyError with all problems."""
    from nfv.testing import case

    paths = [path for path in case.find(places) if _matches(case.name_of(path), pattern)]
    found: list[Case] = []
    problems: list[Problem] = []
    for path in dict.fromkeys(paths):
        try:
            found.append(case.load(path))
        except TopologyError as error:
            problems += error.problems
    if problems:
        raise case.CaseError(problems)
    return found


def _matches(name: str, pattern: str | None) -> bool:
    if pattern is None:
        return True
    return pattern in name or fnmatchcase(name, pattern) or fnmatchcase(name, f"*/{pattern}")


def _run(cases: Sequence[Case], update: bool, jobs: int) -> Iterator[Outcome]:
    """The outcomes, in the order of the cases."""
    from nfv.testing.run import run

    if jobs == 1:
        yield from (run(case, update) for case in cases)
        return
    with ProcessPoolExecutor(jobs, get_context("fork")) as pool:
        yield from pool.map(partial(run, recording=update), cases)


def _settled(outcome: Outcome, update: bool, format_: Format) -> Outcome:
    """Show an outcome, and keep or record what arrived; what remains wrong."""
    from nfv.testing import keep, report

    table = format_ == "table"
    if table:
        word, colour = ("ok  ", "green") if outcome.passed else ("FAIL", "red")
        mark = click.style(word, fg=colour, bold=True)
        click.echo(f"{mark}  {outcome.case.name}  {outcome.seconds:.1f} s")
        for line in report.details(outcome):
            click.echo(f"      {line}")
    if update:
        outcome, recorded = keep.record(outcome)
        for path in recorded:
            failure.hint(f"recorded {path}")
    for path in keep.actual(outcome):
        if table:
            click.echo(f"      arrived: {path}")
    return outcome
