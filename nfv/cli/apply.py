"""nfvctl apply."""

from __future__ import annotations

import click

from nfv.cli import arguments, changes, failure, output
from nfv.cli.output import Format
from nfv.cli.progress import Progress

MAX_WARNINGS = 5
"""That are shown; `nfvctl validate` shows all."""


@click.command
@arguments.topology_argument
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@output.format_option
def command(topology: str, quiet: bool, format_: Format) -> None:
    """Make what runs the same as what is declared.

    Only what differs is touched, and connections, learnt neighbours and counters are kept. If a
    step fails, or on Ctrl-C, everything is put back as it was. Prints what was done, as plan does.

    \b
    Examples:
      sudo nfvctl apply branch.yaml
      sudo nfvctl apply -q branch.yaml
      generate-topology | sudo nfvctl apply -
      sudo nfvctl apply branch         # mend what runs, as it was applied last
    """
    arguments.require_root("building chains takes root")
    from nfv.dataplane.change import engine

    declared = arguments.read(topology)
    if not quiet:
        failure.show_warnings(declared, MAX_WARNINGS)
    with Progress(quiet) as progress:
        plan = engine.apply(declared, progress, progress.waiting)
    if not quiet:
        changes.show(plan, changes.done(plan), format_)
