"""Data on standard output: tables for people, JSON and YAML for programs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

import click

_WIDTH = 100  # of tables, where there is no terminal
_NANOSECONDS = 1_000_000_000

Format = Literal["table", "json", "yaml"]

format_option: Callable[[Any], Any] = click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="How to print.",
)


def colour() -> bool | None:
    """Whether to write in colour: no if NO_COLOR is set, else None, which means on a terminal."""
    return False if os.environ.get("NO_COLOR") else None


def document(data: object, format_: Format) -> None:
    """Print plain data (dict, list, str, int, float, bool, None) as one JSON or YAML document."""
    if format_ == "yaml":
        import yaml

        click.echo(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), nl=False)
    else:
        import json

        click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def item(data: object, format_: Format) -> None:
    """Print plain data as one item of a stream: a line of JSON, or a YAML document."""
    if format_ == "yaml":
        click.echo("---")
        document(data, format_)
    else:
        import json

        click.echo(json.dumps(data, ensure_ascii=False))


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()
) -> str:
    """Rows under a header, "" if there are none; columns titled in `right` are flush right."""
    if not rows:
        return ""
    flush = [index for index, title in enumerate(header) if title in right]
    return columns([[click.style(title, bold=True) for title in header], *rows], flush)


def records(rows: Sequence[Mapping[str, object]]) -> str:
    """Plain data as a table, without the keys that no row has a value for; "" if there is none."""
    if not rows:
        return ""
    keys = [key for key in rows[0] if any(row[key] is not None for row in rows)]
    header = [key.replace("_", " ").upper() for key in keys]
    return table(header, [[cell(row[key]) for key in keys] for row in rows])


def cell(value: object) -> str:
    """A value of plain data as a table shows it."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(cell, value))
    return "" if value is None else str(value)


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Rows of cells, styled by click; a column that is empty is left out.

    What is too wide for the terminal, or for 100 columns elsewhere, goes on in the line below, but
    not what is flush right: numbers.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    filled = [index for index, column in enumerate(zip(*rows, strict=True)) if any(column)]
    for index in filled:
        is_number = index in right
        justify: Literal["right", "left"] = "right" if is_number else "left"
        grid.add_column(justify=justify, overflow="fold", no_wrap=is_number)
    for row in rows:
        grid.add_row(*(Text.from_ansi(row[index]) for index in filled))
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    with console.capture() as capture:
        console.print(grid)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def state(text: str) -> str:
    """The state of something: green if it is up, red otherwise."""
    return click.style(text, fg="green" if text == "up" else "red")


def shortened(text: str, width: int) -> str:
    """Text cut to so many characters."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def iso(moment: int) -> str:
    """Nanoseconds since the epoch as RFC 3339 has times, in UTC."""
    seconds, fraction = divmod(moment, _NANOSECONDS)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction:09}Z"
