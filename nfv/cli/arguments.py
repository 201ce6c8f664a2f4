"""Arguments that several verbs have, and what they stand for."""

from __future__ import annotations

import glob
import os
import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from nfv.cli import failure
from nfv.errors import InputError, KernelError, NfvError

if TYPE_CHECKING:
    from nfv.chain.topology import Topology
    from nfv.dataplane.state import State

SUFFIXES = (".yaml", ".yml")

Complete = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]


def complete_topology(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of applied topologies, and topology files."""
    return _items([*_applied(incomplete), *_files(incomplete)], incomplete)


def complete_applied(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of applied topologies; files if none begins so."""
    return _items(_applied(incomplete) or _files(incomplete), incomplete)


def completes(parts: Callable[[State], Iterable[str]]) -> Complete:
    """A completion by parts of the applied topology that is named before."""

    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        try:
            names = parts(stored(ctx.params["topology"]))
        except NfvError:
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]

    return complete


topology_argument: Callable[[Any], Any] = click.argument(
    "topology", metavar="TOPOLOGY", shell_complete=complete_topology
)
"""TOPOLOGY of a verb that reads what is declared."""

applied_argument: Callable[[Any], Any] = click.argument(
    "topology", metavar="TOPOLOGY", shell_complete=complete_applied
)
"""TOPOLOGY of a verb that looks at what runs."""


def read(text: str) -> Topology:
    """The topology in a file, or as it was applied under a name.

    Raises TopologyError, and InputError if there is neither.
    """
    from nfv.chain import topology

    return topology.load(text) if is_file(text) else stored(text).topology()


def stored(text: str) -> State:
    """The applied topology that a TOPOLOGY argument means: by its name, or by its file.

    Raises TopologyError, and InputError that lists what is applied.
    """
    from nfv.chain.report import listed
    from nfv.dataplane import state

    name = name_of(text)
    require_root("only root can read what is applied")
    found = state.load(name)
    if found is None:
        names = state.names()
        missing = "" if is_file(text) else ", and there is no such file"
        hint = f"applied are {listed(names)}" if names else "nothing is applied"
        raise InputError(f"topology '{name}' is not applied{missing}", hint)
    return found


def attended(text: str) -> State:
    """Like `stored`, with the agent running.

    If it does not start, a warning says so: the fast path goes on without.
    """
    from nfv.dataplane.resident import agentctl

    found = stored(text)
    try:
        agentctl.ensure(found.name)
    except KernelError as error:
        failure.warn(error)
    return found


def name_of(text: str) -> str:
    """The name that a TOPOLOGY argument is, or that its file gives.

    Raises TopologyError, and InputError if it cannot be a name.
    """
    from nfv.chain import fields, topology

    if is_file(text):
        return topology.load(text).name
    if not fields.NAME.fullmatch(text):
        raise InputError(f"'{text}' is not the name of a topology", "`nfvctl ls` lists them")
    return text


def is_file(text: str) -> bool:
    """Whether a TOPOLOGY argument is meant as a file."""
    return text == "-" or "/" in text or text.endswith(SUFFIXES) or Path(text).is_file()


def parts(found: State) -> list[str]:
    """The SAPs and functions of a topology."""
    topology = found.topology()
    return [*topology.saps, *topology.vnfs]


def served(found: State) -> list[str]:
    """The functions of a topology that have a service."""
    return [name for name, function in found.topology().vnfs.items() if function.service]


def inspectable(found: State) -> list[str]:
    """The functions of a topology that have something to list."""
    vnfs = found.topology().vnfs
    return [
        name
        for name, function in vnfs.items()
        if function.service or function.next_hops or function.lists
    ]


def told(found: State) -> list[str]:
    """The functions of a topology that can be told to do something."""
    vnfs = found.topology().vnfs
    return [name for name, function in vnfs.items() if function.service or function.requests]


def check_part(name: str, known: Iterable[str], topology: str) -> None:
    """Raise InputError that lists what there is, unless `name` is among it."""
    names = list(known)
    if name not in names:
        from nfv.chain.report import did_you_mean, listed

        hint = did_you_mean(name, names, f"it has {listed(names)}" if names else None)
        raise InputError(f"topology {topology} has no '{name}' for this", hint)


def pair(text: str) -> tuple[str, str]:
    """The key and the value of an argument written KEY=VALUE. Raises InputError."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise InputError(f"'{text}' is not written KEY=VALUE")
    return key, value


def require_root(reason: str) -> None:
    """Raise InputError with the command to type instead, unless run by root."""
    if os.geteuid() != 0:
        raise InputError(reason, shlex.join(["sudo", *sys.argv]))


def _applied(incomplete: str) -> list[str]:
    from nfv.dataplane import state

    return [name for name in state.names() if name.startswith(incomplete)]


def _items(words: list[str], incomplete: str) -> list[CompletionItem]:
    """The words, or if there are none whatever files the shell finds."""
    return [CompletionItem(word) for word in words] or [CompletionItem(incomplete, type="file")]


def _files(incomplete: str) -> list[str]:
    """Topology files that begin so; also those one directory deeper, in place of the directory."""
    start = glob.escape(incomplete)
    patterns = [f"{start}*{deeper}{suffix}" for deeper in ("", "/*") for suffix in SUFFIXES]
    return sorted(path for pattern in patterns for path in glob.glob(pattern))
