"""Starts, stops and asks the agent of a topology from other processes."""

from __future__ import annotations

from collections.abc import Mapping

from nfv.dataplane import state
from nfv.dataplane.resident.daemon import Daemon
from nfv.errors import KernelError

_STATUS_TIMEOUT = 5.0  # seconds
_SYNC_TIMEOUT = 60.0


def daemon(name: str) -> Daemon:
    """The agent of a topology."""
    command = ("nfv.dataplane.resident.agent", name)
    return Daemon(f"the agent of {name}", state.directory(name), command)


def start(name: str) -> None:
    """Start the agent unless it runs; return when the maps are in step with the kernel.

    Raises `KernelError` with the end of the agent's log if it cannot start.
    """
    daemon(name).start()


def stop(name: str) -> None:
    """End the agent and its supervisor, and return when they have; forwarding goes on."""
    daemon(name).stop()


def ensure(name: str) -> None:
    """Start the agent if it does not run."""
    if not is_running(name):
        start(name)


def is_running(name: str) -> bool:
    """Whether there is an agent, or a supervisor that is about to start it again."""
    return daemon(name).is_running()


def reload(name: str) -> None:
    """Have the agent read the topology's state; return when the maps are in step with it.

    Starts the agent if it does not run. Raises `KernelError` if it cannot follow a router.
    """
    failures = daemon(name).reload().get("failures")
    if failures:
        raise KernelError(f"the agent of {name} cannot follow its routers: {failures}")


def status(name: str) -> dict[str, object] | None:
    """What the agent tells of itself and its routers; None if it does not run or answer."""
    if not is_running(name):
        return None
    try:
        return daemon(name).ask("status", _STATUS_TIMEOUT)
    except OSError:
        return None


def tell(
    name: str, function: str, request: str, values: Mapping[str, str]
) -> list[dict[str, object]]:
    """Have a function do something with its maps; what was done. Raises `InputError`."""
    arguments = {"function": function, "request": request, "values": dict(values)}
    try:
        rows = daemon(name).ask("tell", _STATUS_TIMEOUT, **arguments)["rows"]
    except OSError as error:
        hint = f"`nfvctl apply {name}` starts it"
        raise KernelError(f"the agent of {name} does not answer: {error}", hint) from error
    assert isinstance(rows, list)
    return rows


def sync(name: str) -> None:
    """Return when all that the kernel has told up to here is in the maps. Raises `KernelError`."""
    try:
        daemon(name).ask("sync", _SYNC_TIMEOUT)
    except OSError as error:
        raise KernelError(f"the agent of {name} does not answer: {error}") from error
