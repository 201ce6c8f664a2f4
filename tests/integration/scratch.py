"""Network namespaces for tests, and iproute2's view of what is in them."""

from __future__ import annotations

import itertools
import json
import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from nfv.dataplane.kernel import netns

MARK = "nfv:scratch"

_numbers = itertools.count()


class _Readable(Protocol):
    def fileno(self) -> int: ...


def unused_name() -> str:
    return f"netlink-{os.getpid()}-{next(_numbers)}"


@contextmanager
def scratch_namespace() -> Iterator[str]:
    """The name of a namespace that lives as long as the block."""
    name = unused_name()
    netns.create(name, MARK)
    try:
        yield name
    finally:
        if netns.exists(name):
            netns.delete(name)


def ip(name: str, *arguments: str) -> Any:
    """What `ip -j` says inside a namespace."""
    command = ["ip", "-n", name, "-j", "-d", *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output or "[]")


def wait_readable(source: _Readable, seconds: float = 10) -> None:
    """Wait until there is something to read; fail if there is nothing in time."""
    readable, _, _ = select.select([source], [], [], seconds)
    assert readable, f"nothing to read within {seconds} s"
