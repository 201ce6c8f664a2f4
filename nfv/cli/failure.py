"""What the user reads when a command fails, and the exit code that goes with it."""

from __future__ import annotations

import shlex
import sys
import traceback
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from nfv.cli import output
from nfv.errors import ExitCode, LeftoverError, NfvError, TopologyError

if TYPE_CHECKING:
    from nfv.chain.topology import Topology


def show(error: NfvError, debug: bool) -> int:
    """An error meant for the user."""
    if debug:
        traceback.print_exception(error)
    if isinstance(error, TopologyError):
        from nfv.chain.report import format_problem

        for problem in error.problems:
            _echo(format_problem(problem))
    _say(error.message, error.hint)
    if isinstance(error, LeftoverError):
        _echo("remaining, each with the command that clears it:")
        for thing, command in error.leftovers:
            _echo(f"  {thing}\n    {command}")
    return error.exit_code


def show_warnings(topology: Topology, most: int | None = None) -> None:
    """What is valid in a topology, and hardly meant; of more than `most` how many there are."""
    from nfv.chain.report import format_problem

    found = topology.warnings()
    for problem in found[:most]:
        _echo(format_problem(problem, "warning"))
    if most is not None and len(found) > most:
        _echo(f"{len(found) - most} more warnings: nfvctl validate shows them")


def show_misuse(error: click.ClickException) -> int:
    """A command line that click does not understand."""
    message = error.format_message().rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    _say(message[:1].lower() + message[1:], f"{context.command_path} --help" if context else None)
    return ExitCode.BAD_INPUT


def show_interruption() -> int:
    """The user stopped the command where nothing was being changed."""
    _echo("interrupted")
    return ExitCode.INTERRUPTED


def show_bug(error: Exception, debug: bool) -> int:
    """An exception that nobody foresaw."""
    if debug:
        traceback.print_exception(error)
    again = shlex.join(["nfvctl", "--debug", *sys.argv[1:]])
    _say(
        f"this is a bug in nfvctl: {type(error).__name__}: {error}",
        None if debug else f"{again} shows where; please report it",
    )
    return ExitCode.FAILED


def unknown(what: str, word: str, known: Iterable[str]) -> click.UsageError:
    """A word that is none of those known, with the closest of them."""
    from nfv.chain.report import did_you_mean

    closest = did_you_mean(word, known)
    message = f"no {what} '{word}'" + (f", {closest}" if closest else "")
    return click.UsageError(message, click.get_current_context())


def warn(error: NfvError) -> None:
    """An error that the command goes on past."""
    _echo(f"{click.style('warning:', fg='yellow', bold=True)} {error.message}")
    if error.hint:
        hint(error.hint)


def _say(message: str, help_: str | None) -> None:
    _echo(f"{click.style('error:', fg='red', bold=True)} {message}")
    if help_:
        hint(help_)


def hint(text: str) -> None:
    """What the user can do."""
    _echo(f"{click.style('hint:', fg='cyan')} {text}")


def _echo(text: str) -> None:
    click.echo(text, err=True, color=output.colour())
