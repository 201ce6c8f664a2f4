"""nfvctl stats."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from nfv.cli import arguments, counts, output
from nfv.cli.output import Format

if TYPE_CHECKING:
    from nfv.dataplane.statistics import Statistics


@click.command
@arguments.applied_argument
@click.argument("name", required=False, shell_complete=arguments.completes(arguments.parts))
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="Show what each interval counted, until Ctrl-C.",
)
@click.option(
    "--watch",
    type=click.FloatRange(min=0.1),
    is_flag=False,
    flag_value=1.0,
    metavar="[SECONDS]",
    help="Show rates, anew every second or as often as said, until Ctrl-C.",
)
@output.format_option
def command(
    topology: str, name: str | None, interval: float | None, watch: float | None, format_: Format
) -> None:
    """Show how many packets and bytes went where.

    For each SAP what came in and went out; for each function the packets whose way ended there,
    with the reason, and the packets of each rule: those it decided, and all others of the
    connections it admitted. Bytes are those of Ethernet frames without FCS. With NAME, only what
    concerns that SAP or function, and how the packets that came in there ended.

    --watch shows the same as packets and bits a second, in place on a terminal, and otherwise one
    after the other: with --format json a line for each interval.

    \b
    Examples:
      sudo nfvctl stats branch
      sudo nfvctl stats branch fw
      sudo nfvctl stats branch --watch
      sudo nfvctl stats branch --interval 10 --format json >> branch.jsonl
    """
    if interval and watch:
        raise click.UsageError("--interval and --watch exclude each other")
    if watch:
        _watch(topology, name, watch, format_)
    elif interval:
        _repeat(topology, name, interval, format_)
    elif format_ == "table":
        click.echo(counts.tables(_read(topology, name), name, counts.TOTALS))
    else:
        output.document(_plain(_read(topology, name), counts.TOTALS), format_)


def _repeat(topology: str, name: str | None, seconds: float, format_: Format) -> None:
    """Print what each interval counted."""
    for counted in _intervals(topology, name, seconds):
        if format_ == "table":
            click.echo(f"\n{_moment(counted)}\n{counts.tables(counted, name, counts.TOTALS)}")
        else:
            output.item({"seconds": counted.moment, **_plain(counted, counts.TOTALS)}, format_)


def _watch(topology: str, name: str | None, seconds: float, format_: Format) -> None:
    """Show the rates of each interval."""
    with _screen() as show:
        for counted in _intervals(topology, name, seconds):
            unit = counts.per_second(counted.moment)
            if format_ == "table":
                show(f"{_moment(counted)}\n{counts.tables(counted, name, unit)}")
            else:
                output.item({"seconds": counted.moment, **_plain(counted, unit)}, format_)


def _intervals(topology: str, name: str | None, seconds: float) -> Iterator[Statistics]:
    """What was counted within each interval, without end."""
    last = _read(topology, name)
    while True:
        time.sleep(seconds)
        present = _read(topology, name)
        yield present.since(last)
        last = present


def _plain(counted: Statistics, unit: counts.Unit) -> dict[str, object]:
    from nfv.dataplane import plaincounts

    return plaincounts.plain(counted, unit.plain)


def _moment(counted: Statistics) -> str:
    moment = click.style(time.strftime("%H:%M:%S"), bold=True)
    return f"{moment}, within {counted.moment:.1f} s"


@contextmanager
def _screen() -> Iterator[Callable[[str], None]]:
    """A function that shows a text in place of the one before, if this is a terminal."""
    if not sys.stdout.isatty():
        yield lambda text: click.echo(f"\n{text}")
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(), auto_refresh=False, vertical_overflow="ellipsis") as live:
        yield lambda text: live.update(Text.from_ansi(text, no_wrap=True), refresh=True)


def _read(text: str, name: str | None) -> Statistics:
    """The counters of a topology, or of one SAP or function of it."""
    from nfv.dataplane import statistics

    applied = arguments.attended(text)
    counted = statistics.read(applied)
    if name is None:
        return counted
    arguments.check_part(name, arguments.parts(applied), applied.name)
    return replace(
        counted,
        ports={
            place: port for place, port in counted.ports.items() if place.partition(":")[0] == name
        },
        vnfs={vnf: counts for vnf, counts in counted.vnfs.items() if vnf == name},
    )
