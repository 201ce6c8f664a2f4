"""nfvctl validate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from nfv.cli import arguments, output
from nfv.cli.output import Format
from nfv.errors import ExitCode, Problem, TopologyError

if TYPE_CHECKING:
    from nfv.chain.topology import Topology


@click.command
@click.argument(
    "topologies",
    metavar="TOPOLOGY...",
    nargs=-1,
    required=True,
    shell_complete=arguments.complete_topology,
)
@output.format_option
@click.pass_context
def command(context: click.Context, topologies: tuple[str, ...], format_: Format) -> None:
    """Check topology files and report every mistake in them.

    Nothing is touched, and neither root nor bcc is needed. Exits with 3 if a file has a mistake.
    Warns of what is valid and hardly meant: rules that no packet reaches.

    \b
    Examples:
      nfvctl validate branch.yaml
      nfvctl validate topologies/*.yaml
      generate-topology | nfvctl validate -
      nfvctl validate --format json branch.yaml    # mistakes as data, for editors and CI
    """
    checked = [(text, _check(text)) for text in topologies]
    if format_ == "table":
        for text, outcome in checked:
            _show(text, outcome)
    else:
        output.document([_plain(text, outcome) for text, outcome in checked], format_)
    if any(isinstance(outcome, TopologyError) for _, outcome in checked):
        context.exit(ExitCode.BAD_INPUT)


def _check(text: str) -> Topology | TopologyError:
    try:
        return arguments.read(text)
    except TopologyError as error:
        return error


def _show(text: str, outcome: Topology | TopologyError) -> None:
    from nfv.cli import failure

    if isinstance(outcome, TopologyError):
        failure.show(outcome, debug=False)
        return
    failure.show_warnings(outcome)
    size = ", ".join(
        f"{len(part)} {what}{'' if len(part) == 1 else 's'}"
        for part, what in (
            (outcome.saps, "SAP"),
            (outcome.vnfs, "function"),
            (outcome.chains, "chain"),
        )
    )
    click.echo(f"{text}: valid: topology {outcome.name}, {size}")


def _plain(text: str, outcome: Topology | TopologyError) -> dict[str, object]:
    if not isinstance(outcome, TopologyError):
        return _answer(text, outcome.name, (), outcome.warnings())
    return _answer(text, None, outcome.problems, ())


def _answer(
    text: str, name: str | None, problems: Sequence[Problem], warnings: Sequence[Problem]
) -> dict[str, object]:
    return {
        "topology": text,
        "name": name,
        "valid": name is not None,
        "problems": [_problem(problem) for problem in problems],
        "warnings": [_problem(problem) for problem in warnings],
    }


def _problem(problem: Problem) -> dict[str, object]:
    return {
        "file": problem.position.file,
        "line": problem.position.line,
        "column": problem.position.column,
        "path": problem.path,
        "message": problem.message,
        "hint": problem.hint,
    }
