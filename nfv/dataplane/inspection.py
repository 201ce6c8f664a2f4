"""What runs of an applied topology, and what of it is gone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from nfv.chain.graph import SERVICE
from nfv.chain.topology import Topology
from nfv.dataplane import state, statistics
from nfv.dataplane.change import proglink
from nfv.dataplane.change.observation import Observation, observe
from nfv.dataplane.kernel import bpf
from nfv.dataplane.resident import agentctl, aging, birdctl, servicectl
from nfv.dataplane.routing import routelist
from nfv.dataplane.state import State
from nfv.dataplane.statistics import Count
from nfv.dataplane.wiring import PORT, Device, Port, wire
from nfv.errors import KernelError
from nfv.functions.router import Router
from nfv.services.bird import sessions
from nfv.services.bird.sessions import Session

UP = "up"


@dataclass(frozen=True)
class PortStatus:
    """A SAP or an interface of a function. The device is the one that its user sees."""

    attachment: str
    kind: str  # the SAP's kind, "interface", "port" or "service"
    state: str  # "up", "down", "no carrier", or what is gone
    device: str
    netns: str | None
    mac: str | None
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class ProgramStatus:
    """The program that packets meet where they enter at a port."""

    attachment: str
    hook: str  # "xdp" or "tc", or what it would be
    state: str  # "up", or what is wrong
    name: str | None
    machine_code: int  # bytes


@dataclass(frozen=True)
class AgentStatus:
    """The resident agent; routers and connections are as it tells them."""

    pid: int
    started: float  # seconds since the epoch
    routers: Mapping[str, Mapping[str, object]]
    connections: Mapping[str, Mapping[str, Mapping[str, int]]]


@dataclass(frozen=True)
class ServiceStatus:
    """A function's service; figures are as it tells them, None if it does not run or answer."""

    function: str
    figures: Mapping[str, object] | None


@dataclass(frozen=True)
class RoutingStatus:
    """A router's BIRD; sessions are as it tells them, None if it does not run or answer."""

    function: str
    sessions: tuple[Session, ...] | None


@dataclass(frozen=True)
class Inspection:
    """One topology as it runs. `agent` is None when there is none."""

    applied: State
    topology: Topology
    ports: tuple[PortStatus, ...]
    programs: tuple[ProgramStatus, ...]
    agent: AgentStatus | None
    services: tuple[ServiceStatus, ...]
    routing: tuple[RoutingStatus, ...]

    @property
    def whole(self) -> bool:
        """Whether nothing is missing that apply would mend; a host may turn its devices off."""
        gone = (port.state for port in self.ports if port.state.endswith("gone"))
        idle = (program.state for program in self.programs if program.state != UP)
        served = all(service.figures is not None for service in self.services)
        routed = all(router.sessions is not None for router in self.routing)
        return self.agent is not None and served and routed and not any(gone) and not any(idle)


def inspect(applied: State) -> Inspection:
    """Look at everything that a topology is made of. Raises `KernelError`."""
    topology = applied.topology()
    wiring = wire(topology, applied.ports)
    seen = observe([wiring])
    return Inspection(
        applied,
        topology,
        tuple(_port(port, seen) for port in wiring.ports.values()),
        tuple(_program(topology.name, port) for port in wiring.ports.values()),
        agent(topology.name),
        tuple(
            _service(topology.name, name)
            for name, function in topology.vnfs.items()
            if function.service
        ),
        tuple(
            _routing(topology.name, name)
            for name, function in topology.vnfs.items()
            if isinstance(function, Router) and function.has_daemon
        ),
    )


def rows(applied: State, function: str) -> list[dict[str, object]]:
    """What a function has: records with the same keys. Raises `KernelError`."""
    declared = applied.topology().vnfs[function]
    if declared.lists:
        return _listed(applied, function)
    if declared.next_hops:
        return routelist.rows(applied, function, namespaces(applied)[function])
    return servicectl.rows(applied.name, function, "list")


