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

    NAME is a SAP with a network namespace, or a function with interfaces, whose namespace holds
    its addresses, routes and neighbours. The exit code is the command's.

    \b
    Examples:
      sudo nfvctl exec branch lan -- ping -c 3 192.0.2.254
      sudo nfvctl exec branch gw -- ip route
      sudo nfvctl exec branch gw -- tcpdump -ni lan
      sudo nfvctl exec branch lan -- bash
    """
    command_line = words[1:] if words[0] == "--" else words
    if not command_line:
        raise click.UsageError("missing COMMAND after --", click.get_current_context())
    from nfv.dataplane import netns

    applied = arguments.attended(topology)
    places = _places(applied)
    arguments.check_part(name, places, applied.name)
    place = places[name]
    if not netns.exists(place):
        raise InputError(
            f"the network namespace {place} is gone", f"`nfvctl apply {applied.name}` mends it"
        )
    try:
        os.execvp("ip", ["ip", "netns", "exec", place, *command_line])
    except FileNotFoundError as error:
        raise InputError("the command ip is missing", "apt-get install iproute2") from error
