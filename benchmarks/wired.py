"""Two hosts and what is between them: namespaces, veth pairs, and how frames are addressed.

All ways that are compared have this shape: a host's namespace, a veth pair, the namespace in the
middle, a veth pair, the other host's namespace.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.frames import Endpoint, Translation
from benchmarks.live import Device
from nfv.chain import names
from nfv.dataplane.kernel import netns
from nfv.dataplane.kernel.netlink import Netlink
from nfv.errors import KernelError

HOSTS = ("lan", "wan")

HOST_ADDRESSES = {
    "lan": {4: "10.0.1.10/24", 6: "2001:db8:1::10/64"},
    "wan": {4: "192.0.2.254/24", 6: "2001:db8:2::254/64"},
}
ROUTER_ADDRESSES = {
    "lan": {4: "10.0.1.1/24", 6: "2001:db8:1::1/64"},
    "wan": {4: "192.0.2.1/24", 6: "2001:db8:2::1/64"},
}

NEXT_HOPS = 16
"""Routers that the far host stands for."""


def _nothing() -> None:
    """What a path has to do that has its routes as soon as they are there."""


@dataclass(frozen=True)
class Path:
    """A way from a host to another one, ready to carry packets.

    `others` are more far hosts: flows are spread over `far` and these, in equal parts, in order.
    `plain` are devices in the middle that run no XDP program. `translation` is how the far host
    sees the near one. `router` is the namespace that has routes; `follow` returns when the path
    goes by all that it has.
    """

    near: Device
    far: Device
    near_end: Endpoint
    far_end: Endpoint
    others: tuple[Device, ...] = ()
    plain: tuple[Device, ...] = ()
    translation: Translation | None = None
    router: str | None = None
    follow: Callable[[], None] = _nothing
    answers: bool = True  # the far host can

    @property
    def far_hosts(self) -> tuple[Device, ...]:
        """Where frames arrive that the near host sends."""
        return self.far, *self.others


def next_hop(version: int, number: int) -> str:
    """The address of one of the next hops."""
    return f"192.0.2.{16 + number}" if version == 4 else f"2001:db8:2::{16 + number:x}"


def gateway(host: str, version: int) -> str:
    """The router's address on the side of a host."""
    return ROUTER_ADDRESSES[host][version].partition("/")[0]


@contextmanager
def wired(name: str) -> Iterator[tuple[list[Device], list[Device]]]:
    """Two hosts, each with a veth pair to the namespace in the middle.

    Yields the hosts' devices and, in the same order, those in the middle.
    """
    hosts = [Device(names.node_netns(name, host), names.HOST_DEVICE) for host in HOSTS]
    middle = [Device(names.fabric_netns(name), names.sap_device(host)) for host in HOSTS]
    with ExitStack() as stack:
        for place in (middle[0].netns, *(host.netns for host in hosts)):
            netns.create(place, names.owner(name))
            stack.callback(netns.delete, place)
        for host, device in zip(hosts, middle, strict=True):
            add_veth(host, device)
        yield hosts, middle


def add_veth(host: Device, device: Device) -> None:
    """Make a pair of devices that are up."""
    with Netlink(device.netns) as netlink:
        netlink.add_veth(device.name, host.name, peer_netns=host.netns)
        netlink.set_link(device.name, up=True)
    with Netlink(host.netns) as netlink:
        netlink.set_link(host.name, up=True)


def path(
    hosts: list[Device],
    hops: list[Device],
    *,
    others: tuple[Device, ...] = (),
    plain: tuple[Device, ...] = (),
    translation: Translation | None = None,
    router: str | None = None,
    follow: Callable[[], None] = _nothing,
) -> Path:
    """The path between hosts whose frames go to these devices."""
    ends = []
    for host, device, hop in zip(HOSTS, hosts, hops, strict=True):
        addresses = {
            version: address.partition("/")[0] for version, address in HOST_ADDRESSES[host].items()
        }
        ends.append(Endpoint(_mac(device), _mac(hop), addresses))
    return Path(hosts[0], hosts[1], ends[0], ends[1], others, plain, translation, router, follow)


def settle(namespace: str, ways: dict[str, tuple[str, str]]) -> None:
    """Have a router know its neighbours for good: `ways` are its device and the MAC, by host."""
    near_device, near_mac = ways["lan"]
    far_device, far_mac = ways["wan"]
    lines = []
    for version in (4, 6):
        own = HOST_ADDRESSES["lan"][version].partition("/")[0]
        far = HOST_ADDRESSES["wan"][version].partition("/")[0]
        hops = [next_hop(version, number) for number in range(NEXT_HOPS)]
        lines.append(f"neigh replace {own} lladdr {near_mac} nud permanent dev {near_device}")
        lines += [
            f"neigh replace {hop} lladdr {far_mac} nud permanent dev {far_device}"
            for hop in (far, *hops)
        ]
    run(namespace, "ip", "-batch", "-", text="\n".join(lines))


def run(namespace: str, *command: str, text: str | None = None) -> None:
    """Run a command in a namespace; `text` is its input."""
    with netns.entered(namespace):
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelError(f"{command[0]} failed: {done.stderr.strip()[-300:]}")


def _mac(device: Device) -> str:
    with Netlink(device.netns) as netlink:
        found = netlink.links()[device.name].mac
    assert found is not None, "a veth has a MAC address"
    return found
