"""Who observes a topology, and the programs whose places observed ones have meanwhile."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from nfv.chain.sap import Hook
from nfv.dataplane import state
from nfv.dataplane.kernel import bpf

PREFIX = "nfvo"
"""What the names of observed programs begin with, where those of others have "nfv_"."""


def directory(name: str) -> Path:
    """Pins of what an observation needs and has replaced."""
    return state.pins(name) / "observe"


def replaced(name: str, hook: Hook, number: int) -> Path:
    """Where the program of a port is kept whose place an observed one has."""
    return directory(name) / f"{hook.value}_{number}"


def lock(name: str) -> Path:
    """The file that whoever observes holds locked; it has the number of the process."""
    return state.directory(name) / "observe.lock"


def are_there(name: str) -> bool:
    """Whether a process observes a topology; a killed one may have left its programs."""
    if not lock(name).exists():
        return False
    with lock(name).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def stands_for(name: str, hook: Hook, number: int) -> str | None:
    """The name of the program that a living observer will put back at a port."""
    pin = replaced(name, hook, number)
    if not pin.exists() or not are_there(name):
        return None
    program = bpf.obj_get(pin)
    try:
        return bpf.prog_info(program)[1]
    finally:
        os.close(program)
