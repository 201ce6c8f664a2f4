"""nfvctl bench."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nfv.cli import arguments, failure, output
from nfv.cli.output import Format
from nfv.cli.quantity import Quantity
from nfv.errors import ExitCode, InputError

if TYPE_CHECKING:
    from nfv.dataplane.state import State

_TESTS = ("throughput", "latency", "frame-loss", "back-to-back", "mrr", "ndr-pdr", "connections")


def _saps(found: State) -> list[str]:
    return list(found.topology().saps)


@click.command
@click.argument(
    "topology", metavar="TOPOLOGY", required=False, shell_complete=arguments.complete_applied
)
@click.argument("near", metavar="FROM", required=False, shell_complete=arguments.completes(_saps))
@click.argument("far", metavar="TO", required=False, shell_complete=arguments.completes(_saps))
@click.option(
    "--test",
    "tests",
    type=click.Choice(_TESTS),
    multiple=True,
    default=("throughput", "latency"),
    help="What to measure; may be given several times. By default throughput and latency.",
)
@click.option(
    "--size",
    "sizes",
    metavar="BYTES|imix",
    multiple=True,
    help="Frame size with FCS; may be given several times.",
)
@click.option("--profile", type=click.Path(path_type=Path), help="YAML file of the traffic.")
@click.option(
    "--seconds",
    type=click.FloatRange(0.01, 3600),
    default=1.0,
    show_default=True,
    help="Duration of a trial.",
)
@click.option(
    "--wait",
    type=click.FloatRange(0, 60),
    default=0.2,
    show_default=True,
    metavar="SECONDS",
    help="A trial ends when nothing has arrived for so long.",
)
@click.option(
    "--repeat", type=click.IntRange(1), default=3, show_default=True, help="Trials to average."
)
@click.option(
    "--width",
    type=click.FloatRange(0.01, 50),
    default=1.0,
    show_default=True,
    metavar="PERCENT",
    help="How exactly rates are found.",
)
@click.option(
    "--connections",
    type=click.IntRange(1, 1 << 20),
    default=50_000,
    show_default=True,
    metavar="N",
    help="How many are opened for --test connections.",
)
@click.option("--max-pps", type=Quantity(), help="Never send more, such as 14.88M.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, writable=True, dir_okay=False),
    metavar="FILE",
    help="Write a report with charts, too.",
)
@click.option(
    "--compare",
    type=click.Path(path_type=Path),
    nargs=2,
    metavar="OLD NEW",
    help="Measure nothing: compare two results in JSON.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1000),
    default=(10.0, 50.0),
    show_default=True,
    nargs=2,
    metavar="RATES TIMES",
    help="By how many percent rates and times of frames may be worse in NEW.",
)
@output.format_option
@click.pass_context
def command(
    context: click.Context,
    topology: str | None,
    near: str | None,
    far: str | None,
    tests: tuple[str, ...],
    sizes: tuple[str, ...],
    profile: Path | None,
    seconds: float,
    wait: float,
    repeat: int,
    width: float,
    connections: int,
    max_pps: float | None,
    html: Path | None,
    compare: tuple[Path, Path] | None,
    tolerance: tuple[float, float],
    format_: Format,
) -> None:
    """Measure what passes from one SAP to another: rates, loss and latency.

    Frames are made and sent into the chains at FROM, as if what is behind that SAP had sent them,
    and are counted where they leave at TO. What is between, the chains or a device that they lead
    to, is the device under test. Tests are those of RFC 2544, the maximum receive rate, NDR and
    PDR by MLRsearch, and TCP connections. Frame sizes count the FCS.

    While a trial lasts, one CPU does nothing but send, and what it sends to runs on the same CPU
    unless a NIC is between. A rate that could not be sent is never a result.

    With --compare, the exit code is 1 if a figure of NEW is worse than in OLD, or missing.

    \b
    Examples:
      sudo nfvctl bench branch lan wan
      sudo nfvctl bench branch lan wan --test mrr --size 64 --size imix --seconds 0.2
      sudo nfvctl bench branch lan wan --test ndr-pdr --size 64 --format json > result.json
      sudo nfvctl bench branch lan wan --test frame-loss --html report.html
      sudo nfvctl bench branch lan wan --test connections --connections 20000
      sudo nfvctl bench branch lan wan --profile many-flows.yaml --max-pps 1.488M
      nfvctl bench --compare old.json new.json --tolerance 5 30
    """
    if compare:
        if topology:
            raise click.UsageError("--compare measures nothing: leave out TOPOLOGY")
        context.exit(_compare(compare, tolerance, format_))
    if topology is None or near is None or far is None:
        raise click.UsageError("name a topology, and two of its SAPs: TOPOLOGY FROM TO", context)
    from nfv.bench.plan import Plan
    from nfv.bench.result import plain
    from nfv.cli import benchrun
    from nfv.dataplane.load.fitting import Setup

    applied = arguments.attended(topology)
    for name in (near, far):
        arguments.check_part(name, applied.topology().saps, applied.name)
    if near == far:
        raise InputError("frames are sent from a SAP to another one", "name two")
    setup = Setup(near, far, benchrun.profile(profile, sizes), seconds, wait)
    plan = Plan(tests, seconds, repeat, width / 100, max_pps)
    result = benchrun.result(applied, setup, plan, connections)
    if html:
        from nfv.bench.report import page

        html.write_text(page(plain(result)))
    if format_ == "table":
        from nfv.cli import benchtables

        click.echo(benchtables.tables(result))
    else:
        output.document(plain(result), format_)
    if not result.complete:
        context.exit(ExitCode.INTERRUPTED)


def _compare(paths: tuple[Path, Path], tolerance: tuple[float, float], format_: Format) -> int:
    """Print how the figures of two results differ; the exit code."""
    from nfv.bench.compare import Tolerance, compare, differences, read
    from nfv.cli import benchtables

    old, new = (read(path) for path in paths)
    rates, times = tolerance
    found = compare(old, new, Tolerance(rates / 100, times / 100))
    for difference in differences(old, new):
        failure.warn(InputError(f"the results differ in {difference}"))
    if format_ == "table":
        click.echo(benchtables.comparison(found))
    else:
        output.document([asdict(one) | {"ratio": one.ratio} for one in found], format_)
    return ExitCode.FAILED if any(one.worse for one in found) else ExitCode.OK