def _listed(applied: State, function: str) -> list[dict[str, object]]:
    """The rules of a function with what they have counted, then what came into its maps."""
    topology = applied.topology()
    rules = statistics.rules(topology, function)
    matched = statistics.read(applied).vnfs[function].matched if rules else {}
    found: list[dict[str, object]] = [
        {"kind": "rule", "rule": rule.text, **asdict(matched.get(key, Count()))}
        for key, rule in rules.items()
    ]
    places = applied.counters.get(function, {})
    counted = {place: rules[key].text for key, place in places.items() if key in rules}
    pins = state.pins(applied.name) / "vnf" / function
    found += aging.entries(topology.vnfs[function], pins, counted)
    keys = dict.fromkeys(key for row in reversed(found) for key in row)
    return [{key: row.get(key) for key in keys} for row in found]


def agent(name: str) -> AgentStatus | None:
    """What the agent of a topology says of itself."""
    answer = agentctl.status(name)
    if answer is None:
        return None
    known = {field: answer[field] for field in AgentStatus.__dataclass_fields__}
    return AgentStatus(**known)  # type: ignore[arg-type]


def _service(topology: str, function: str) -> ServiceStatus:
    try:
        answer = servicectl.ask(topology, function, "status")
    except KernelError:
        return ServiceStatus(function, None)
    figures = answer["service"]
    assert isinstance(figures, dict)
    return ServiceStatus(function, figures)


def _routing(topology: str, function: str) -> RoutingStatus:
    try:
        lines = birdctl.ask(topology, function, sessions.COMMAND)
    except KernelError:
        return RoutingStatus(function, None)
    return RoutingStatus(function, tuple(sessions.parse(lines)))


def namespaces(applied: State) -> dict[str, str]:
    """The network namespace of every SAP and function that has one of its own, by name."""
    wiring = wire(applied.topology(), applied.ports)
    devices = {
        place.node: _visible(port)
        for place, port in wiring.ports.items()
        if port.kind not in (PORT, SERVICE)
    }
    return {node: device.netns for node, device in devices.items() if device.netns is not None}


def _visible(port: Port) -> Device:
    """The device of a port that its user sees."""
    return port.inner or port.outer


def _port(port: Port, seen: Observation) -> PortStatus:
    device = _visible(port)
    view = seen.get(device.netns)
    link = view.links.get(device.name) if view else None
    return PortStatus(
        str(port.attachment),
        port.kind,
        next(_troubles(port, seen), UP),
        device.name,
        device.netns,
        link.mac if link else None,
        tuple(sorted(view.addresses_of(device.name))) if view else (),
    )


def _troubles(port: Port, seen: Observation) -> Iterator[str]:
    """What keeps packets from passing a port, the gravest first."""
    views = {"": seen.get(_visible(port).netns), "fabric ": seen.get(port.outer.netns)}
    yield from (f"{end}namespace is gone" for end, view in views.items() if view is None)
    names = {"": _visible(port).name, "fabric ": port.outer.name}
    links = {end: view.links.get(names[end]) for end, view in views.items() if view}
    yield from (f"{end}device is gone" for end, link in links.items() if link is None)
    yield from (f"{end}down" for end, link in links.items() if link and not link.up)
    yield from ("no carrier" for link in links.values() if link and not link.carrier)


def _program(topology: str, port: Port) -> ProgramStatus:
    place = str(port.attachment)
    pin = state.pins(topology) / "port" / place / "link"
    hook = (proglink.hook_of(pin) or port.hook).value
    if not pin.exists():
        return ProgramStatus(place, hook, "not attached", None, 0)
    link = bpf.obj_get(pin)
    try:
        ident, ifindex = bpf.link_info(link)
    finally:
        os.close(link)
    if not ifindex:
        return ProgramStatus(place, hook, "device is gone", None, 0)
    program = bpf.prog_open(ident)
    try:
        _, name, machine_code = bpf.prog_info(program)
    finally:
        os.close(program)
    return ProgramStatus(place, hook, UP, name, machine_code)
