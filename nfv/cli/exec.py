"""nfvctl exec."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from nfv.cli import arguments
from nfv.errors import InputError

if TYPE_CHECKING:
    from nfv.dataplane.state import State


def _places(applied: State) -> dict[str, str]:
    from nfv.dataplane import inspection

    return inspection.namespaces(applied)


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@arguments.applied_argument
@click.argument("name", shell_complete=arguments.completes(_places))
@click.argument("words", metavar="[--] COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(topology: str, name: str, words: tuple[str, ...]) -> None:
    """Run a command inside a topology.

    NAME is a SAP with a network namespace, or a function with one, which holds its addresses,
    routes and neighbours: a router, or a name server. The exit code is the command's.

    \b
    Examples:
      sudo nfvctl exec branch lan -- ping -c 3 192.0.2.254
      sudo nfvctl exec branch gw -- ip route
      sudo nfvctl exec branch gw -- tcpdump -ni lan
      sudo nfvctl exec branch dns -- ss -tulpn
      sudo nfvctl exec branch lan -- bash
    """
    command_line = words[1:] if words[0] == "--" else words
    if not command_line:
        raise click.UsageError("missing COMMAND after --", click.get_current_context())

    applied = arguments.attended(topology)
    inside = _entered_service(applied, name) or _entered(applied, name)
    try:
        os.execvp(inside[0], [*inside, *command_line])
    except FileNotFoundError as error:
        message = f"the command {inside[0]} is missing"
        raise InputError(message, "apt-get install iproute2 util-linux") from error


def _entered(applied: State, name: str) -> list[str]:
    """The words before a command that runs in a namespace with a name."""
    from nfv.dataplane.kernel import netns

    places = _places(applied)
    arguments.check_part(name, places, applied.name)
    place = places[name]
    if not netns.exists(place):
        raise InputError(
            f"the network namespace {place} is gone", f"`nfvctl apply {applied.name}` mends it"
        )
    return ["ip", "netns", "exec", place]


def _entered_service(applied: State, name: str) -> list[str]:
    """The same for the namespace of a service, which has none; empty if there is no such."""
    from nfv.dataplane.resident import servicectl

    function = applied.topology().vnfs.get(name)
    place = servicectl.namespace(applied.name, name) if function and function.service else None
    return ["nsenter", f"--net={place}", "--"] if place else []
