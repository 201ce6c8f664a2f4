"""What really is there: the namespaces, devices, addresses and routes that a topology is about."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from nfv.chain.path import Attachment
from nfv.dataplane.kernel import netns
from nfv.dataplane.kernel.netlink import Netlink
from nfv.dataplane.kernel.rtnl import Address, Link, Route
from nfv.dataplane.wiring import Device, Port, Wiring

PERMANENT = 0x80
"""IFA_F_PERMANENT: addresses without it were got for a time, by whoever manages them."""

LINK_SCOPE = 253
"""RT_SCOPE_LINK: addresses that the kernel makes itself."""


PROTOCOL = 78
"""Marks our routes (rtm_protocol, include/uapi/linux/rtnetlink.h); others are let be."""


@dataclass(frozen=True)
class View:
    """One network namespace as it is."""

    mark: str | None
    links: Mapping[str, Link]
    addresses: tuple[Address, ...]
    routes: tuple[Route, ...]

    def lasting_of(self, device: str, declared: Collection[str]) -> set[str]:
        """Addresses of a device that are there for good, or are declared."""
        got = {found.address for found in self.addresses if not found.flags & PERMANENT}
        return self.addresses_of(device, declared) - (got - set(declared))

    def addresses_of(self, device: str, declared: Collection[str] = ()) -> set[str]:
        """Addresses of a device, but for link-local ones that the kernel made itself."""
        link = self.links.get(device)
        return {
            address.address
            for address in self.addresses
            if link
            and address.ifindex == link.index
            and (address.scope != LINK_SCOPE or address.address in declared)
        }


Observation = Mapping[str | None, View]
"""Views by namespace; a namespace that does not exist is not in it."""


def observe(wirings: Iterable[Wiring]) -> Observation:
    """Look at every namespace that the wirings name."""
    wanted: dict[str | None, None] = {}
    for wiring in wirings:
        wanted.setdefault(wiring.fabric)
        for port in wiring.ports.values():
            wanted.setdefault(port.outer.netns)
            if port.inner:
                wanted.setdefault(port.inner.netns)
    return {name: _view(name) for name in wanted if name is None or netns.exists(name)}


def _view(name: str | None) -> View:
    with Netlink(name) as netlink:
        links = netlink.links()
        lo = links.get("lo")
        inside = name is not None  # nothing is asked of the addresses of nfvctl's own namespace
        return View(
            lo.alias if lo else None,
            links,
            tuple(netlink.addresses()) if inside else (),
            tuple(netlink.routes(protocol=PROTOCOL)) if inside else (),
        )


def intact(wiring: Wiring, seen: Observation) -> dict[Attachment, Link]:
    """The outer devices of the ports whose devices are all there, of the right kind and paired."""
    found = {}
    for place, port in wiring.ports.items():
        link = link_at(port.outer, seen)
        if link is not None and _is_whole(port, link, seen):
            found[place] = link
    return found


def link_at(device: Device | None, seen: Observation) -> Link | None:
    """What is at a device's place, if anything."""
    view = seen.get(device.netns) if device else None
    return view.links.get(device.name) if view and device else None


def _is_whole(port: Port, link: Link, seen: Observation) -> bool:
    if port.kind == "nic":
        return True
    if port.is_tap:
        return link.kind == "tun"
    inner = link_at(port.inner, seen)
    return inner is not None and inner.kind == "veth" and link.peer_index == inner.index
