"""Processes that run as long as a topology is applied, each under a supervisor: its agent, and the
services of its functions. Here they are started, stopped and asked by other processes.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import nfv
from nfv.dataplane.resident import control, supervisor
from nfv.errors import InputError, KernelError

_RELOAD_TIMEOUT = 60.0  # seconds
_LOG_TAIL = 5  # lines


@dataclass(frozen=True)
class Daemon:
    """One such process: what it is to the user, where its files are, what it runs."""

    title: str  # "the agent of branch"
    directory: Path  # of its socket, locks and log; must exist when it is started
    command: tuple[str, ...]  # module and arguments

    def start(self) -> None:
        """Start it unless it runs; return when it is in step with the topology's state.

        Raises `KernelError` with the end of its log if it cannot start.
        """
        with self._alone():
            if self._supervisor() is not None:
                return
            command = [sys.executable, "-m", supervisor.__name__, os.fspath(self.directory)]
            result = subprocess.run(
                [*command, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={**os.environ, "PYTHONPATH": os.fspath(Path(nfv.__file__).parent.parent)},
                check=False,
                start_new_session=True,  # Ctrl-C in the terminal is for whoever starts it
            )
        if result.returncode:
            raise KernelError(f"{self.title} does not start{self._tail()}")

    def stop(self) -> None:
        """End it and its supervisor, and return when they have."""
        if not self.directory.is_dir():
            return
        with self._alone():
            process = self._supervisor()
            if process is not None:
                try:
                    with suppress(ProcessLookupError):
                        signal.pidfd_send_signal(process, signal.SIGTERM)
                    select.select([process], [], [])
                finally:
                    os.close(process)
            _wait_for_lock(self.directory / control.LOCK)
            (self.directory / control.SOCKET).unlink(missing_ok=True)

    def is_running(self) -> bool:
        """Whether it runs, or its supervisor, which is about to start it again."""
        process = self._supervisor()
        if process is None:
            return False
        os.close(process)
        return True

    def reload(self) -> dict[str, object]:
        """Have it read the topology's state; return its answer, once it is in step with that.

        Starts it if it does not run; then there is no answer. Raises `KernelError`.
        """
        deadline = time.monotonic() + _RELOAD_TIMEOUT
        while self.is_running():
            try:
                return self.ask("reload", max(0.1, deadline - time.monotonic()))
            except TimeoutError as error:
                hint = f"see {self.directory / supervisor.LOG}"
                raise KernelError(f"{self.title} does not answer", hint) from error
            except OSError:  # it died; its supervisor starts another, which the next request awaits
                continue
        self.start()
        return {}

    def ask(self, what: str, timeout: float, **arguments: object) -> dict[str, object]:
        """Have it do something and return its answer; `timeout` in seconds.

        Raises `OSError` if there is nobody to ask or no answer, `InputError` for what it does not
        accept, `KernelError` for what it cannot do.
        """
        try:
            return control.ask(self.directory, what, timeout, **arguments)
        except (InputError, KernelError) as error:
            raise type(error)(f"{self.title} {error.message}", error.hint) from error

    def _supervisor(self) -> int | None:
        """A descriptor (pidfd) of the supervisor's process, None if there is none.

        The lock is looked at again once there is the descriptor: while its owner holds it, the
        number in it is the owner's and no other process's.
        """
        lock = self.directory / supervisor.LOCK
        before = _lock_owner(lock)
        if before is None:
            return None
        try:
            process = os.pidfd_open(before)
        except ProcessLookupError:
            return None
        if _lock_owner(lock) == before:
            return process
        os.close(process)
        return None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep others from starting and stopping the same daemon."""
        try:
            descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise KernelError(f"{self.title} cannot run: its topology is not applied") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _tail(self) -> str:
        """The end of the log, to be appended to a message."""
        try:
            lines = (self.directory / supervisor.LOG).read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return ":\n" + "\n".join(lines[-_LOG_TAIL:])


class LodgedDaemon(Daemon):
    """One with a directory of its own, which comes and goes with it."""

    def start(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        super().start()

    def stop(self) -> None:
        super().stop()
        shutil.rmtree(self.directory, ignore_errors=True)


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
