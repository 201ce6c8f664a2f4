"""Tells when a network namespace loses its name, by inotify(7)."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

from nfv.dataplane.kernel import netns
from nfv.dataplane.kernel.refusal import refused

_IN_DELETE = 0x200
_READ_SIZE = 1 << 12

_libc = ctypes.CDLL(None, use_errno=True)


class NameWatch:
    """Readable, by `fileno()`, when a name went. Raises `KernelError` if it cannot watch."""

    def __init__(self) -> None:
        what = f"watch {netns.DIRECTORY}"
        try:
            netns.DIRECTORY.mkdir(mode=0o755, exist_ok=True)
        except OSError as error:
            raise refused(what, error) from error
        self._descriptor: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        path = os.fsencode(netns.DIRECTORY)
        if _libc.inotify_add_watch(self._descriptor, path, _IN_DELETE) < 0:
            raise refused(what, OSError(ctypes.get_errno(), ""))

    def fileno(self) -> int:
        return self._descriptor

    def read(self) -> None:
        """Forget what there was to tell."""
        with suppress(BlockingIOError):
            os.read(self._descriptor, _READ_SIZE)
