"""nfvctl render."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nfv.cli import arguments, failure, output
from nfv.cli.output import Format

if TYPE_CHECKING:
    from nfv.ebpf.compose import Unit
    from nfv.ebpf.render import Rendered


@click.command
@arguments.topology_argument
@click.argument("attachment", required=False)
@output.format_option
def command(topology: str, attachment: str | None, format_: Format) -> None:
    """Print the C that a topology is compiled to.

    Every place where packets enter (ATTACHMENT: a SAP, or an interface like gw:lan) has a program.
    Places of the same structure share a text; a comment before each text says which do, and what
    is bound to its names and link constants when it is loaded. With ATTACHMENT, only the text of
    that place is printed, exactly as it is compiled.

    Nothing is touched, and neither root nor bcc is needed.

    \b
    Examples:
      nfvctl render branch.yaml
      nfvctl render branch.yaml gw:lan > entry.c
      nfvctl render --format json branch.yaml
    """
    from nfv.ebpf.render import render

    texts = render(arguments.read(topology))
    if attachment is not None:
        texts = [_find(texts, attachment)]
    if format_ != "table":
        output.document([_plain(rendered) for rendered in texts], format_)
    elif attachment is not None:
        click.echo(texts[0].text, nl=False)
    else:
        for rendered in texts:
            click.echo(f"{_heading(rendered)}\n{rendered.text}")


def _find(texts: list[Rendered], attachment: str) -> Rendered:
    by_place: dict[str, Rendered] = {}
    for rendered in texts:  # what is attached comes before what only others jump to
        for place in rendered.bindings:
            by_place.setdefault(str(place), rendered)
    if attachment not in by_place:
        raise failure.unknown("attachment", attachment, by_place)
    return by_place[attachment]


def _heading(rendered: Rendered) -> str:
    lines = [f"/* {rendered.digest}: {', '.join(rendered.programs)}"]
    for place, unit in rendered.bindings.items():
        bound = _bound(unit)
        lines += [f" * {place}", *(f" *   {name} = {what}" for name, what in bound.items())]
    return "\n".join([*lines, " */"])


def _bound(unit: Unit) -> dict[str, str]:
    """What stands behind the prefixes and link constants of a text, at one place."""
    instances = {
        f"{prefix}_": f"function {vnf}" if vnf else "classifier of this place"
        for prefix, vnf in unit.instances.items()
    }
    links = {
        f"NF_LINK({number})": f"{link.kind} {link.attachment}"
        for number, link in enumerate(unit.links)
    }
    return {**instances, **links}


def _plain(rendered: Rendered) -> dict[str, object]:
    return {
        "digest": rendered.digest,
        "programs": list(rendered.programs),
        "attachments": {str(place): _bound(unit) for place, unit in rendered.bindings.items()},
        "text": rendered.text,
    }
