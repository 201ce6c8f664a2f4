"""The ways that chains are compared with: drop, bare redirect, Linux, its routes in XDP."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from benchmarks.frames import Translation
from benchmarks.live import Device, Loader, attach, connect
from benchmarks.wired import (
    HOST_ADDRESSES,
    HOSTS,
    ROUTER_ADDRESSES,
    Path,
    add_veth,
    gateway,
    path,
    run,
    settle,
    wired,
)
from nfv.dataplane.kernel import netns
from nfv.dataplane.kernel.netlink import Netlink

_DEVICES = 4096  # ifindexes of a namespace that a redirect may lead to

MASQUERADE = """
table ip nat {
	chain out {
		type nat hook postrouting priority srcnat;
		oifname "wan" masquerade
	}
}
"""
"""nftables rules that translate the near host's address to the router's."""

SOURCE_NAT = """
table ip nat {
	chain out {
		type nat hook postrouting priority srcnat;
		oifname "wan" snat to 198.18.0.0-198.18.0.255
	}
}
"""
"""The same to a pool of addresses, which nobody answers to here."""


@contextmanager
def drop(name: str) -> Iterator[Path]:
    """Frames end where they come in: the sink is the device in the middle."""
    with wired(name) as (hosts, middle):
        yield replace(path(hosts, middle), far=middle[0], answers=False)


@contextmanager
def bare_redirect(loader: Loader, name: str) -> Iterator[Path]:
    """An XDP program in the middle that redirects whatever comes, and does nothing else."""
    with wired(name) as (hosts, middle), ExitStack() as stack:
        for own, other in (middle, middle[::-1]):
            program = loader.load("redirect")
            connect(program, other)
            stack.callback(os.close, attach(program, own))
        yield path(hosts, hosts[::-1])


@contextmanager
def linux(name: str, rules: str = "") -> Iterator[Path]:
    """Linux routes in the middle; with nftables rules."""
    with _routed(name) as (hosts, middle):
        if rules:
            run(middle[0].netns, "nft", "--file", "-", text=rules)
        translation = Translation(gateway("wan", 4)) if MASQUERADE in rules else None
        space = middle[0].netns
        yield path(hosts, middle, plain=tuple(middle), translation=translation, router=space)


@contextmanager
def bridge(name: str, ports: int) -> Iterator[Path]:
    """A Linux bridge in the middle; all far hosts but the first are in one namespace."""
    with wired(name) as (hosts, middle):
        space, far = middle[0].netns, hosts[1].netns
        others = [Device(far, f"port{number}") for number in range(2, ports)]
        plain = [*middle, *(Device(space, device.name) for device in others)]
        for device in others:
            add_veth(device, Device(space, device.name))
        lines = ["link add bridge type bridge", "link set bridge up"]
        lines += [f"link set {device.name} master bridge" for device in plain]
        run(space, "ip", "-batch", "-", text="\n".join(lines))
        yield path(hosts, hosts[::-1], others=tuple(others), plain=tuple(plain))


@contextmanager
def fib_lookup(loader: Loader, name: str) -> Iterator[Path]:
    """An XDP program in the middle that asks the kernel for each packet's route."""
    with _routed(name) as (hosts, middle), ExitStack() as stack:
        space = middle[0].netns
        for own in middle:
            program = loader.load("fib", {"out": _DEVICES})
            with netns.entered(space), Netlink() as netlink:
                for link in netlink.links().values():
                    program.maps["out"][link.index] = link.index.to_bytes(4, "little")
            stack.callback(os.close, attach(program, own))
        yield path(hosts, middle, router=space)


@contextmanager
def _routed(name: str) -> Iterator[tuple[list[Device], list[Device]]]:
    """Hosts and a router between them, which knows its neighbours."""
    with wired(name) as (hosts, middle):
        for host, device in zip(HOSTS, hosts, strict=True):
            _address(device, HOST_ADDRESSES[host])
            with Netlink(device.netns) as netlink:
                for version, everywhere in ((4, "0.0.0.0/0"), (6, "::/0")):
                    netlink.add_route(everywhere, via=gateway(host, version))
        with netns.entered(middle[0].netns):
            netns.write_sysctl("net/ipv4/ip_forward", 1)
            netns.write_sysctl("net/ipv6/conf/all/forwarding", 1)
            netns.write_sysctl("net/ipv4/conf/all/rp_filter", 0)
        for host, device in zip(HOSTS, middle, strict=True):
            with netns.entered(device.netns):
                netns.write_sysctl(f"net/ipv4/conf/{device.name}/rp_filter", 0)
            _address(device, ROUTER_ADDRESSES[host])
        ends = path(hosts, middle)
        settle(
            middle[0].netns,
            {
                "lan": (middle[0].name, ends.near_end.mac),
                "wan": (middle[1].name, ends.far_end.mac),
            },
        )
        yield hosts, middle


def _address(device: Device, addresses: dict[int, str]) -> None:
    with Netlink(device.netns) as netlink:
        for address in addresses.values():
            netlink.add_address(device.name, address)
