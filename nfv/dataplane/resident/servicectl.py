"""Starts, stops and asks the services of a topology's functions (nfv.services.worker)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nfv.dataplane import state
from nfv.dataplane.resident.daemon import LodgedDaemon
from nfv.errors import KernelError

_ASK_TIMEOUT = 30.0  # seconds


def daemon(topology: str, function: str) -> LodgedDaemon:
    """The service of a function."""
    command = ("nfv.services.worker", topology, function)
    return LodgedDaemon(f"the service of {function}", _directories(topology) / function, command)


def start(topology: str, function: str) -> None:
    """Start a service unless it runs; return when it serves. Raises `KernelError`."""
    daemon(topology, function).start()


def stop(topology: str, function: str) -> None:
    """End a service and remove its files, but what it keeps in `state.data`."""
    daemon(topology, function).stop()


def reload(topology: str, function: str) -> None:
    """Have a service take over what the topology's state says; start it if it does not run."""
    daemon(topology, function).reload()


def is_running(topology: str, function: str) -> bool:
    """Whether there is a service, or a supervisor that is about to start it again."""
    return daemon(topology, function).is_running()


def ask(topology: str, function: str, what: str, **arguments: object) -> dict[str, object]:
    """Have a service do something and return its answer. Raises `KernelError`."""
    try:
        return daemon(topology, function).ask(what, _ASK_TIMEOUT, **arguments)
    except OSError as error:
        hint = f"`nfvctl apply {topology}` starts it"
        raise KernelError(f"the service of {function} does not answer: {error}", hint) from error


def namespace(topology: str, function: str) -> str | None:
    """A path to the network namespace that a service has of its own. Raises `KernelError`."""
    found = ask(topology, function, "status").get("netns")
    return None if found is None else str(found)


def rows(topology: str, function: str, what: str, **arguments: object) -> list[dict[str, object]]:
    """What a service answers with: records with the same keys. Raises `KernelError`."""
    answer = ask(topology, function, what, **arguments).get("rows")
    assert isinstance(answer, list)
    return answer


def started(topology: str) -> Iterator[str]:
    """The functions whose services were started, sorted."""
    for path in sorted(_directories(topology).glob("*")):
        yield path.name


def _directories(topology: str) -> Path:
    return state.directory(topology) / "services"
