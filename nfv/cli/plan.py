"""nfvctl plan."""

from __future__ import annotations

import click

from nfv.cli import arguments, changes, output
from nfv.cli.output import Format
from nfv.errors import ExitCode


@click.command
@arguments.topology_argument
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 if there are changes.")
@output.format_option
@click.pass_context
def command(
    context: click.Context, topology: str, detailed_exitcode: bool, format_: Format
) -> None:
    """Show what apply would change, and change nothing.

    What is declared is compared with what really runs. A line for each difference: + is added,
    ~ changed, - removed, -/+ removed and made anew; with the reason and the place in the file. A
    change marked [live] only touches tables; one marked [reload] exchanges programs as well, while
    packets keep flowing.

    \b
    Examples:
      sudo nfvctl plan branch.yaml
      sudo nfvctl plan --detailed-exitcode branch.yaml    # 2: differs, 0: does not
      sudo nfvctl plan branch                             # what does not run as it was applied
    """
    arguments.require_root("comparing with what runs takes root")
    from nfv.dataplane.change import engine

    found = engine.plan(arguments.read(topology))
    changes.show(found, changes.pending(found), format_)
    if detailed_exitcode and not found.empty:
        context.exit(ExitCode.CHANGES_PENDING)
