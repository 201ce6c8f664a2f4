"""A device that exists already and carries a SAP: borrowed, and given back as it was."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nfv.chain import names
from nfv.chain.topology import Topology
from nfv.dataplane import state
from nfv.dataplane.change.observation import Observation
from nfv.dataplane.change.plan import Change, Element, Phase, Symbol
from nfv.dataplane.change.transaction import Step
from nfv.dataplane.kernel import ethtool, netns
from nfv.dataplane.kernel.netlink import Netlink
from nfv.dataplane.kernel.rtnl import Link
from nfv.dataplane.wiring import Port
from nfv.ebpf.compose import MAX_LINEAR_MTU
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

    late = port.mtu > max(link.mtu, MAX_LINEAR_MTU)
    step = (Phase.SETTLE if late else Phase.DEVICE, Step(f"change {link.name}", do, undo))
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
        "ifindex": link.index,
        "alias": link.alias or "",
        "up": link.up,
        "promiscuous": link.promiscuous,
        "mtu": link.mtu,
        "disable_ipv6": netns.read_sysctl(f"net/ipv6/conf/{link.name}/disable_ipv6"),
        "features": ethtool.features(link.name),
    }


def borrowed(topology: str) -> list[str]:
    """The devices that a topology has taken and not given back."""
    return sorted(path.stem for path in _records(topology).glob("*.json"))


def take(topology: str, port: Port, link: Link, mark: str) -> None:
    """Mark the device, and have it hand every frame, with its VLAN tag, to the program."""
    name = port.outer.name
    _write_record(topology, link)
    netns.write_sysctl(f"net/ipv6/conf/{name}/disable_ipv6", 1)
    with Netlink() as netlink:
        netlink.set_link(name, alias=mark, promiscuous=True, mtu=port.mtu, up=True)
    for feature in ("rx-vlan", "tx-vlan"):
        _try(lambda feature=feature: ethtool.set_features(name, {feature: False}))  # type: ignore[misc]


def give_back(topology: str, name: str) -> None:
    """Restore the device as its record says; one that is gone needs nothing."""
    path = _record(topology, name)
    former = json.loads(path.read_text())
    with Netlink() as netlink:
        link = netlink.links().get(name)
        if link is not None and link.index == former["ifindex"]:
            _restore(netlink, name, former)
    path.unlink()


def _restore(netlink: Netlink, name: str, former: Mapping[str, Any]) -> None:
    netlink.set_link(
        name,
        alias=former["alias"],
        promiscuous=former["promiscuous"],
        mtu=former["mtu"],
        up=former["up"],
    )
    vlan = {key: on for key, on in former["features"].items() if "-vlan-hw-" in key}
    _try(lambda: ethtool.restore_features(name, vlan))
    netns.write_sysctl(f"net/ipv6/conf/{name}/disable_ipv6", former["disable_ipv6"])


def _write_record(topology: str, link: Link) -> None:
    """Write down what the device is like, unless a crash left it half taken."""
    path = _record(topology, link.name)
    if path.exists() and json.loads(path.read_text())["ifindex"] == link.index:
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(look(link)))
    os.replace(fresh, path)


def _records(topology: str) -> Path:
    return state.directory(topology) / "nics"


def _record(topology: str, device: str) -> Path:
    return _records(topology) / f"{device}.json"


def _try(call: Callable[[], object]) -> None:
    """What not every driver can."""
    try:
        call()
    except KernelError:
        return
