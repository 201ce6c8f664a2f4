"""Chains of ours as ways between two hosts: topologies, applied as `nfvctl apply` does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from benchmarks import rules
from benchmarks.frames import Translation
from benchmarks.live import Device
from benchmarks.wired import (
    HOST_ADDRESSES,
    HOSTS,
    ROUTER_ADDRESSES,
    Path,
    gateway,
    path,
    settle,
)
from nfv.chain import names
from nfv.chain.topology import Topology, loads
from nfv.dataplane.change import engine
from nfv.dataplane.resident import agentctl
from nfv.ebpf.compose import Composer, compose
from nfv.errors import InputError, KernelError

CONNECTIONS = 1 << 16
"""What a firewall has room for, unless there are more flows."""

_FLOW_CACHE = 1 << 14  # flows remembered, unless there are more

TRANSLATION = Translation("198.18.0.10", port_bits=0x1234)
"""What the far host sees of the near one behind a NAT."""

_TRANSLATIONS = {"snat": TRANSLATION, "nat": Translation(gateway("wan", 4))}
"""The same by the type of the function `nat`; that of the type nat keeps ports."""

OUTSIDE = "198.18.0.0/24"
"""The pool of a NAT whose one address would have too few ports."""

_NAT = {
    "type": "snat",  # of tests/vnfs
    "inside": "10.0.1.0/24",
    "outside": OUTSIDE,
    "ports": TRANSLATION.port_bits,
}
_FOLLOW_SECONDS = 300.0
_POLL_SECONDS = 0.2  # nobody tells when larger maps are there


def router(name: str, hook: str | None = "xdp") -> Topology:
    """A router between the hosts; a hook of None is that of a SAP that names none."""
    return _routed(name, {}, {}, hook)


def firewalls(name: str, count: int, rule_count: int) -> Topology:
    """Firewalls in a row between the hosts, each with so many rules; no router."""
    return _wire(name, {f"fw{number}": _firewall(rule_count) for number in range(1, count + 1)})


def firewall(
    name: str, rule_count: int, stateless: bool = False, connections: int = CONNECTIONS
) -> Topology:
    """One firewall between the hosts, no router; with or without connections."""
    declared = _firewall(rule_count)
    return _wire(name, {"fw": {**declared, "stateless": stateless, "connections": connections}})


def standard(
    name: str,
    rule_count: int = 100,
    flows: int = 1,
    stateless: bool = False,
    connections: int = CONNECTIONS,
) -> Topology:
    """A firewall, a router and a source NAT: the chain that is measured most.

    It remembers twice as many flows as there are, as docs/topology.md advises.
    """
    room = max(connections, 2 * flows)
    firewall = {**_firewall(rule_count), "stateless": stateless, "connections": room}
    cache = max(_FLOW_CACHE, 2 * flows)
    return _routed(name, {"fw": firewall}, {"nat": _NAT}, flow_cache=cache)


def nat(name: str, mappings: int, flows: int = 1, pool: bool = False) -> Topology:
    """A router and behind it a NAT, which has the router's own address or a pool."""
    by: dict[str, Any] = {"pools": [{"inside": "10.0.0.0/8", "outside": OUTSIDE}]} if pool else {}
    function = {"type": "nat", "mappings": mappings, **(by or {"masquerade": "gw:wan"})}
    cache = max(_FLOW_CACHE, 2 * flows)
    return _routed(name, {}, {"nat": function}, flow_cache=cache)


@contextmanager
def chain(declared: Topology, composer: Composer = compose) -> Iterator[Path]:
    """The topology, applied, with its programs cut in this way."""
    engine.apply(declared, None, _wait, composer)
    with ExitStack() as stack:
        stack.callback(engine.destroy, declared.name, None, _wait)
        hosts = [
            Device(names.node_netns(declared.name, host), names.HOST_DEVICE)
            for host in declared.saps
        ]
        if "gw" not in declared.vnfs:
            yield path(hosts[:2], hosts[1::-1], others=tuple(hosts[2:]))
            return
        space = names.node_netns(declared.name, "gw")
        hops = [Device(space, names.interface_device(host)) for host in HOSTS]
        translating = declared.vnfs.get("nat")
        translation = _TRANSLATIONS[translating.type] if translating else None
        on = partial(follow, declared.name)
        found = path(hosts, hops, translation=translation, router=space, follow=on)
        ends = zip(HOSTS, hops, (found.near_end, found.far_end), strict=True)
        settle(space, {host: (hop.name, end.mac) for host, hop, end in ends})
        yield found


