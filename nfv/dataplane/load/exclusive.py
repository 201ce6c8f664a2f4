"""What one process at a time may do with a topology."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nfv.errors import InputError


@contextmanager
def exclusive(path: Path, refusal: Callable[[str], InputError]) -> Iterator[None]:
    """Hold the lock of a file, which says who has it; the kernel gives it back with the process.

    Raises what `refusal` makes of the number of the process that has it.
    """
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise refusal(file.read().strip()) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
