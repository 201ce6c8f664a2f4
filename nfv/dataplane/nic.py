"""A device that exists already and carries a SAP: borrowed, and given back as it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from nfv.chain import names
from nfv.chain.topology import Topology
from nfv.dataplane import ethtool, netns, state
from nfv.dataplane.netlink import Netlink
from nfv.dataplane.observation import Observation
from nfv.dataplane.plan import Change, Element, Phase, Symbol
from nfv.dataplane.rtnl import Link
from nfv.dataplane.transaction import Step
from nfv.dataplane.wiring import Port
from nfv.errors import InputError, KernelError

_UNIVERSE_SCOPE = 0


def nic_changes(
    element: Element, port: Port, topology: Topology, seen: Observation
) -> Iterator[Change]:
    """Take the device, unless it is taken already."""
    mark = names.owner(topology.name, port.attachment.node)
    name = port.outer.name
    link = seen[None].links.get(name)
    if link is None:
        raise InputError(
            f"there is no device {name} for SAP {port.attachment}",
            "`ip link` lists those there are",
        )
    if link.alias == mark:
        yield from _changed(element, port, link)
        return
    _check_free(port, link)
    step = Step(
        f"take {name}",
        lambda: take(topology.name, port, link, mark),
        lambda: give_back(topology.name, name),
        (f"device {name}", f"nfvctl destroy {topology.name}"),
    )
    yield Change(element, Symbol.ADD, steps=[(Phase.DEVICE, step)])


def _changed(element: Element, port: Port, link: Link) -> Iterator[Change]:
    if link.up and link.mtu == port.mtu:
        return

    def do() -> None:
        with Netlink() as netlink:
            netlink.set_link(link.name, up=True, mtu=port.mtu)

    def undo() -> None:
        with Netlink() as netlink:
            netlink.set_link(link.name, up=link.up, mtu=link.mtu)

    step = (Phase.DEVICE, Step(f"change {link.name}", do, undo))
    yield Change(element, Symbol.CHANGE, f"{link.name}: up, MTU {port.mtu}", steps=[step])


def _check_free(port: Port, link: Link) -> None:
    if link.xdp_prog_id is not None:
        raise InputError(
            f"device {link.name} runs another XDP program",
            f"remove it first: ip link set dev {link.name} xdp off",
        )
    if link.alias and link.alias.startswith("nfv:"):
        raise InputError(f"device {link.name} belongs to {link.alias[4:]}", "destroy that first")
    with Netlink() as netlink:
        own = [a for a in netlink.addresses(link.index) if a.scope == _UNIVERSE_SCOPE]
    if own:
        raise InputError(
            f"device {link.name} has the address {own[0].address}: what is sent to it would go "
            f"to the chain of SAP {port.attachment}, not to this machine",
            f"if that is wanted, remove it first: ip address flush dev {link.name}",
        )


def look(link: Link) -> dict[str, object]:
    """What there is to restore, as it is recorded."""
    return {
        "alias": link.alias or "",
        "up": link.up,
        "promiscuous": link.promiscuity > 0,
        "mtu": link.mtu,
        "disable_ipv6": netns.read_sysctl(f"net/ipv6/conf/{link.name}/disable_ipv6"),
        "features": ethtool.features(link.name),
    }


def record(topology: str, device: str) -> Path:
    """Where it is written what a device was like."""
    return state.directory(topology) / "nics" / f"{device}.json"


def take(topology: str, port: Port, link: Link, mark: str) -> None:
    """Mark the device, and have it hand every frame, with its VLAN tag, to the program."""
    name = port.outer.name
    path = record(topology, name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(json.dumps(look(link)))
    netns.write_sysctl(f"net/ipv6/conf/{name}/disable_ipv6", 1)
    with Netlink() as netlink:
        netlink.set_link(name, alias=mark, promiscuous=True, mtu=port.mtu, up=True)
    for feature in ("rx-vlan", "tx-vlan"):
        _try(lambda feature=feature: ethtool.set_features(name, {feature: False}))  # type: ignore[misc]


def _try(call: Callable[[], object]) -> None:
    """What not every driver can."""
    try:
        call()
    except KernelError:
        return


def give_back(topology: str, name: str) -> None:
    """Restore the device as its record says; one that is gone needs nothing."""
    path = record(topology, name)
    former = json.loads(path.read_text())
    with Netlink() as netlink:
        if name not in netlink.links():
            path.unlink()
            return
        netlink.set_link(
            name,
            alias=str(former["alias"]),
            promiscuous=bool(former["promiscuous"]),
            mtu=int(str(former["mtu"])),
            up=bool(former["up"]),
        )
    features = former["features"]
    vlan = {key: on for key, on in features.items() if "-vlan-hw-" in key}
    _try(lambda: ethtool.restore_features(name, vlan))
    netns.write_sysctl(f"net/ipv6/conf/{name}/disable_ipv6", str(former["disable_ipv6"]))
    path.unlink()
