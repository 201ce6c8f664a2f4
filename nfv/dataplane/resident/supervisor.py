"""Keeps a process running, a topology's agent or a service, its child.

`python -m nfv.dataplane.resident.supervisor DIRECTORY MODULE ARGUMENTS...` is a daemon that starts
the child again when it dies, writes its log, and holds the listening control socket, so that
requests wait for the next child instead of being refused. It imports next to nothing. The
supervisor's end, however it comes, ends the child.

The process that is started ends once the child is in step (exit code 0) or has failed to be (1).
"""

from __future__ import annotations

import fcntl
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from nfv.dataplane.resident import control

LOCK = "supervisor.lock"
LOG = "daemon.log"

_LOG_LIMIT = 1 << 20  # bytes; with the one old file that is kept, twice that
_BACKOFF_FIRST = 0.1  # seconds until the child is started again
_BACKOFF_LAST = 10.0
_STEADY = 30.0  # seconds after which a death is not a repeated one
_PATIENCE = 5.0  # seconds that the child has to end when told


class Log:
    """A file of lines with their times, begun anew at a limit; one old file is kept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)

    def write(self, line: bytes) -> None:
        if self._file.tell() + len(line) > _LOG_LIMIT:
            self._file.close()
            os.replace(self._path, self._path.with_suffix(".log.1"))
            self._file = self._path.open("ab", buffering=0)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S%z ", time.localtime())
        self._file.write(moment.encode() + line.rstrip(b"\n") + b"\n")

    def note(self, level: str, message: str) -> None:
        self.write(f"{level}: {message}".encode())


class Supervisor:
    """Runs one child after the other until SIGTERM."""

    def __init__(self, command: Sequence[str], directory: Path, report: int) -> None:
        """`report` is a pipe that gets a byte when the child is in step for the first time."""
        self._command = command
        self._report = report
        self._log = Log(directory / LOG)
        self._listener = control.listen(directory)
        self._told_to_end = False
        self._was_in_step = False
        self._signals, wakeup = socket.socketpair()
        for end in (self._signals, wakeup):
            end.setblocking(False)
        self._wakeup = wakeup  # kept open: signals are written to it
        signal.set_wakeup_fd(wakeup.fileno())
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _on_term(self, _number: int, _frame: object) -> None:
        self._told_to_end = True

    def run(self) -> int:
        """Supervise until told to end, or until the first child fails before it is in step."""
        backoff = _BACKOFF_FIRST
        while True:
            started = time.monotonic()
            code = self._run_child()
            if self._told_to_end:
                self._log.note("info", "ended as told")
                return 0
            self._log.note("error", f"{self._command[0]} ended {_described(code)}")
            if not self._was_in_step:
                return 1
            backoff = _BACKOFF_FIRST if time.monotonic() - started > _STEADY else backoff
            self._wait(backoff)
            if self._told_to_end:
                return 0
            backoff = min(backoff * 2, _BACKOFF_LAST)

    def _run_child(self) -> int:
        child = subprocess.Popen(
            [sys.executable, "-m", *self._command],
            stdin=self._listener.fileno(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        assert child.stdout is not None
        assert child.stderr is not None
        with selectors.DefaultSelector() as selector, child.stdout, child.stderr:
            selector.register(self._signals, selectors.EVENT_READ)
            selector.register(child.stdout, selectors.EVENT_READ)
            selector.register(child.stderr, selectors.EVENT_READ)
            while not self._told_to_end and child.stderr in selector.get_map():
                for key, _events in selector.select():
                    if key.fileobj is self._signals:
                        self._signals.recv(64)
                    elif key.fileobj is child.stdout:
                        self._note_in_step(child.stdout.readline())
                        selector.unregister(child.stdout)
                    elif line := child.stderr.readline():
                        self._log.write(line)
                    else:
                        selector.unregister(child.stderr)
            if self._told_to_end:
                child.terminate()
        try:
            return child.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()

    def _note_in_step(self, said: bytes) -> None:
        if said and not self._was_in_step:
            self._was_in_step = True
            os.write(self._report, b"\1")
            os.close(self._report)

    def _wait(self, seconds: float) -> None:
        """Let time pass, or a signal come."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._signals, selectors.EVENT_READ)
            if selector.select(seconds):
                self._signals.recv(64)


def _described(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"


def _daemonize(directory: Path) -> None:
    """Leave the session, the directory and the streams of whoever started this."""
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(directory / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream, target in ((0, null), (1, log), (2, log)):
        os.dup2(target, stream)


def _hold_lock(descriptor: int) -> None:
    """Sign the lock with the process that has it, for `nfv.dataplane.resident.daemon`."""
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())


def main(directory: Path, command: Sequence[str]) -> int:
    """Start the daemon and wait until its child is in step."""
    lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    outcome, report = os.pipe()
    if os.fork():
        os.close(report)
        return 0 if os.read(outcome, 1) else 1
    os.close(outcome)
    _daemonize(directory)
    _hold_lock(lock)
    return Supervisor(command, directory, report).run()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
