"""Starts, stops and asks the agent of a topology (nfv.dataplane.agent) from other processes."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import nfv
from nfv.dataplane import control, state, supervisor
from nfv.errors import KernelError

_STATUS_TIMEOUT = 5.0  # seconds
_RELOAD_TIMEOUT = 60.0
_LOG_TAIL = 5  # lines


def start(name: str) -> None:
    """Start the agent unless it runs; return when the maps are in step with the kernel.

    Raises `KernelError` with the end of the agent's log if it cannot start.
    """
    directory = state.directory(name)
    with _alone(directory):
        if _supervisor(directory) is not None:
            return
        command = [sys.executable, "-m", supervisor.__name__, name, os.fspath(directory)]
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={**os.environ, "PYTHONPATH": os.fspath(Path(nfv.__file__).parent.parent)},
            check=False,
        )
    if result.returncode:
        raise KernelError(f"the agent of {name} does not start{_tail(directory)}")


def stop(name: str) -> None:
    """End the agent and its supervisor, and return when they have; forwarding goes on."""
    directory = state.directory(name)
    if not directory.is_dir():
        return
    with _alone(directory):
        process = _supervisor(directory)
        if process is not None:
            try:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(process, signal.SIGTERM)
                select.select([process], [], [])
            finally:
                os.close(process)
        _wait_for_lock(directory / control.AGENT_LOCK)
        (directory / control.SOCKET).unlink(missing_ok=True)


def ensure(name: str) -> None:
    """Start the agent if it does not run."""
    if not is_running(name):
        start(name)


def is_running(name: str) -> bool:
    """Whether there is an agent, or a supervisor that is about to start it again."""
    process = _supervisor(state.directory(name))
    if process is None:
        return False
    os.close(process)
    return True


def reload(name: str) -> None:
    """Have the agent read the topology's state; return when the maps are in step with it.

    Starts the agent if it does not run. Raises `KernelError` if it cannot follow a router.
    """
    directory = state.directory(name)
    deadline = time.monotonic() + _RELOAD_TIMEOUT
    while is_running(name):
        try:
            answer = control.ask(directory, "reload", max(0.1, deadline - time.monotonic()))
        except TimeoutError as error:
            hint = f"see {directory / supervisor.LOG}"
            raise KernelError(f"the agent of {name} does not answer", hint) from error
        except OSError:  # it died; its supervisor starts another, which the next request waits for
            continue
        failures = answer.get("failures")
        if failures:
            raise KernelError(f"the agent of {name} cannot follow its routers: {failures}")
        return
    start(name)


def status(name: str) -> dict[str, object] | None:
    """What the agent tells of itself and its routers; None if it does not run or answer."""
    if not is_running(name):
        return None
    try:
        return control.ask(state.directory(name), "status", _STATUS_TIMEOUT)
    except OSError:
        return None


def sync(name: str) -> None:
    """Return when all that the kernel has told up to here is in the maps. Raises `KernelError`."""
    try:
        control.ask(state.directory(name), "sync", _RELOAD_TIMEOUT)
    except OSError as error:
        raise KernelError(f"the agent of {name} does not answer: {error}") from error


def _supervisor(directory: Path) -> int | None:
    """A descriptor (pidfd) of the supervisor's process, None if there is none.

    The lock is looked at again once there is the descriptor: while its owner holds it, the number
    in it is the owner's and no other process's.
    """
    before = _lock_owner(directory / supervisor.LOCK)
    if before is None:
        return None
    try:
        process = os.pidfd_open(before)
    except ProcessLookupError:
        return None
    if _lock_owner(directory / supervisor.LOCK) == before:
        return process
    os.close(process)
    return None


def _lock_owner(path: Path) -> int | None:
    """The process that holds a lock and has signed it."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return int(os.read(lock, 32) or 0) or None
    finally:
        os.close(lock)


def _wait_for_lock(path: Path) -> None:
    """Return when nobody holds a lock."""
    with suppress(FileNotFoundError), path.open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep others from starting and stopping the same agent."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise KernelError(f"topology '{directory.name}' is not applied") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _tail(directory: Path) -> str:
    """The end of the log, to be appended to a message."""
    try:
        lines = (directory / supervisor.LOG).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return ":\n" + "\n".join(lines[-_LOG_TAIL:])
