"""The agent of a topology: `python -m nfv.dataplane.resident.agent NAME`, under its supervisor.

It keeps the routers' maps in step with their namespaces, ages connections and answers on the
control socket. It may be killed at any moment: forwarding goes on by the pinned maps, and the next
agent adopts them. One loop, which waits for events and for the next pass of the aging.

The supervisor gives it the listening control socket as standard input and reads a line from its
standard output once everything is in step.
"""

from __future__ import annotations

import fcntl
import os
import selectors
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from nfv.chain.topology import Topology
from nfv.dataplane import state
from nfv.dataplane.kernel.namewatch import NameWatch
from nfv.dataplane.resident import control
from nfv.dataplane.resident.aging import Aging
from nfv.dataplane.resident.growth import Growth
from nfv.dataplane.resident.logs import Log, logs
from nfv.dataplane.resident.outside import Outside, surroundings
from nfv.dataplane.routing.egress import Egress, egresses
from nfv.dataplane.routing.follower import Follower, Status
from nfv.dataplane.state import State
from nfv.dataplane.wiring import wire
from nfv.errors import InputError, KernelError, NfvError

_CHECK_INTERVAL = 5.0  # seconds between attempts at what failed
_TABLE = "defaults"  # the map that a function which routes has


@dataclass(frozen=True)
class Site:
    """Where a router's routing is followed from and to."""

    netns: str
    pins: Path
    egresses: tuple[Egress, ...]
    number: int  # in counted paths


class Agent:
    """The agent of one topology. `InputError` if it is not applied."""

    def __init__(self, name: str, listener: socket.socket) -> None:
        self._name = name
        self._started = time.time()
        self._generation = 0
        self._selector = selectors.DefaultSelector()
        self._sites: dict[str, Site] = {}
        self._followers: dict[str, Follower] = {}
        self._failures: dict[str, str] = {}  # routers that are not followed, and why
        self._reasons: dict[str, str] = {}  # routers that the kernel helps, and why
        self._growths: dict[str, Growth] = {}  # of routers' maps
        self._outsides: dict[str, Outside] = {}  # of functions that translate addresses
        self._logs: dict[str, Log] = {}  # of functions that have one
        self._aging: Aging | None = None
        self._next_check = time.monotonic() + _CHECK_INTERVAL
        self._watch = NameWatch()
        self._selector.register(self._watch, selectors.EVENT_READ, self._let_go)
        self._load()
        handlers = {
            "status": self._status,
            "sync": self._sync,
            "reload": self._reload,
            "tell": self._tell,
        }
        control.Server(self._selector, listener, handlers)

    def run(self, until: int) -> None:
        """Serve until the pipe `until` has nobody at its other end."""
        ended: list[bool] = []
        self._selector.register(until, selectors.EVENT_READ, lambda: ended.append(True))
        while not ended:
            for key, _events in self._selector.select(self._delay):
                key.data()
            if self._aging:
                self._aging.step()
            if time.monotonic() >= self._next_check:
                self._check()

    @property
    def _delay(self) -> float:
        check = max(0.0, self._next_check - time.monotonic())
        return min(check, self._aging.delay) if self._aging else check

    # Requests

    def _status(self, _request: control.Request) -> Mapping[str, object]:
        routers = {name: follower.status() for name, follower in self._followers.items()}
        for name, why in self._failures.items():
            routers[name] = Status(0, 0, 0, 0, why)
        occupancy = self._aging.occupancy if self._aging else {}
        return {
            "pid": os.getpid(),
            "started": self._started,
            "generation": self._generation,
            "routers": {
                name: {**routers[name].document(), "growing": self._grows(name)}
                for name in self._sites
            },
            "connections": {
                name: {table: asdict(found) for table, found in tables.items()}
                for name, tables in occupancy.items()
            },
        }

    def _sync(self, _request: control.Request) -> Mapping[str, object]:
        for name in list(self._followers):
            self._attend(name, _drain)
        return {"generation": self._generation, "failures": dict(self._failures)}

    def _reload(self, request: control.Request) -> Mapping[str, object]:
        self._load()
        return self._sync(request)

    def _tell(self, request: control.Request) -> Mapping[str, object]:
        name, values = str(request.get("function")), request.get("values")
        if self._aging is None or not isinstance(values, dict):
            raise InputError("name a function, a request and its values")
        return {"rows": self._aging.tell(name, str(request.get("request")), values)}

    # Routers

    def _load(self) -> None:
        """Take over what the topology's state says. Raises `InputError` or `TopologyError`."""
        applied = state.load(self._name)
        if applied is None:
            raise InputError(f"topology '{self._name}' is not applied")
        topology = applied.topology()
        self._sites = _sites(topology, applied)
        self._failures.clear()
        for name in list(self._followers):
            if name not in self._sites:
                self._drop(name)
        for name in self._sites:
            self._follow(name)
        self._look_around(topology, applied.ports)
        former, self._aging = self._aging, Aging(topology, state.pins(self._name))
        if former:
            former.close()
        self._open_logs(topology)
        self._generation += 1
        _log("info", f"generation {self._generation}: follows {', '.join(self._sites) or 'none'}")

    def _follow(self, name: str) -> None:
        """Begin to follow a router, or go on if its namespace and maps are the same."""
        site = self._sites[name]
        follower = self._followers.get(name)
        if follower is not None and follower.is_current:
            follower.rewire(site.egresses)
            self._attend(name, _drain)
            return
        if follower is not None:
            self._drop(name)
        try:
            follower = Follower(site.netns, site.pins, site.egresses, site.number)
        except NfvError as error:
            self._fail(name, error)
            return
        self._followers[name] = follower
        self._selector.register(
            follower, selectors.EVENT_READ, partial(self._attend, name, _take_in)
        )
        self._attend(name, _drain)

    def _look_around(self, topology: Topology, ports: Mapping[str, int]) -> None:
        """Tell functions that translate addresses what they have to know of their surroundings."""
        for former in self._outsides.values():
            if former.follows:
                self._selector.unregister(former)
            former.close()
        self._outsides.clear()
        wiring = wire(topology, ports)
        for name, place in surroundings(topology, wiring, state.pins(self._name)).items():
            found = self._outsides[name] = Outside(place)
            if found.follows:
                self._selector.register(found, selectors.EVENT_READ, found.read)

    def _open_logs(self, topology: Topology) -> None:
        """Begin to write what functions' programs tell of packets."""
        for former in self._logs.values():
            former.read()
            self._selector.unregister(former)
            former.close()
        self._logs = logs(self._name, topology.vnfs)
        for log in self._logs.values():
            self._selector.register(log, selectors.EVENT_READ, log.read)

    def _attend(self, name: str, action: Callable[[Follower], None]) -> None:
        """Do something with a follower; what fails leaves its router to the kernel for a while."""
        follower = self._followers.get(name)
        if follower is None:  # dropped since its event was found
            return
        try:
            action(follower)
        except NfvError as error:
            follower.abandon()
            self._fail(name, error)
            return
        if self._failures.pop(name, None):
            _log("info", f"router {name}: followed again")
        why = follower.why or ""
        if why != self._reasons.get(name, ""):
            _log("warning" if why else "info", f"router {name}: {why or 'all on the fast path'}")
        self._reasons[name] = why
        self._let_grow(name, follower)

    def _let_grow(self, name: str, follower: Follower) -> None:
        """Have larger maps made, if there are programs to bind to them."""
        if not follower.wanted or not (state.pins(self._name) / "port").is_dir():
            return
        growth = self._growths.setdefault(name, Growth(self._name, name))
        if growth.want(follower.wanted):
            _log("info", f"router {name}: has larger maps made")

    def _grows(self, name: str) -> bool:
        """Whether a router's packets are the kernel's only until there are larger maps."""
        follower, growth = self._followers.get(name), self._growths.get(name)
        return bool(follower and growth and growth.is_pending(follower.wanted))

    def _fail(self, name: str, error: NfvError) -> None:
        if self._failures.get(name) != error.message:
            _log("error", f"router {name}: the kernel routes, because the agent {error.message}")
        self._failures[name] = error.message

    def _drop(self, name: str) -> None:
        follower = self._followers.pop(name)
        self._selector.unregister(follower)
        follower.close()

    def _check(self) -> None:
        """Try again what failed, or had to wait."""
        self._next_check = time.monotonic() + _CHECK_INTERVAL
        for name in self._sites:
            if name not in self._followers:
                self._follow(name)
            elif name in self._failures:
                self._attend(name, _drain)
            else:
                self._let_grow(name, self._followers[name])

    def _let_go(self) -> None:
        """Stop following namespaces that were deleted: they live on while somebody is in them."""
        self._watch.read()
        for name, follower in list(self._followers.items()):
            if not follower.is_current:
                follower.abandon()
                self._drop(name)
                lost = f"lost namespace {self._sites[name].netns} or its maps"
                self._fail(name, KernelError(lost))


