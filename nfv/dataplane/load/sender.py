"""The process that has a program send frames: alone on a CPU, and undisturbed by Python."""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from operator import itemgetter
from typing import NoReturn, Protocol

from nfv.dataplane.load.live import Cursor
from nfv.errors import KernelError, NfvError

DENSE = 20_000
"""Packets a second from which the kernel waits for them, as a call for each would take too long."""

_CALM = 1_000
"""Packets a second up to which a process sleeps for half of the time or more."""

_EARLY = 600_000  # nanoseconds before a frame is due, at which the process has to be awake
_CLOSE = 250_000  # nanoseconds before a frame is due, from which the program waits for it
_UNFILLED = 0.001  # seconds to wait for frames that are not written yet, or for the beginning
_LOOK = 0.01  # seconds between two looks at whether it has begun
_MOST_RUNS = (1 << 32) - 1
_MOST_LIVE = 64  # frames that the kernel works on at once
_BATCH_TIME = 10_000  # nanoseconds that a batch may take, as its frames leave together
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


_Run = Callable[[int, int], None]


class Sending(Protocol):
    """What sends: its cursor says when to begin, how many are to be `sent`, and how many are."""

    cursor: Cursor

    def next_due(self) -> int | None:
        """When the next frame is due, of the monotonic clock; None if that is not known yet."""

    def sending(self) -> AbstractContextManager[_Run]:
        """A function that runs the program so many times, and so many at once."""


class Sender:
    """A child that sends; `rate` is what is to be sent a second, None for top speed.

    What several programs hold is sent in the order in which it is due, at rates below `DENSE`.
    `number` tells senders that run at the same time apart: each has a CPU, as far as there are.
    """

    def __init__(self, programs: Sequence[Sending], rate: float | None, number: int) -> None:
        self._programs = programs
        reading, writing = os.pipe()
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(reading)
            _be_child(programs, rate, writing, parent, number)
        os.close(writing)
        self._words = reading

    def ready(self) -> None:
        """Return when it waits for the beginning. Raises `KernelError` if it fails."""
        while not all(one.cursor["running"] for one in self._programs):
            self._check(_LOOK)

    def wait(self, seconds: float) -> bool:
        """Whether all has been sent within so many seconds. Raises `KernelError` if it fails."""
        if not self._done:
            self._check(seconds)
        return self._done

    def _check(self, seconds: float) -> None:
        """See for so long whether the child says why it cannot go on."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._words, selectors.EVENT_READ)
            if selector.select(seconds):
                words = os.read(self._words, 4096).decode(errors="replace")
                if not self._done:
                    raise KernelError(words or "the process that sends was killed")

    @property
    def _done(self) -> bool:
        return all(map(_is_done, self._programs))

    def stop(self) -> None:
        """End the child."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._words)


def _is_done(program: Sending) -> bool:
    return program.cursor["sent"] >= program.cursor["limit"]


def _be_child(
    programs: Sequence[Sending], rate: float | None, words: int, parent: int, number: int
) -> NoReturn:
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:  # it may have died meanwhile
            _undisturbed(number, busy=rate is None or rate > _CALM)
            with ExitStack() as stack:
                runs = [stack.enter_context(program.sending()) for program in programs]
                if rate is not None and rate < DENSE:
                    _step(list(zip(programs, runs, strict=True)))
                else:
                    (run,) = runs
                    _run(rate, run)
        code = 0
    except NfvError as error:
        os.write(words, error.message.encode())
    finally:
        os._exit(code)


def _undisturbed(number: int, busy: bool) -> None:
    """Stay on one CPU, before all processes without real-time priority.

    A busy one has to leave them another CPU.
    """
    cpus = sorted(os.sched_getaffinity(0), reverse=True)
    os.sched_setaffinity(0, {cpus[number % len(cpus)]})
    if not busy or number + 1 < len(cpus):
        with suppress(PermissionError):  # in a container
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def _run(rate: float | None, run: _Run) -> None:
    """Have the kernel send, until the process is killed."""
    batch = _MOST_LIVE if rate is None else int(rate * _BATCH_TIME / 1e9)
    while True:
        run(_MOST_RUNS, max(1, min(batch, _MOST_LIVE)))


def _step(runs: Sequence[tuple[Sending, _Run]]) -> None:
    """Send frame by frame, and sleep between them."""
    for _, run in runs:
        run(1, 1)  # nothing is due yet; a first call takes longer
    while left := [(program, run) for program, run in runs if not _is_done(program)]:
        known = [(due, run) for program, run in left if (due := program.next_due()) is not None]
        if len(known) < len(left):
            time.sleep(_UNFILLED)
            continue
        due, run = min(known, key=itemgetter(0))
        early = due - _EARLY - time.monotonic_ns()
        if early > 0:
            time.sleep(early / 1e9)
        while time.monotonic_ns() < due - _CLOSE:
            pass  # a call that ends before the frame is due is followed by a gap
        run(1, 1)
