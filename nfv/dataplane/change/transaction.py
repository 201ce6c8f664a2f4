"""A series of steps that is either finished or undone.

SIGINT, SIGTERM and SIGHUP do not cut a step in two: they end the series between two steps, and
never during the undoing.

Faults can be injected, to test that whatever step fails nothing is left: NFV_FAIL_AT_STEP=N makes
step N fail without effect, NFV_KILL_AT_STEP=N ends the process by SIGKILL as step N takes effect.
Steps count from 1.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

from nfv.errors import ExitCode, InputError, LeftoverError, NfvError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Leftover = tuple[str, str]  # object, command that clears it


class Interrupted(NfvError):
    """A signal asked to stop."""

    exit_code = ExitCode.INTERRUPTED


@dataclass(frozen=True)
class Step:
    """One change and its reverse.

    `do` takes effect or raises, not both: the undo of a step that raised is not called. So what
    makes something and then waits for it is two steps.
    """

    title: str
    do: Callable[[], None]
    undo: Callable[[], None] | None = None
    leftover: Leftover | None = None  # what remains if undo fails


class Transaction:
    """Runs steps, and undoes them in reverse order if the `with` block raises.

    The block that ends well is committed. Whatever ended it otherwise is raised again once all is
    undone, as `LeftoverError` if something could not be. In a thread other than the main one
    signals are not watched.
    """

    def __init__(self, progress: Callable[[str, int], None] | None = None) -> None:
        """`progress` is told the title and the number of each step that begins."""
        self._progress = progress
        self._done: list[Step] = []
        self._count = 0
        self._fail_at = _step_number("NFV_FAIL_AT_STEP")
        self._kill_at = _step_number("NFV_KILL_AT_STEP")
        self._handlers: dict[signal.Signals, Any] = {}
        self._signal: signal.Signals | None = None
        self._undoing = False

    def __enter__(self) -> Transaction:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
                    self._handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is not None:
                self._abandon(error)
            elif self._done:
                self._commit_or_abandon()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    def run(self, step: Step) -> None:
        """Do a step; raises what it raises, and `Interrupted`."""
        self._stop_if_signalled()
        self._count += 1
        if self._progress:
            self._progress(step.title, self._count)
        if self._count == self._fail_at:
            raise NfvError(f"{step.title}: failed, as NFV_FAIL_AT_STEP={self._fail_at} demands")
        step.do()
        if self._count == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self._done.append(step)
        self._stop_if_signalled()

    def commit(self) -> None:
        """Keep what has been done so far; raises `Interrupted` if that has been asked for."""
        self._stop_if_signalled()
        self._done.clear()

    def rollback(self) -> list[Leftover]:
        """Undo everything not committed, last step first; return what could not be undone."""
        self._undoing = True
        leftovers = []
        while self._done:
            step = self._done.pop()
            try:
                if step.undo:
                    step.undo()
            except Exception as error:
                thing, command = step.leftover or (step.title, "nfvctl doctor")
                leftovers.append((f"{thing} ({error})", command))
        self._undoing = False
        return leftovers

    def _commit_or_abandon(self) -> None:
        try:
            self.commit()
        except Interrupted as interruption:
            self._abandon(interruption)
            raise

    def _abandon(self, error: BaseException) -> None:
        leftovers = self.rollback()
        if leftovers:
            raise LeftoverError(
                f"{error or type(error).__name__}; and undoing it failed in part", leftovers
            ) from error

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signal = signal.Signals(number)

    def _stop_if_signalled(self) -> None:
        if self._signal is not None and not self._undoing:
            raise Interrupted(f"interrupted by {self._signal.name}")


def _step_number(variable: str) -> int:
    """The step at which a fault is to be injected, 0 for none."""
    text = os.environ.get(variable, "0")
    if not text.isdecimal():
        raise InputError(f"{variable} must be the number of a step, not {text!r}")
    return int(text)
