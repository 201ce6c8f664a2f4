"""A router of ours and a Linux one with the same addresses, routes and neighbours."""

from __future__ import annotations

import selectors
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from nfv.chain.path import Attachment
from nfv.chain.sap import Hook
from nfv.dataplane import state
from nfv.dataplane.kernel import netns
from nfv.dataplane.load.farend import FarEnd
from nfv.dataplane.wiring import Device, Port, wire
from tests.integration.helpers.lab import applied, namespace, run_in
from tests.integration.scratch import scratch_namespace
from tests.property.generate.frames import Ends, Shape, icmp, packet, udp
from tests.property.generate.topologies import text_of
from tests.property.model.router import octets

Spec = Mapping[str, Any]
Put = tuple[str, bytes]
"""A frame, and the host that sends it."""
Received = Mapping[str, Sequence[bytes]]
"""The frames that each host gets, in their order."""

_PATIENCE = 30.0  # seconds
_NOP = b"\x01" * 4  # IPv4 options, which are left to Linux

_SETTINGS = {
    "net/ipv4/icmp_ratemask": 0,
    "net/ipv6/icmp/ratelimit": 0,
    "net/ipv6/icmp/ratemask": 255,  # a type that is never sent
    "net/ipv4/ipfrag_time": 600,
    "net/ipv6/ip6frag_time": 600,
    "net/ipv6/auto_flowlabels": 0,
    "net/ipv4/conf/all/send_redirects": 0,
    "net/ipv4/conf/default/send_redirects": 0,
}
"""Errors without limits, and nothing that is a matter of time or chance."""

_FORWARDING = {
    "net/ipv4/ip_forward": 1,
    "net/ipv6/conf/all/forwarding": 1,
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    "net/ipv6/conf/all/accept_dad": 0,
    "net/ipv6/conf/default/accept_dad": 0,
}
"""As of any router of ours."""


class Router:
    """The wires of a router, one to a host at each interface; frames are sent one at a time."""

    def __init__(self, spec: Spec, ends: Mapping[str, FarEnd]) -> None:
        self._ends = ends
        self._marks = list(_marks(spec))
        self._selector = selectors.DefaultSelector()
        for name, end in ends.items():
            self._selector.register(end, selectors.EVENT_READ, name)

    def close(self) -> None:
        self._selector.close()

    def exchange(self, frames: Sequence[Put], number: int) -> Received:
        """Send frames, then marks; what each host receives until all its marks have come.

        A mark goes every way that frames take: to each other host, by the fast path and by Linux,
        and to the router itself. Frames that take the same way keep their order.
        """
        end = b"mark %08d" % number
        for name, data in frames:
            self._ends[name].send(data)
        for name, ends in self._marks:
            for data in _marked(ends, end):
                self._ends[name].send(data)
        found: dict[str, list[bytes]] = {name: [] for name in self._ends}
        missing = dict.fromkeys(self._ends, 2 * (len(self._ends) - 1) + 1)
        while any(missing.values()):
            ready = self._selector.select(_PATIENCE)
            if not ready:
                pytest.fail(f"marks do not come: {missing}")
            for key, _events in ready:
                while (frame := self._ends[key.data].read()) is not None:
                    if end in frame.data:
                        missing[key.data] -= 1
                    else:
                        found[key.data].append(frame.data)
        lost = {name: end.lost for name, end in self._ends.items() if end.lost}
        assert not lost, f"the test could not take all that came: {lost}"
        return found


def _marks(spec: Spec) -> Iterator[tuple[str, Ends]]:
    """From each host to each other, and to the router."""
    interfaces = spec["vnfs"]["gw"]["interfaces"]
    for near, host in spec["saps"].items():
        own = interfaces[_interface(spec, near)]
        others = (other for name, other in spec["saps"].items() if name != near)
        for far in (*others, own):
            src, dst = _first(host["ip"]), _first(far["ip"])
            yield near, Ends(octets(host["mac"]), octets(own["mac"]), src, dst)


