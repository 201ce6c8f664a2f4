"""The routing daemons of routers: which must run and what they are told; starting and ending them.

A router that says so has a BIRD under a supervisor (nfv.dataplane.resident.bird). What it was told
last is in its file; where that differs from the topology, it reads the file again.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nfv.chain import names
from nfv.chain.topology import Topology
from nfv.dataplane import state
from nfv.dataplane.change.plan import Change, Element, Phase, Symbol
from nfv.dataplane.change.transaction import Step
from nfv.dataplane.kernel import netns
from nfv.dataplane.resident.daemon import LodgedDaemon
from nfv.errors import InputError, KernelError
from nfv.services.bird import cli
from nfv.services.bird.text import text

_PATIENCE = 30.0  # seconds until it must have answered
_START_PAUSE = 0.02  # seconds between attempts to reach one that is just starting


@dataclass(frozen=True)
class Files:
    """What a BIRD reads, and where it listens."""

    configuration: Path
    socket: Path


def files(topology: str, router: str) -> Files:
    """The files of a router's BIRD."""
    directory = _directories(topology) / router
    return Files(directory / "bird.conf", directory / "bird.ctl")


def daemon(topology: str, router: str) -> LodgedDaemon:
    """The BIRD of a router."""
    command = ("nfv.dataplane.resident.bird", topology, router)
    return LodgedDaemon(f"BIRD of {router}", _directories(topology) / router, command)


def program() -> str:
    """The path of bird(8). Raises `InputError` if it is not installed."""
    found = shutil.which("bird")
    if found is None:
        raise InputError("bird, the routing daemon, is missing", "apt-get install bird2")
    return found


def changes(topology: Topology, former: Topology | None) -> Iterator[Change]:
    """Start those that do not run, once packets flow; tell those that do; end the others.

    Raises `InputError` if BIRD is not installed.
    """
    name = topology.name
    found = {router: text(topology, router) for router in topology.vnfs}
    wanted = {router: words for router, words in found.items() if words is not None}
    for router, words in wanted.items():
        told = _told(name, router)
        lives = netns.exists(names.node_netns(name, router)) and daemon(name, router).is_running()
        if not lives:
            program()
            known = former is not None and router in former.vnfs and told is not None
            yield Change(
                Element("vnf", router),
                Symbol.CHANGE if known else Symbol.ADD,
                "BIRD is not running" if known else "",
                steps=[*_ending(name, router), (Phase.SETTLE, _start(name, router, words))],
            )
        elif told != words:
            step = _tell(name, router, words, told or words)
            reason = "routing protocols or advertisements"
            steps = [(Phase.SETTLE, step)]
            yield Change(Element("vnf", router), Symbol.CHANGE, reason, steps=steps)
    for router in started(name):
        if router not in wanted:
            symbol = Symbol.CHANGE if router in topology.vnfs else Symbol.REMOVE
            reason = "BIRD ends" if symbol is Symbol.CHANGE else ""
            yield Change(Element("vnf", router), symbol, reason, steps=_ending(name, router))


def start(topology: str, router: str, words: str) -> None:
    """Start a BIRD with a configuration; return when it runs. Raises `KernelError`."""
    _write(topology, router, words)
    daemon(topology, router).start()


def stop(topology: str, router: str) -> None:
    """End a BIRD; hosts are told that its router is none any more."""
    daemon(topology, router).stop()


def started(topology: str) -> Iterator[str]:
    """The routers whose BIRD was started, sorted."""
    for path in sorted(_directories(topology).glob("*")):
        yield path.name


def tell(topology: str, router: str, words: str) -> None:
    """Have a BIRD take another configuration, without a restart. Raises `KernelError`."""
    _write(topology, router, words)
    ask(topology, router, "configure")


def ask(topology: str, router: str, command: str) -> list[str]:
    """The lines that a BIRD answers to a command with. Raises `KernelError`."""
    place = files(topology, router).socket
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return cli.ask(place, command, _PATIENCE)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            starting = daemon(topology, router).is_running() and time.monotonic() < deadline
            if not starting:
                hint = f"`nfvctl apply {topology}` starts it"
                raise KernelError(f"BIRD of {router} does not run", hint) from error
            time.sleep(_START_PAUSE)
        except OSError as error:
            raise KernelError(f"BIRD of {router} does not answer: {error}") from error


def _directories(topology: str) -> Path:
    return state.directory(topology) / "routing"


def _told(topology: str, router: str) -> str | None:
    try:
        return files(topology, router).configuration.read_text()
    except FileNotFoundError:
        return None


def _write(topology: str, router: str, words: str) -> None:
    """In one step, as its supervisor may start it again at any moment."""
    path = files(topology, router).configuration
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(words)
    os.replace(fresh, path)


def _start(topology: str, router: str, words: str) -> Step:
    return Step(
        f"start BIRD of {router}",
        lambda: start(topology, router, words),
        lambda: stop(topology, router),
    )


def _tell(topology: str, router: str, words: str, former: str) -> Step:
    return Step(
        f"tell BIRD of {router}",
        lambda: tell(topology, router, words),
        lambda: tell(topology, router, former),
    )


def _ending(topology: str, router: str) -> list[tuple[Phase, Step]]:
    """While packets flow, as hosts and neighbours are told of it."""
    words = _told(topology, router)
    if words is None:
        return []
    step = Step(
        f"end BIRD of {router}",
        lambda: stop(topology, router),
        lambda: start(topology, router, words),
    )
    return [(Phase.RETIRE, step)]
