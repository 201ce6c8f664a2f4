"""The ways between two hosts that are compared: chains, a bare XDP redirect, Linux.

All have the same shape: a host's namespace, a veth pair, the namespace in the middle, a veth pair,
the other host's namespace.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path as File
from typing import Any

import yaml

from benchmarks.frames import Endpoint
from benchmarks.live import Device, Loader, attach, connect
from nfv.chain import names
from nfv.chain.sap import Hook
from nfv.chain.topology import HostSap, Topology, loads
from nfv.dataplane import engine, netns
from nfv.dataplane.netlink import Netlink
from nfv.errors import KernelError

HERE = File(__file__).parent
QUICKSTART = HERE.parent / "topologies" / "quickstart.yaml"
NFTABLES = HERE / "firewall.nft"

_HOSTS = ("lan", "wan")


@dataclass(frozen=True)
class Path:
    """A way from a host to another one, ready to carry packets.

    `plain` are the devices in the middle that run no XDP program.
    """

    near: Device
    far: Device
    near_end: Endpoint
    far_end: Endpoint
    plain: tuple[Device, ...] = ()


def topology(name: str, *functions: str, hook: Hook = Hook.XDP) -> Topology:
    """The quickstart topology under another name, with only these of its functions.

    Frames come from a generator at XDP, unless the `hook` is to be compared.
    """
    data = yaml.safe_load(QUICKSTART.read_text())
    data["name"] = name
    for host in _HOSTS:
        data["saps"][host]["hook"] = hook.value
    data["vnfs"] = {vnf: data["vnfs"][vnf] for vnf in functions}
    bumps = [vnf for vnf in functions if vnf != "gw"]
    if "gw" in functions:
        data["chains"]["inside"]["path"] = ["lan", *bumps, "gw:lan"]
    else:
        data["chains"] = {"wire": {"path": ["lan", *bumps, "wan"]}}
    return loads(yaml.safe_dump(data, sort_keys=False), name)


@contextmanager
def chain(declared: Topology) -> Iterator[Path]:
    """The topology, applied as `nfvctl apply` does."""
    with ExitStack() as stack:
        stack.callback(engine.destroy, declared.name, None, _wait)
        engine.apply(declared, None, _wait)
        hosts = [
            Device(names.node_netns(declared.name, host), names.HOST_DEVICE) for host in _HOSTS
        ]
        if "gw" in declared.vnfs:
            router = names.node_netns(declared.name, "gw")
            hops = [Device(router, names.interface_device(host)) for host in _HOSTS]
        else:
            hops = hosts[::-1]
        yield _path(declared, hosts, hops)


@contextmanager
def bare_redirect(loader: Loader, name: str) -> Iterator[Path]:
    """An XDP program in the middle that redirects whatever comes, and does nothing else."""
    with _wired(name) as (hosts, middle), ExitStack() as stack:
        for own, other in (middle, middle[::-1]):
            program = loader.load("redirect")
            connect(program, other)
            stack.callback(os.close, attach(program, own))
        yield _path(topology(name, "gw"), hosts, hosts[::-1])


@contextmanager
def linux(name: str, rules: File | None = None) -> Iterator[Path]:
    """Linux forwards in the middle, addressed as the quickstart's router; with nftables rules."""
    declared = topology(name, "gw")
    with _wired(name) as (hosts, middle):
        for host, device in zip(_HOSTS, hosts, strict=True):
            sap = declared.saps[host]
            assert isinstance(sap, HostSap)
            with Netlink(device.netns) as netlink:
                for address in sap.addresses:
                    netlink.add_address(device.name, str(address))
                for gateway in sap.gateways:
                    everywhere = "0.0.0.0/0" if gateway.version == 4 else "::/0"
                    netlink.add_route(everywhere, via=str(gateway))
        router: Mapping[str, Any] = declared.vnfs["gw"].interfaces
        for host, device in zip(_HOSTS, middle, strict=True):
            _forward(device, [str(address) for address in router[host].ip])
        if rules is not None:
            _run(middle[0].netns, "nft", "--file", os.fspath(rules))
        yield replace(_path(declared, hosts, middle), plain=tuple(middle))


def _forward(device: Device, addresses: list[str]) -> None:
    with netns.entered(device.netns):
        netns.write_sysctl("net/ipv4/ip_forward", 1)
        netns.write_sysctl("net/ipv6/conf/all/forwarding", 1)
    with Netlink(device.netns) as netlink:
        for address in addresses:
            netlink.add_address(device.name, address)


@contextmanager
def _wired(name: str) -> Iterator[tuple[list[Device], list[Device]]]:
    """Two hosts, each with a veth pair to the namespace in the middle.

    Yields the hosts' devices and, in the same order, those in the middle.
    """
    hosts = [Device(names.node_netns(name, host), names.HOST_DEVICE) for host in _HOSTS]
    middle = [Device(names.fabric_netns(name), names.sap_device(host)) for host in _HOSTS]
    with ExitStack() as stack:
        for place in (middle[0].netns, *(host.netns for host in hosts)):
            netns.create(place, names.owner(name))
            stack.callback(netns.delete, place)
        for host, device in zip(hosts, middle, strict=True):
            _add_veth(host, device)
        yield hosts, middle


def _add_veth(host: Device, device: Device) -> None:
    with Netlink(device.netns) as netlink:
        netlink.add_veth(device.name, host.name, peer_netns=host.netns)
        netlink.set_link(device.name, up=True)
    with Netlink(host.netns) as netlink:
        netlink.set_link(host.name, up=True)


def _path(declared: Topology, hosts: list[Device], hops: list[Device]) -> Path:
    ends = []
    for host, device, hop in zip(_HOSTS, hosts, hops, strict=True):
        addresses = {int(each.version): str(each.ip) for each in declared.saps[host].addresses}
        ends.append(Endpoint(_mac(device), _mac(hop), addresses))
    return Path(hosts[0], hosts[1], ends[0], ends[1])


def _mac(device: Device) -> str:
    with Netlink(device.netns) as netlink:
        found = netlink.links()[device.name].mac
    assert found is not None, "a veth has a MAC address"
    return found


def _run(place: str, *command: str) -> None:
    with netns.entered(place):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelError(f"{command[0]} failed: {done.stderr.strip()}")


def _wait(holder: str) -> None:
    raise KernelError(f"the topology is being changed by {holder}", "run one benchmark at a time")
