"""nfvctl trace --live: packets that pass, as they pass."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from nfv.cli import arguments, output, ways
from nfv.cli.output import Format
from nfv.cli.progress import Progress
from nfv.cli.stopping import Stop, stopping

if TYPE_CHECKING:
    from nfv.dataplane.observe.passing import Passed, Passing


def run(
    topology: str,
    text: str,
    sap: str | None,
    count: int | None,
    seconds: float | None,
    format_: Format,
) -> None:
    """Trace packets that match a filter until a signal, or enough of them, or enough time."""
    from nfv.dataplane.observe.passing import Passing, Wanted
    from nfv.traffic.filter import Filter

    chosen = Filter(text)
    applied = arguments.attended(topology)
    if sap is not None:
        arguments.check_part(sap, applied.topology().saps, applied.name)
    wanted = Wanted(chosen, sap, count)
    with stopping() as stop, Passing(applied, wanted, Progress(False).waiting) as passing:
        stop.begun = True
        click.echo(f"tracing packets of {applied.name}; Ctrl-C ends it", err=True)
        try:
            _follow(passing, stop, seconds, format_)
        except BrokenPipeError:  # whoever read has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    packets = "packet" if passing.traced == 1 else "packets"
    click.echo(f"{passing.traced:,} {packets} traced, {passing.lost:,} notes lost", err=True)


def _follow(passing: Passing, stop: Stop, seconds: float | None, format_: Format) -> None:
    ends = float("inf") if seconds is None else time.monotonic() + seconds
    while not stop.asked and not passing.complete and time.monotonic() < ends:
        _show(passing.read(), format_)
        if passing.renewed:
            click.echo("the topology has changed, and the trace goes on", err=True)
    _show(passing.rest(), format_)


def _show(found: Iterable[Passed], format_: Format) -> None:
    for one in found:
        moment = output.iso(one.moment)
        if format_ == "table":
            click.secho(moment, bold=True)
            ways.show(one.explanation)
            click.echo()
        else:
            output.item({"time": moment, **ways.plain(one.explanation)}, format_)
    sys.stdout.flush()
