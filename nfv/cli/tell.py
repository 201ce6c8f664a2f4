"""nfvctl tell."""

from __future__ import annotations

import click

from nfv.cli import arguments, output
from nfv.cli.output import Format


@click.command
@arguments.applied_argument
@click.argument("name", shell_complete=arguments.completes(arguments.told))
@click.argument("request")
@click.argument("values", metavar="[KEY=VALUE]...", nargs=-1)
@output.format_option
def command(
    topology: str, name: str, request: str, values: tuple[str, ...], format_: Format
) -> None:
    """Have a function do something.

    NAME is a function whose page in docs/functions says what it can be told. What was done is
    printed.

    \b
    Examples:
      sudo nfvctl tell branch dhcp release ip=10.0.1.100
      sudo nfvctl tell branch floor flush port=3
      sudo nfvctl tell branch fw forget proto=tcp src=10.0.1.0/24
    """
    from nfv.dataplane.resident import agentctl, servicectl

    applied = arguments.stored(topology)
    arguments.check_part(name, arguments.told(applied), applied.name)
    given = dict(arguments.pair(text) for text in values)
    if applied.topology().vnfs[name].service:
        rows = servicectl.rows(applied.name, name, request, **given)
    else:
        rows = agentctl.tell(applied.name, name, request, given)
    if format_ == "table":
        click.echo(output.records(rows))
    else:
        output.document(rows, format_)
