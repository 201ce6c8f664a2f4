"""A process in namespaces of its own, of network, mounts and processes, like scripts/isolated.

Whatever is made there, topologies, devices, pinned programs, daemons, is seen by nobody else and
ends with the process, even if that is killed (namespaces(7), pid_namespaces(7)).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, Concatenate, Generic, NoReturn, ParamSpec, TypeVar

from nfv.closing import Closing
from nfv.dataplane import state
from nfv.dataplane.kernel import netns
from nfv.dataplane.kernel.netlink import Netlink
from nfv.dataplane.kernel.refusal import refused
from nfv.errors import KernelError

_CLONE_NEWNS, _CLONE_NEWPID, _CLONE_NEWNET = 0x20000, 0x20000000, 0x40000000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_PR_SET_PDEATHSIG = 1
_OWN_DIRECTORIES = (netns.DIRECTORY, state.RUN, state.DATA)
_libc = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")


class Place(Closing, Generic[T]):
    """The process, which has an object that `make` makes there, and does with it what it is told.

    What it is told, and what it answers, must be possible to pickle.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._connection, theirs = Pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        self._process = os.fork()
        if self._process == 0:
            self._connection.close()
            _be(parent, lambda: _enter(theirs, make))
        theirs.close()
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def call(
        self, work: Callable[Concatenate[T, P], R], *arguments: P.args, **words: P.kwargs
    ) -> R:
        """Call a function there with the object; raise here what it raises there."""
        self._connection.send((work, arguments, words))
        answer: R = self._answer()
        return answer

    def close(self) -> None:
        """End the process, and with it all that is in its namespaces."""
        with suppress(ProcessLookupError):
            os.kill(self._process, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self._process, 0)
        self._connection.close()

    def _answer(self) -> Any:
        try:
            value, error, where = self._connection.recv()
        except (EOFError, OSError) as ended:
            raise KernelError("the process in namespaces of its own has ended") from ended
        if error is not None:
            raise error from _Elsewhere(where)
        return value


class _Elsewhere(Exception):
    """The trace of what was raised in the other process."""


def _be(parent: int, work: Callable[[], None]) -> NoReturn:
    """Be a child that ends with its parent, whatever happens."""
    code = 1
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:  # it may have died meanwhile
            work()
            code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _enter(connection: Connection, make: Callable[[], T]) -> None:
    """Make the namespaces. The first process in that of processes is only there to end it."""
    os.setsid()  # Ctrl-C is for the parent, which then ends this
    try:
        _call("make namespaces", _libc.unshare(_CLONE_NEWNS | _CLONE_NEWPID | _CLONE_NEWNET))
        _call("part mounts", _libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None))
    except KernelError as error:
        connection.send((None, error, ""))
        return
    first = os.fork()
    if first == 0:
        _be(0, lambda: _reap(connection, make))  # its parent has no number in there
    connection.close()
    os.waitpid(first, 0)


def _reap(connection: Connection, make: Callable[[], T]) -> None:
    """Be the process that inherits all that lose their parents, until the one that works ends."""
    worker = os.fork()
    if worker == 0:
        _be(1, lambda: _serve(connection, make))
    connection.close()
    while os.wait()[0] != worker:
        pass


def _serve(connection: Connection, make: Callable[[], T]) -> None:
    try:
        _furnish()
        subject = make()
        connection.send((None, None, ""))
    except Exception as error:
        connection.send((None, error, traceback.format_exc()))
        return
    with suppress(EOFError):
        while True:
            work, arguments, words = connection.recv()
            try:
                connection.send((work(subject, *arguments, **words), None, ""))
            except Exception as error:
                connection.send((None, error, traceback.format_exc()))


def _furnish() -> None:
    """File systems that show the namespaces, directories where nothing is yet, and lo."""
    for kind, place in (("proc", Path("/proc")), ("sysfs", Path("/sys")), ("bpf", state.BPFFS)):
        _mount_one(kind, place)
    for place in _OWN_DIRECTORIES:
        place.mkdir(mode=0o755, parents=True, exist_ok=True)
        _mount_one("tmpfs", place)
    with Netlink() as netlink:
        netlink.set_link("lo", up=True)


def _mount_one(kind: str, place: Path) -> None:
    name = kind.encode()
    _call(f"mount {kind} at {place}", _libc.mount(name, os.fsencode(place), name, 0, None))


def _call(what: str, result: int) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise refused(what, OSError(code, os.strerror(code)))