def _first(addresses: Sequence[str]) -> bytes:
    return bytes(map(int, addresses[0].partition("/")[0].split(".")))


def _marked(ends: Ends, end: bytes) -> Iterator[bytes]:
    """A ping of the router; to a host a datagram, and one that the fast path leaves to Linux."""
    if ends.dst[-1] == 1:
        yield packet(ends, 1, icmp(ends, 8, 0, 1 << 16, end), Shape())
        return
    for options in (b"", _NOP):
        yield packet(ends, 17, udp(ends, 9, 9, bytes(18) + end), Shape(options=options))


@contextmanager
def ours(spec: Spec, hook: Hook) -> Iterator[Router]:
    """The router as a topology has it."""
    hooked = {name: {**sap, "hook": hook.value} for name, sap in spec["saps"].items()}
    with applied(text_of({**spec, "saps": hooked}), "oracle") as lab, ExitStack() as stack:
        place = lab.netns("gw")
        _set(place, _SETTINGS)
        for line in _neighbours(spec):
            run_in(place, line)
        lab.settle()
        loaded = state.load(lab.name)
        assert loaded is not None
        ports = wire(loaded.topology(), loaded.ports).ports
        yield _opened(stack, spec, {name: ports[Attachment(name, None)] for name in spec["saps"]})


@contextmanager
def linux(spec: Spec) -> Iterator[Router]:
    """A Linux namespace that routes."""
    with ExitStack() as stack:
        place = stack.enter_context(scratch_namespace())
        hosts = stack.enter_context(namespace("stations"))
        _set(place, {**_FORWARDING, **_SETTINGS})
        for line in (*_links(spec, hosts), *_routes(spec), *_neighbours(spec)):
            run_in(place, line)
        ports = {}
        for name, sap in spec["saps"].items():
            run_in(hosts, f"ip link set {name} up")
            near, far = Device(place, _interface(spec, name)), Device(hosts, name)
            attachment = Attachment(name, None)
            ports[name] = Port(0, attachment, "host", near, far, sap["mac"], 1500, Hook.XDP)
        yield _opened(stack, spec, ports)


def _opened(stack: ExitStack, spec: Spec, ports: Mapping[str, Port]) -> Router:
    ends = {}
    for name, port in ports.items():
        ends[name] = FarEnd(port, port.inner, silent=True)
        stack.callback(ends[name].close)
    router = Router(spec, ends)
    stack.callback(router.close)
    return router


def _set(place: str, settings: Mapping[str, int]) -> None:
    with netns.entered(place):
        for path, value in settings.items():
            netns.write_sysctl(path, value)


def _interface(spec: Spec, host: str) -> str:
    """The router's interface on a host's link."""
    (place,) = (path[1] for path in _paths(spec) if path[0] == host)
    return place.partition(":")[2]


def _paths(spec: Spec) -> Iterator[Sequence[str]]:
    for chain in spec["chains"].values():
        yield chain["path"]


def _links(spec: Spec, hosts: str) -> Iterator[str]:
    """Commands for the router's interfaces, with the hosts' ends in a namespace of theirs."""
    for host in spec["saps"]:
        name = _interface(spec, host)
        config = spec["vnfs"]["gw"]["interfaces"][name]
        address, mtu = config["mac"], config.get("mtu", 1500)
        yield f"ip link add {name} address {address} type veth peer name {host} netns {hosts}"
        yield f"ip link set {name} mtu {mtu} up"
        for ip in config["ip"]:
            yield f"ip address add {ip} dev {name}"


def _routes(spec: Spec) -> Iterator[str]:
    for route in spec["vnfs"]["gw"]["routes"]:
        way = f"via {route['via']}" if "via" in route else ""
        yield f"ip route add {route.get('type', '')} {route['to']} {way}"


def _neighbours(spec: Spec) -> Iterator[str]:
    """The hosts, who would not answer if they were asked."""
    for host, sap in spec["saps"].items():
        for ip in sap["ip"]:
            address = ip.partition("/")[0]
            yield f"ip neigh add {address} lladdr {sap['mac']} dev {_interface(spec, host)}"
