"""Data on standard output: tables for people, JSON and YAML for programs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Literal

import click

Format = Literal["table", "json", "yaml"]

format_option: Callable[[Any], Any] = click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="How to print.",
)


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
    header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Collection[str] = ()
) -> str:
    """Rows under a header, as wide as they need; columns titled in `right` are flush right."""
    bold = [click.style(title, bold=True) for title in header]
    cells = [bold, *rows]
    if len(cells) == 1:
        return ""
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    flush = [title in right for title in header]
    return "\n".join(_row(row, widths, flush) for row in cells)


def state(text: str) -> str:
    """The state of something: green if it is up, red otherwise."""
    return click.style(text, fg="green" if text == "up" else "red")


def shortened(text: str, width: int) -> str:
    """Text cut to so many characters."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _row(row: Sequence[str], widths: Sequence[int], flush: Sequence[bool]) -> str:
    parts = []
    for cell, width, is_right in zip(row, widths, flush, strict=True):
        blank = " " * (width - _width(cell))
        parts.append(blank + cell if is_right else cell + blank)
    return "  ".join(parts).rstrip()


def _width(cell: str) -> int:
    return len(click.unstyle(cell))
