"""What Linux does at a router's interfaces: settings and neighbours that are not as declared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from nfv.chain.topology import Topology
from nfv.dataplane.change.observation import PROTOCOL
from nfv.dataplane.change.plan import Change, Element, Phase, Symbol
from nfv.dataplane.change.transaction import Step
from nfv.dataplane.kernel import netns
from nfv.dataplane.kernel.netlink import Netlink
from nfv.dataplane.routing.egress import CHECKS
from nfv.dataplane.wiring import Device, Port
from nfv.functions.router import Router, RouterInterface

Neighbours: TypeAlias = Mapping[tuple[str, bool], "str | None"]
"""By address and whether the router answers for it: the MAC address of a static neighbour."""


def changes(element: Element, port: Port, topology: Topology, fresh: bool) -> Iterator[Change]:
    """What differs at the port of a router; the devices of a `fresh` one are yet to be made."""
    function = topology.vnfs.get(port.attachment.node)
    if not isinstance(function, Router) or port.inner is None:
        return
    interface = function.interfaces[str(port.attachment.interface)]
    yield from _settings(element, port.inner, interface, fresh)
    yield from _neighbours(element, port.inner, interface, fresh)


def settings(interface: RouterInterface) -> Mapping[str, int]:
    """Settings of an interface by their paths, in which `{}` stands for the device.

    Linux looks at the sources of what the fast path leaves to it, if they are of IPv4.
    """
    return {
        "net/ipv4/conf/{}/rp_filter": CHECKS[interface.reverse_path],
        "net/ipv4/conf/{}/proxy_arp": int(interface.proxy_arp),
        "net/ipv6/conf/{}/proxy_ndp": int(bool(interface.proxy_ndp)),
        "net/ipv4/conf/{}/bc_forwarding": int(interface.directed_broadcast),
    }


def _settings(
    element: Element, device: Device, interface: RouterInterface, fresh: bool
) -> Iterator[Change]:
    where = str(device.netns)
    wanted = {path.format(device.name): value for path, value in settings(interface).items()}
    there = dict.fromkeys(wanted, 0)
    if not fresh:
        with netns.entered(where):
            there = {path: int(netns.read_sysctl(path)) for path in wanted}
    wrong = [path for path, value in wanted.items() if value != there[path]]
    for path in wrong:
        setting = path.rpartition("/")[2]
        step = Step(
            f"set {setting} of {device.name}",
            _write(where, path, wanted[path]),
            _write(where, path, there[path]),
        )
        words = f"{device.name}: {setting} {there[path]} -> {wanted[path]}"
        yield _change(element, step, fresh, words)


def _write(where: str, path: str, value: int) -> Callable[[], None]:
    def call() -> None:
        with netns.entered(where):
            netns.write_sysctl(path, value)

    return call


def declared(interface: RouterInterface) -> Neighbours:
    """The neighbours that the file names."""
    static = {(str(one.ip), False): one.mac for one in interface.neighbours}
    return {**static, **{(str(address), True): None for address in interface.proxy_ndp}}


def _neighbours(
    element: Element, device: Device, interface: RouterInterface, fresh: bool
) -> Iterator[Change]:
    wanted, there = declared(interface), {} if fresh else _listed(device)
    words = f"neighbours of {device.name}"
    for (address, proxied), mac in wanted.items():
        former = there.get((address, proxied), "")
        if former == mac:
            continue
        undo = _set(device, address, former) if former else _forget(device, address, mac)
        step = Step(f"add neighbour {address} to {device.name}", _set(device, address, mac), undo)
        yield _change(element, step, fresh, words)
    for (address, proxied), mac in there.items():
        if (address, proxied) not in wanted:
            step = Step(
                f"remove neighbour {address} of {device.name}",
                _forget(device, address, mac),
                _set(device, address, mac),
            )
            yield _change(element, step, fresh, words)


def _listed(device: Device) -> Neighbours:
    with Netlink(device.netns) as netlink:
        ifindex = netlink.link(device.name).index
        found = [one for one in netlink.neighbours(PROTOCOL) if one.ifindex == ifindex]
    return {(one.address, one.mac is None): one.mac for one in found}


def _set(device: Device, address: str, mac: str | None) -> Callable[[], None]:
    def call() -> None:
        with Netlink(device.netns) as netlink:
            netlink.add_neighbour(device.name, address, mac, PROTOCOL)

    return call


def _forget(device: Device, address: str, mac: str | None) -> Callable[[], None]:
    def call() -> None:
        with Netlink(device.netns) as netlink:
            netlink.del_neighbour(device.name, address, mac)

    return call


def _change(element: Element, step: Step, fresh: bool, reason: str) -> Change:
    symbol, said = (Symbol.ADD, "") if fresh else (Symbol.CHANGE, reason)
    return Change(element, symbol, said, steps=[(Phase.ADDRESS, step)])
