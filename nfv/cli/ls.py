"""nfvctl ls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nfv.cli import arguments, output
from nfv.cli.output import Format

if TYPE_CHECKING:
    from nfv.dataplane.state import State


@click.command
@output.format_option
def command(format_: Format) -> None:
    """List the topologies that are applied.

    \b
    Examples:
      sudo nfvctl ls
      sudo nfvctl ls --format json | jq -r '.[].name'
    """
    arguments.require_root("only root can read what is applied")
    from nfv.dataplane import state

    applied = [found for name in state.names() if (found := state.load(name))]
    topologies = [_plain(one) for one in applied]
    if format_ != "table":
        output.document(topologies, format_)
        return
    header = ("NAME", "SAPS", "FUNCTIONS", "CHAINS", "AGENT", "FILE")
    rows = [[_cell(value) for value in topology.values()] for topology in topologies]
    click.echo(output.table(header, rows, right=header[1:4]) or "Nothing is applied.", err=not rows)


def _plain(applied: State) -> dict[str, object]:
    from nfv.dataplane import inspection

    topology = applied.topology()
    agent = inspection.agent(applied.name)
    return {
        "name": applied.name,
        "saps": len(topology.saps),
        "vnfs": len(topology.vnfs),
        "chains": len(topology.chains),
        "agent": agent.pid if agent else None,
        "file": applied.file,
    }


def _cell(value: object) -> str:
    return output.state("is gone") if value is None else str(value)
