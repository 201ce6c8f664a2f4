"""nfvctl graph."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import click

from nfv.cli import arguments, rates
from nfv.errors import InputError, NfvError

if TYPE_CHECKING:
    from nfv.chain.drawing import Note
    from nfv.dataplane.statistics import Statistics

_PATIENCE = 60.0  # seconds for Graphviz


@click.command
@arguments.topology_argument
@click.option(
    "--format",
    "format_",
    type=click.Choice(["mermaid", "dot", "svg"]),
    default="mermaid",
    show_default=True,
    help="The language of the picture; svg needs Graphviz.",
)
@click.option("--live", is_flag=True, help="Show packet rates and drops of what is applied.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    default=1.0,
    show_default=True,
    help="Time that the rates of --live are counted in.",
)
def command(
    topology: str, format_: Literal["mermaid", "dot", "svg"], live: bool, interval: float
) -> None:
    """Draw a topology: its SAPs, functions, and the chains that join them.

    With --live, each SAP shows what enters and leaves the chains there and what of it is dropped,
    in packets and bits a second, and each function why packets ended there; where packets are
    dropped is marked. Without, nothing has to be applied, and no root is needed for a file.

    \b
    Examples:
      nfvctl graph branch.yaml > branch.mmd
      nfvctl graph branch.yaml --format svg > branch.svg
      sudo nfvctl graph branch --live --interval 5
    """
    from nfv.chain.drawing import dot, draw, mermaid

    declared = arguments.stored(topology).topology() if live else arguments.read(topology)
    drawing = draw(declared, _notes(topology, interval) if live else {})
    if format_ == "mermaid":
        click.echo(mermaid(drawing), nl=False)
    elif format_ == "dot":
        click.echo(dot(drawing), nl=False)
    else:
        click.echo(_svg(dot(drawing)), nl=False)


def _notes(topology: str, interval: float) -> dict[str, Note]:
    """What an applied topology counts within an interval, by SAP and function."""
    from nfv.chain.drawing import Note
    from nfv.dataplane import statistics

    applied = arguments.attended(topology)
    earlier = statistics.read(applied)
    time.sleep(interval)
    counted = statistics.read(applied).since(earlier)
    notes = {}
    for name in counted.topology.saps:
        lines, dropped = list(_sap_lines(counted, name)), counted.ports[name].dropped.packets
        notes[name] = Note(lines, alarm=dropped > 0)
    for name, vnf in counted.vnfs.items():
        ended = [
            f"{reason} {rates.packets(count, counted.moment)} pps"
            for reason, count in vnf.ended.items()
            if reason != statistics.FORWARDED
        ]
        notes[name] = Note(ended, alarm=statistics.dropped(vnf.ended).packets > 0)
    return notes


def _sap_lines(counted: Statistics, name: str) -> Iterator[str]:
    port, seconds = counted.ports[name], counted.moment
    for word, count in (("in", port.entered), ("out", port.sent)):
        yield f"{word} {rates.packets(count, seconds)} pps, {rates.bits(count, seconds)}bit/s"
    if port.dropped.packets:
        yield f"dropped {rates.packets(port.dropped, seconds)} pps"


def _svg(text: str) -> str:
    try:
        done = subprocess.run(
            ["dot", "-Tsvg"], input=text, capture_output=True, text=True, timeout=_PATIENCE
        )
    except FileNotFoundError as error:
        raise InputError("SVG is drawn by Graphviz", "apt-get install graphviz") from error
    if done.returncode:
        raise NfvError(f"Graphviz failed: {done.stderr.strip()}")
    return done.stdout