def follow(name: str) -> None:
    """Return when the agent has all routes of its routers in the maps.

    Raises `InputError` if they are more than a router takes.
    """
    deadline = time.monotonic() + _FOLLOW_SECONDS
    while any(router["growing"] for router in _synced(name, deadline)):
        if time.monotonic() > deadline:
            raise KernelError("the router's maps are still being made larger")
        time.sleep(_POLL_SECONDS)
    for router in _synced(name, deadline):
        if router["why"]:
            raise InputError(f"the router leaves its packets to Linux: {router['why']}")


def _synced(name: str, deadline: float) -> list[dict[str, Any]]:
    """The agent's routers, when the maps have what the kernel told up to here."""
    while True:
        try:
            agentctl.sync(name)
            break
        except KernelError:
            if time.monotonic() > deadline:
                raise
    found = agentctl.status(name)
    routers = found["routers"] if found else {}
    assert isinstance(routers, dict)
    return list(routers.values())


def switch(name: str, ports: int, stations: int) -> Topology:
    """A switch with a host at each port."""
    hosts = {
        f"host{number}": {"kind": "host", "ip": f"10.0.2.{number}/24", "hook": "xdp"}
        for number in range(2, ports)
    }
    saps = {**_saps(), **hosts}
    function = {"type": "switch", "ports": ports, "stations": stations}
    chains = {sap: {"path": [sap, f"switch:{at}"]} for at, sap in enumerate(saps, 1)}
    return _load({"name": name, "saps": saps, "vnfs": {"switch": function}, "chains": chains})


def _wire(name: str, functions: Mapping[str, Any]) -> Topology:
    """Functions in a row between the hosts."""
    chains = {"wire": {"path": ["lan", *functions, "wan"]}}
    return _load({"name": name, "saps": _saps(), "vnfs": functions, "chains": chains})


def _routed(
    name: str,
    functions: Mapping[str, Any],
    beyond: Mapping[str, Any],
    hook: str | None = "xdp",
    flow_cache: int = _FLOW_CACHE,
) -> Topology:
    """Functions in front of a router, and beyond it."""
    interfaces = {host: {"ip": list(ROUTER_ADDRESSES[host].values())} for host in HOSTS}
    chains = {
        "inside": {"path": ["lan", *functions, "gw:lan"]},
        "outside": {"path": ["gw:wan", *beyond, "wan"]},
    }
    vnfs = {**functions, **beyond, "gw": {"type": "router", "interfaces": interfaces}}
    data = {"name": name, "flow_cache": flow_cache, "saps": _saps(hook)}
    return _load({**data, "vnfs": vnfs, "chains": chains})


def _saps(hook: str | None = "xdp") -> dict[str, Any]:
    """The hosts. Live frames come by XDP, so programs must be there."""
    hooked = {"hook": hook} if hook else {}
    return {
        host: {
            "kind": "host",
            "ip": list(HOST_ADDRESSES[host].values()),
            "gateway": [gateway(host, version) for version in (4, 6)],
            **hooked,
        }
        for host in HOSTS
    }


def _firewall(rule_count: int) -> dict[str, Any]:
    return {"type": "firewall", **rules.as_yaml(rule_count)}


def _load(data: Mapping[str, Any]) -> Topology:
    return loads(json.dumps(data, indent=0), str(data["name"]))


def _wait(holder: str) -> None:
    raise KernelError(f"the topology is being changed by {holder}", "run one benchmark at a time")
