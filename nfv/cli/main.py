"""The command nfvctl: its verbs, and how every run of it ends."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass

import click

from nfv import __version__
from nfv.cli import failure, output
from nfv.errors import ExitCode, NfvError

VERBS = {
    "Declare": ("validate", "graph", "render", "schema", "import"),
    "Change": ("plan", "apply", "destroy"),
    "Observe": ("ls", "inspect", "stats", "exec", "tell"),
    "Test bench": ("trace", "capture", "replay", "test", "bench"),
    "This machine": ("doctor", "completion"),
}
"""Verbs by the section of the help that lists them; each is imported when it is needed."""


@dataclass
class Session:
    """What one run was asked for, besides its verb."""

    debug: bool = False


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [verb for verbs in VERBS.values() for verb in verbs]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"nfv.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        verb = args[0]
        if not verb.startswith("-") and verb not in self.list_commands(ctx):
            raise failure.unknown("verb", verb, self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, verbs in VERBS.items():
            commands = [(verb, self.get_command(ctx, verb)) for verb in verbs]
            with formatter.section(section):
                formatter.write_dl(
                    [(verb, found.get_short_help_str(70)) for verb, found in commands if found]
                )


@click.group(
    cls=_Group,
    invoke_without_command=True,
    subcommand_metavar="VERB ...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`nfvctl VERB --help` explains a verb, with examples.",
)
@click.version_option(__version__, message="nfvctl %(version)s")
@click.option("--debug", is_flag=True, help="Show where in the code an error arose.")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Build and run the service chains that a topology file declares.

    TOPOLOGY is a file, "-" for standard input, or the name of a topology that is applied.

    \b
    Exit codes:
      0    done
      1    failed; what had been changed was put back
      2    changes are pending (only plan --detailed-exitcode)
      3    bad input; nothing was touched
      4    failed, and something remains: it is listed with the command that clears it
      5    no test matched (only test)
      130  interrupted; what had been changed was put back
    """
    context.obj.debug = debug
    context.color = output.colour()
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(ExitCode.BAD_INPUT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, without the program's name; return the exit code."""
    session = Session()
    try:
        return cli.main(arguments, "nfvctl", standalone_mode=False, obj=session) or ExitCode.OK
    except click.ClickException as error:
        return failure.show_misuse(error)
    except (KeyboardInterrupt, click.Abort):
        return failure.show_interruption()
    except NfvError as error:
        return failure.show(error, session.debug)
    except Exception as error:
        return failure.show_bug(error, session.debug)
