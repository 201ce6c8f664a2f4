"""Keeps a topology's agent running: `python -m nfv.dataplane.supervisor NAME DIRECTORY`.

A daemon that starts the agent again when it dies, writes its log, and holds the listening control
socket, so that requests wait for the next agent instead of being refused. It imports next to
nothing. The supervisor's end, however it comes, ends the agent.

The process that is started ends once the agent is in step (exit code 0) or has failed to be (1).
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
from pathlib import Path

from nfv.dataplane import control

LOCK = "supervisor.lock"
LOG = "agent.log"

_LOG_LIMIT = 1 << 20  # bytes; with the one old file that is kept, twice that
_BACKOFF_FIRST = 0.1  # seconds until the agent is started again
_BACKOFF_LAST = 10.0
_STEADY = 30.0  # seconds after which a death is not a repeated one
_PATIENCE = 5.0  # seconds that the agent has to end when told


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
    """Runs one agent after the other until SIGTERM."""

    def __init__(self, name: str, directory: Path, report: int) -> None:
        """`report` is a pipe that gets a byte when the agent is in step for the first time."""
        self._name = name
        self._directory = directory
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
        """Supervise until told to end, or until the first agent fails before it is in step."""
        backoff = _BACKOFF_FIRST
        while True:
            started = time.monotonic()
            code = self._run_agent()
            if self._told_to_end:
                self._log.note("info", "ended as told")
                return 0
            self._log.note("error", f"the agent ended {_described(code)}")
            if not self._was_in_step:
                return 1
            backoff = _BACKOFF_FIRST if time.monotonic() - started > _STEADY else backoff
            self._wait(backoff)
            if self._told_to_end:
                return 0
            backoff = min(backoff * 2, _BACKOFF_LAST)

    def _run_agent(self) -> int:
        agent = subprocess.Popen(
            [sys.executable, "-m", "nfv.dataplane.agent", self._name],
            stdin=self._listener.fileno(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        assert agent.stdout is not None
        assert agent.stderr is not None
        with selectors.DefaultSelector() as selector, agent.stdout, agent.stderr:
            selector.register(self._signals, selectors.EVENT_READ)
            selector.register(agent.stdout, selectors.EVENT_READ)
            selector.register(agent.stderr, selectors.EVENT_READ)
            while not self._told_to_end and agent.stderr in selector.get_map():
                for key, _events in selector.select():
                    if key.fileobj is self._signals:
                        self._signals.recv(64)
                    elif key.fileobj is agent.stdout:
                        self._note_in_step(agent.stdout.readline())
                        selector.unregister(agent.stdout)
                    elif line := agent.stderr.readline():
                        self._log.write(line)
                    else:
                        selector.unregister(agent.stderr)
            if self._told_to_end:
                agent.terminate()
        try:
            return agent.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            agent.kill()
            return agent.wait()

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
    """Sign the lock with the process that has it, for `nfv.dataplane.agentctl`."""
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())


def main(name: str, directory: Path) -> int:
    """Start the daemon and wait until its agent is in step."""
    lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    outcome, report = os.pipe()
    if os.fork():
        os.close(report)
        return 0 if os.read(outcome, 1) else 1
    os.close(outcome)
    _daemonize(directory)
    _hold_lock(lock)
    return Supervisor(name, directory, report).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
