"""A plan as the user reads it: a line for each part of the topology that differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nfv.cli import output
from nfv.cli.output import Format

if TYPE_CHECKING:
    from nfv.dataplane.change.plan import Line, Plan

_VERBS = {"+": "add", "~": "change", "-/+": "replace", "-": "remove"}
_DONE = {"add": "added", "change": "changed", "replace": "replaced", "remove": "removed"}
_COLOURS = {"+": "green", "~": "yellow", "-/+": "magenta", "-": "red"}


def show(plan: Plan, closing: str, format_: Format) -> None:
    """Print the lines of a plan, and the closing line where there are any."""
    if format_ != "table":
        output.document(_plain(plan), format_)
    elif plan.empty:
        click.echo("No changes.")
    else:
        if plan.lines:
            click.echo(output.columns([_cells(line) for line in plan.lines]))
        click.echo(closing)


def pending(plan: Plan) -> str:
    """The closing line of a plan that is to be carried out: "Plan: 1 to add, ..."."""
    return f"Plan: {_count(plan, {verb: f'to {verb}' for verb in _DONE})}."


def done(plan: Plan) -> str:
    """The closing line of a plan that has been carried out."""
    return f"Applied {plan.topology}: {_count(plan, _DONE)}."


def _count(plan: Plan, words: dict[str, str]) -> str:
    counts = _counts(plan)
    return ", ".join(
        f"{count} {words[verb]}" for verb, count in counts.items() if count or verb != "replace"
    )


def _counts(plan: Plan) -> dict[str, int]:
    symbols = [line.symbol.value for line in plan.lines]
    return {verb: symbols.count(symbol) for symbol, verb in _VERBS.items()}


def _cells(line: Line) -> tuple[str, ...]:
    symbol = line.symbol.value
    name = f"{line.name} ({line.type})" if line.type else line.name
    place = f"{line.position.file}:{line.position.line}" if line.position else ""
    mark = click.style(f"{symbol:>3}", fg=_COLOURS[symbol], bold=True)
    return mark, line.kind, name, place, line.mode, line.reason


def _plain(plan: Plan) -> dict[str, object]:
    return {
        "topology": plan.topology,
        "changes": [_plain_line(line) for line in plan.lines],
        "summary": _counts(plan),
    }


def _plain_line(line: Line) -> dict[str, object]:
    return {
        "action": _VERBS[line.symbol.value],
        "kind": line.kind,
        "name": line.name,
        "type": line.type or None,
        "reason": line.reason,
        "mode": line.mode or None,
        "file": line.position.file if line.position else None,
        "line": line.position.line if line.position else None,
    }
