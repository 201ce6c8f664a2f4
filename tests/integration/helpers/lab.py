"""A topology under test: applied under a name of its own, used as hosts would, and destroyed."""

from __future__ import annotations

import itertools
import os
import re
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

from nfv.chain import names
from nfv.chain.topology import Topology, loads
from nfv.dataplane import state, statistics
from nfv.dataplane.change import engine
from nfv.dataplane.change.plan import Line, Plan
from nfv.dataplane.kernel import bpf, netns
from nfv.dataplane.resident import agentctl
from nfv.errors import InputError, LeftoverError

REPOSITORY = Path(__file__).parents[3]
EXAMPLES = REPOSITORY / "topologies"
PYTHON = "/usr/bin/python3"

_NAME = re.compile(r"^name: \S+", re.MULTILINE)
_SERVER_PATIENCE = 10.0  # seconds until a server must have ended
_COMMAND_PATIENCE = 60.0
_numbers = itertools.count()


def unique(word: str) -> str:
    """A name for a topology or namespace that no other test run on this machine has."""
    return f"{word}-{os.getpid()}-{next(_numbers)}"


def example(stem: str) -> str:
    """The text of a file in topologies/."""
    return (EXAMPLES / f"{stem}.yaml").read_text()


class Lab:
    """One topology; `text` is what was applied last, or is to be."""

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self.text = text

    @property
    def topology(self) -> Topology:
        return loads(self.text, "test.yaml")

    def declare(self, text: str) -> None:
        """Take a text as what is declared, under the name of this lab."""
        self.text = _NAME.sub(f"name: {self.name}", text, count=1)

    def edit(self, old: str, new: str) -> None:
        """Change what is declared in one place."""
        assert self.text.count(old) == 1, f"{old!r} is not there exactly once"
        self.text = self.text.replace(old, new)

    def apply(self) -> Plan:
        try:
            return engine.apply(self.topology, None, pytest.fail)
        except LeftoverError as error:
            pytest.fail(f"{error.message}: {error.leftovers}")

    def plan(self) -> Plan:
        return engine.plan(self.topology)

    def lines(self) -> list[Line]:
        """What is planned."""
        return list(self.plan().lines)

    def destroy(self) -> None:
        engine.destroy(self.name, None, pytest.fail)

    def netns(self, node: str = "") -> str:
        """The namespace of a host or router; of the plumbing without a name."""
        return names.node_netns(self.name, node) if node else names.fabric_netns(self.name)

    @property
    def pins(self) -> Path:
        return state.pins(self.name)

    @property
    def directory(self) -> Path:
        return state.directory(self.name)

    def agent(self) -> Mapping[str, object]:
        """What the agent says of itself."""
        status = agentctl.status(self.name)
        assert status is not None, "there is no agent"
        return status

    def statistics(self) -> statistics.Statistics:
        applied = state.load(self.name)
        assert applied is not None
        return statistics.read(applied)

    def programs(self) -> dict[str, int]:
        """The kernel's number of the program that runs at each port."""
        found = {}
        for pin in self.pins.glob("port/*/link"):
            link = bpf.obj_get(pin)
            found[pin.parent.name] = bpf.link_info(link)[0]
            os.close(link)
        return found

    def maps(self) -> dict[str, int]:
        """The kernel's number of every pinned map."""
        found = {}
        for pin in self.pins.rglob("*"):
            if pin.is_file() and pin.name != "link":
                opened = bpf.Map.open(pin)
                found[str(pin.relative_to(self.pins))] = opened.id
                opened.close()
        return found

    def settle(self) -> None:
        """Return when the fast path knows all that the kernel has learnt up to here."""
        agentctl.sync(self.name)

    # Commands

    def run(
        self, node: str, command: str, *, timeout: float = 30, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, split at blanks, in the namespace of a node."""
        return run_in(self.netns(node), command, timeout=timeout, check=check)

    @contextmanager
    def server(self, node: str, command: str, ready: str) -> Iterator[None]:
        """A program in the namespace of a node, which has said that it is ready."""
        with server_in(self.netns(node), command, ready):
            yield


def run_in(
    place: str | None, command: str, *, timeout: float = 30, check: bool = True
) -> subprocess.CompletedProcess[str]:
    with netns.entered(place):
        done = subprocess.run(
            command.split(), capture_output=True, text=True, timeout=timeout, check=False
        )
    if check:
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@contextmanager
def server_in(place: str, command: str, ready: str) -> Iterator[None]:
    with netns.entered(place):
        process = subprocess.Popen(
            command.split(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    assert process.stdout is not None
    try:
        _wait_for(process.stdout, ready)
        yield
    finally:
        process.kill()
        process.communicate(timeout=_SERVER_PATIENCE)


def _wait_for(stream: IO[str], words: str) -> None:
    said = []
    for line in stream:
        said.append(line)
        if words in line:
            return
    pytest.fail(f"a server ended before it said {words!r}: {''.join(said)}")


@contextmanager
def lab(text: str, word: str) -> Iterator[Lab]:
    """A lab that is not applied yet, and of which nothing remains."""
    made = Lab(text, unique(word))
    made.declare(text)
    try:
        yield made
    finally:
        with suppress(InputError):  # not applied, or destroyed by the test
            made.destroy()


@contextmanager
def applied(text: str, word: str) -> Iterator[Lab]:
    """A lab that is applied."""
    with lab(text, word) as made:
        made.apply()
        yield made


@contextmanager
def namespace(word: str) -> Iterator[str]:
    """A namespace that is not the project's: a container's, as far as it can tell."""
    name = unique(word)
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield name
    finally:
        if netns.exists(name):
            subprocess.run(["ip", "netns", "del", name], check=True)


def kill(process: int) -> None:
    """End a process at once, and return when it has ended."""
    descriptor = os.pidfd_open(process)
    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        assert selector.select(_SERVER_PATIENCE)
    os.close(descriptor)


def nfvctl(*arguments: str, text: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; `text` is its standard input."""
    process = started(*arguments, text=text, **variables)
    out, err = process.communicate(timeout=_COMMAND_PATIENCE)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def started(*arguments: str, text: str = "", **variables: str) -> subprocess.Popen[str]:
    """Start the command."""
    process = subprocess.Popen(
        [Path(sys.executable).with_name("nfvctl"), *arguments],
        env={**os.environ, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.close()
    process.stdin = None  # communicate() would flush it
    return process