def _drain(follower: Follower) -> None:
    """Bring a router's maps in step with everything that the kernel has told."""
    while follower.read():
        pass
    follower.flush()


def _take_in(follower: Follower) -> None:
    follower.read()
    follower.flush()


def _sites(topology: Topology, applied: State) -> dict[str, Site]:
    """The functions that route, by name."""
    wiring = wire(topology, applied.ports)
    sites = {}
    for name in topology.vnfs:
        pins = state.pins(topology.name) / "vnf" / name
        inner = next((port.inner for port in wiring.of(name)), None)
        if inner is not None and inner.netns is not None and (pins / _TABLE).exists():
            found, number = egresses(topology, wiring, name), applied.functions[name]
            sites[name] = Site(inner.netns, pins, found, number)
    return sites


def _log(level: str, message: str) -> None:
    """A line for the log; the supervisor adds the time."""
    print(f"{level}: {message}", file=sys.stderr, flush=True)


def _lock(directory: Path) -> None:
    """Hold the lock of a topology's agent until the process ends: there are never two.

    One whose supervisor was killed is about to end, and is waited for.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(directory / control.LOCK, flags, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def main(name: str) -> int:
    """Run the agent of a topology; its standard streams are as the module says."""
    _lock(state.directory(name))
    agent = Agent(name, socket.socket(fileno=sys.stdin.fileno()))
    print("in step", flush=True)
    agent.run(until=sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except NfvError as failure:
        _log("error", failure.message)
        sys.exit(failure.exit_code)
