"""nfvctl capture."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from nfv.cli import arguments, output, sinks
from nfv.cli.output import Format
from nfv.cli.progress import Progress
from nfv.cli.stopping import Stop, stopping
from nfv.errors import KernelError

if TYPE_CHECKING:
    from nfv.cli.sinks import Sink
    from nfv.dataplane.observe.capture import Capture, Count, Wanted
    from nfv.dataplane.state import State

_LONGEST = 262144  # bytes kept of a frame, as tcpdump has it


class _Points(click.ParamType):  # type: ignore[type-arg]
    """Points with commas between."""

    name = "points"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        return list(dict.fromkeys(filter(None, value.split(","))))


def _names(applied: State) -> list[str]:
    from nfv.chain import point

    return point.names(applied.topology())


@click.command
@arguments.applied_argument
@click.argument(
    "points", metavar="POINT[,POINT...]", type=_Points(), shell_complete=arguments.completes(_names)
)
@click.argument("words", metavar="[FILTER]...", nargs=-1)
@click.option(
    "-w",
    "--write",
    "file",
    metavar="FILE",
    help='Write a pcapng file; "-" is standard output.',
    type=click.Path(dir_okay=False, allow_dash=True),
)
@click.option(
    "-c", "--count", type=click.IntRange(min=1), metavar="COUNT", help="End after so many packets."
)
@click.option(
    "-s",
    "--snaplen",
    type=click.IntRange(1, _LONGEST),
    default=_LONGEST,
    metavar="BYTES",
    help="Keep so many bytes of each packet; by default all.",
)
@click.option(
    "--direction",
    type=click.Choice(["in", "out", "both"]),
    default="both",
    show_default=True,
    help="Which way packets go at the point.",
)
@output.format_option
def command(
    topology: str,
    points: list[str],
    words: tuple[str, ...],
    file: str | None,
    count: int | None,
    snaplen: int,
    direction: str,
    format_: Format,
) -> None:
    """Show or write the packets that pass somewhere in the chains.

    POINT is a SAP (lan), an interface (gw:lan), or what lies between two neighbours on a path
    (fw..gw; inside/fw..gw for one chain alone). At a SAP, packets that enter the chains go in; at
    an interface, those that its function receives; at fw..gw, those on the way from fw to gw. All
    others go out.

    Each packet is there as it is at that point, with what functions before it have changed, and
    with what became of it: also what a program dropped, which tcpdump cannot see.

    FILTER is an expression as tcpdump has it. Without -w there is a line for each packet, in
    tcpdump's words. Ends by Ctrl-C or after COUNT packets. What was lost because packets came
    faster than they were read is counted, in the file as well; the chains lose nothing.

    \b
    Examples:
      sudo nfvctl capture branch gw:lan
      sudo nfvctl capture branch fw..gw tcp port 80 -c 10
      sudo nfvctl capture branch lan,wan -w both.pcapng
      sudo nfvctl capture branch lan --direction in --format json
      sudo nfvctl capture branch gw:wan -w - | wireshark -k -i -
    """
    from nfv.dataplane.observe.capture import Wanted
    from nfv.traffic.filter import Filter
    from nfv.traffic.pcapngwriter import Flow

    flows = {"in": [Flow.IN], "out": [Flow.OUT], "both": [Flow.IN, Flow.OUT]}[direction]
    wanted = Wanted(points, Filter(" ".join(words)), frozenset(flows), snaplen, count)
    if file is not None and format_ != "table":
        raise click.UsageError("-w and --format exclude each other", click.get_current_context())
    applied = arguments.attended(topology)
    with sinks.sink(wanted, file, format_) as sink, stopping() as stop:
        counts = _run(applied, wanted, sink, stop)
    for name, one in zip(points, counts, strict=True):
        click.echo(
            f"{one.captured:,} packets captured at {name}, {one.lost:,} lost",
            err=True,
        )


def _run(applied: State, wanted: Wanted, sink: Sink, stop: Stop) -> list[Count]:
    from nfv.dataplane.observe.capture import Capture

    try:
        with Capture(applied, wanted, Progress(False).waiting) as capture:
            stop.begun = True
            sink.begin(capture.points)
            click.echo(f"capturing at {', '.join(wanted.points)}; Ctrl-C ends it", err=True)
            _pass_on(capture, sink, stop)
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise KernelError(f"the capture cannot be written: {error.strerror}") from error
    return capture.counts


def _pass_on(capture: Capture, sink: Sink, stop: Stop) -> None:
    """Until a signal or enough packets."""
    try:
        while not stop.asked and not capture.complete:
            sink.put(capture.read())
            if capture.renewed:
                click.echo("the topology has changed, and the capture goes on", err=True)
        sink.put(capture.rest())
    finally:
        sink.end(capture.counts)
