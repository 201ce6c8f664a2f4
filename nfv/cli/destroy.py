"""nfvctl destroy."""

from __future__ import annotations

import sys

import click

from nfv.cli import arguments, failure
from nfv.cli.progress import Progress
from nfv.errors import ExitCode, InputError, NfvError


@click.command
@click.argument(
    "topology", metavar="[TOPOLOGY]", required=False, shell_complete=arguments.complete_applied
)
@click.option("--all", "everything", is_flag=True, help="Destroy all topologies; asks first.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.pass_context
def command(
    context: click.Context, topology: str | None, everything: bool, yes: bool, quiet: bool
) -> None:
    """Remove an applied topology and everything made for it.

    Only what bears the topology's mark is removed; devices that existed before are given back as
    they were. Also removes what a crash left of a topology. If something cannot be removed, it is
    listed with the command that clears it, and the exit code is 4.

    \b
    Examples:
      sudo nfvctl destroy branch
      sudo nfvctl destroy branch.yaml
      sudo nfvctl destroy --all -y
    """
    if (topology is None) != everything:
        raise click.UsageError("give either TOPOLOGY or --all", context)
    arguments.require_root("removing chains takes root")
    from nfv.dataplane import state

    if topology is not None:
        _destroy(arguments.name_of(topology), quiet)
        return
    names = state.names()
    if not names:
        click.echo("Nothing is applied.", err=True)
    elif not yes:
        _ask(names)
    context.exit(max((_attempt(name, quiet) for name in names), default=ExitCode.OK))


def _ask(names: list[str]) -> None:
    if not sys.stdin.isatty():
        raise InputError("--all asks first, and there is no terminal to ask on", "add -y")
    click.confirm(f"Destroy {', '.join(names)}?", abort=True, err=True)


def _attempt(name: str, quiet: bool) -> int:
    """Destroy one of several; what fails must not keep the others."""
    try:
        _destroy(name, quiet)
    except NfvError as error:
        if error.exit_code == ExitCode.INTERRUPTED:
            raise
        return failure.show(error, debug=False)
    return ExitCode.OK


def _destroy(name: str, quiet: bool) -> None:
    from nfv.dataplane.change import engine

    with Progress(quiet) as progress:
        engine.destroy(name, progress, progress.waiting)
    if not quiet:
        click.echo(f"Destroyed {name}.")
