"""What is known of an applied topology beyond what the kernel shows: /run/nfv/NAME and bpffs.

What services keep, /var/lib/nfv/NAME, outlives a restart of the machine, the rest does not.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from nfv.chain.topology import Topology, loads, remembered
from nfv.errors import InputError

RUN = Path("/run/nfv")
BPFFS = Path("/sys/fs/bpf")
PINS = BPFFS / "nfv"
DATA = Path("/var/lib/nfv")
LOGS = Path("/var/log/nfv")

_FILE = "state.json"


@dataclass(frozen=True)
class State:
    """An applied topology: its text, and the numbers that programs and maps know it by."""

    name: str
    file: str  # where the text was read
    text: str
    ports: Mapping[str, int]  # attachment -> port number
    counters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # VNF -> what -> place
    functions: Mapping[str, int] = field(default_factory=dict)  # VNF -> its number in paths
    sizes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """VNF -> map -> its capacity, where that has grown beyond what the function says."""
    changing: bool = False  # a change has begun: what tables hold is not known
    files: Mapping[str, str] = field(default_factory=dict)  # those that the text names, by name
    data: Any = None  # what the text says, with the rules that it includes; None: it is to be read

    def topology(self) -> Topology:
        """The topology as it was applied."""
        return _topology(_Declared(self.text, self.file, tuple(self.files.items()), self.data))


@dataclass(frozen=True)
class _Declared:
    text: str
    file: str
    files: tuple[tuple[str, str], ...]
    data: Any = field(compare=False)  # follows from the others


@lru_cache(maxsize=1)  # what is changed is read, compared and recorded
def _topology(declared: _Declared) -> Topology:
    text, file, files = declared.text, declared.file, dict(declared.files)
    if declared.data is None:
        return loads(text, file, files)
    return remembered(text, file, files, declared.data)


def directory(name: str) -> Path:
    """Files of an applied topology: state.json, lock, the agent's socket, lock and log."""
    return RUN / name


def data(name: str) -> Path:
    """What services keep for as long as the topology is applied, also when the machine restarts."""
    return DATA / name


def events(name: str, function: str) -> Path:
    """What a function has logged, JSON lines; nothing here removes it."""
    return LOGS / name / f"{function}.jsonl"


def pins(name: str) -> Path:
    """Pinned maps and links of a topology."""
    return PINS / name


def names() -> list[str]:
    """The applied topologies, sorted."""
    if not RUN.is_dir():
        return []
    return sorted(path.parent.name for path in RUN.glob(f"*/{_FILE}"))


def load(name: str) -> State | None:
    """The state of a topology, or None if it is not applied.

    Raises `InputError` when it cannot be understood, as after a change of version.
    """
    path = directory(name) / _FILE
    try:
        return State(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path} is damaged or of another version",
            f"begin anew: rm {path}; nfvctl destroy {name}",
        ) from error


def store(state: State) -> None:
    """Write the state in one step."""
    path = directory(state.name) / _FILE
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(vars(state)))
    os.replace(fresh, path)


def forget(name: str) -> None:
    """Remove the state: the topology is not applied any more."""
    (directory(name) / _FILE).unlink(missing_ok=True)


def remove(name: str) -> None:
    """Remove all files of a topology: its state, its daemons', the records of its NICs."""
    shutil.rmtree(directory(name), ignore_errors=True)


def remove_data(name: str, function: str = "") -> None:
    """Remove what the service of a function keeps, or all services of a topology."""
    shutil.rmtree(data(name) / function, ignore_errors=True)
    with suppress(OSError):  # others are in it, or it is not there
        data(name).rmdir()


@contextmanager
def locked(name: str, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold a topology alone; `waiting` is told who holds it if somebody else does."""
    RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
    path = _lock_path(name)
    while True:
        with path.open("a+") as file:
            _wait(file, waiting)
            if not _is_still(path, file):
                continue  # whoever held it has removed the topology, and the lock with it
            _sign(file)
            try:
                yield
            finally:
                file.truncate(0)
                if not directory(name).exists():
                    path.unlink()
            return


def _lock_path(name: str) -> Path:
    return RUN / f"{name}.lock"


def _wait(file: IO[str], waiting: Callable[[str], None]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        waiting(file.read().strip() or "another process")
        fcntl.flock(file, fcntl.LOCK_EX)


def _is_still(path: Path, file: IO[str]) -> bool:
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _sign(file: IO[str]) -> None:
    file.truncate(0)
    file.write(f"process {os.getpid()}")
    file.flush()
