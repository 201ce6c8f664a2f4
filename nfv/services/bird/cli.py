"""The control socket of BIRD: a command in, numbered lines out (its programmer's documentation)."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from nfv.errors import KernelError

_NUMBERED = re.compile(r"(\d{4})([ -])(.*)")
_FIRST_ERROR = 8000


def ask(place: Path, command: str, timeout: float) -> list[str]:
    """The lines of the answer; `timeout` in seconds.

    Raises `OSError` if there is nobody to ask or no answer, `KernelError` for what BIRD refuses.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(os.fspath(place))
        with connection.makefile("rb") as stream:
            list(_reply(stream))  # it says who it is
            connection.sendall(command.encode() + b"\n")
            return list(_reply(stream))


def _reply(stream: BinaryIO) -> Iterator[str]:
    """A number begins each line, or a blank if it is that of the line before."""
    while line := stream.readline():
        text = line.decode(errors="replace").rstrip("\n")
        numbered = _NUMBERED.fullmatch(text)
        if numbered is None:
            yield text[1:]
            continue
        code, more, words = numbered.groups()
        if int(code) >= _FIRST_ERROR:
            raise KernelError(f"BIRD refuses: {words}")
        yield words
        if more == " ":
            return
    raise ConnectionResetError("it ended before it answered")
