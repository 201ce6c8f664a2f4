"""Every error that nfvctl shows, with the exit code it ends with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of nfvctl; scripts depend on them."""

    OK = 0
    FAILED = 1  # failed, and rolled back where something had been changed
    CHANGES_PENDING = 2  # only `plan --detailed-exitcode`
    BAD_INPUT = 3  # nothing was touched
    LEFTOVERS = 4  # failed, and objects that could not be removed are listed
    NO_TEST = 5  # only `test`: no case matched
    INTERRUPTED = 130  # SIGINT or SIGTERM, rolled back


class NfvError(Exception):
    """Base of all errors meant for the user: one sentence, and a hint that says how to mend it."""

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Position:
    """A place in a topology file; line and column count from 1."""

    file: str
    line: int
    column: int


@dataclass(frozen=True)
class Problem:
    """One finding about a topology file, ready to print with its source line and a caret."""

    position: Position
    path: str  # dotted path of the key, e.g. "vnfs.gw.interfaces.lan.ip[0]"
    message: str
    hint: str | None = None
    source: str = ""  # the line of the file


class TopologyError(NfvError):
    """The topology file, or another one in YAML, is wrong; carries every problem found."""

    exit_code = ExitCode.BAD_INPUT

    def __init__(self, problems: Sequence[Problem], what: str = "topology") -> None:
        count = len(problems)
        super().__init__(f"{count} error{'s' if count != 1 else ''} in the {what}")
        self.problems = tuple(problems)


class InputError(NfvError):
    """What was asked for is impossible here: no root, no bpffs, no such device or topology."""

    exit_code = ExitCode.BAD_INPUT


class CompileError(NfvError):
    """A program did not compile or was refused by the kernel's verifier."""


class KernelError(NfvError):
    """A system call or netlink request failed."""


class LeftoverError(NfvError):
    """Objects remain that could not be removed; each comes with the command that clears it."""

    exit_code = ExitCode.LEFTOVERS

    def __init__(self, message: str, leftovers: Sequence[tuple[str, str]]) -> None:
        super().__init__(message)
        self.leftovers = tuple(leftovers)  # (object, command)
