"""A router that is given more routes than its tables have room for, while it forwards."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from nfv.dataplane.kernel import netns
from tests.integration.helpers.lab import Lab, applied
from tests.integration.helpers.waiting import until

pytestmark = pytest.mark.root

TOPOLOGY = """
name: growing
saps:
  lan: {kind: host, ip: [10.0.1.10/24, 2001:db8:1::10/64], gateway: [10.0.1.1, 2001:db8:1::1]}
  wan: {kind: host, ip: [192.0.2.254/24, 2001:db8:2::254/64]}
vnfs:
  gw:
    type: router
    interfaces:
      lan: {ip: [10.0.1.1/24, 2001:db8:1::1/64]}
      wan: {ip: [192.0.2.1/24, 2001:db8:2::1/64]}
chains:
  inside: {path: [lan, "gw:lan"]}
  outside: {path: ["gw:wan", wan]}
"""
ROUTES = 20_000  # in nodes of their own each, of which the first tables have 16,384
HOPS = {4: "192.0.2.254", 6: "2001:db8:2::254"}
PACKETS = 200


@pytest.fixture
def lab() -> Iterator[Lab]:
    with applied(TOPOLOGY, "growing") as made:
        for hop in HOPS.values():
            made.run("gw", f"ping -n -c 1 -W 5 {hop}")
        made.settle()
        yield made


def destination(version: int, number: int) -> str:
    """An address of each prefix, all prefixes far from one another."""
    if version == 4:
        return str(IPv4Address((16 << 24) + (number << 16) + 1))
    return str(IPv6Address((0x2400 << 112) + (number << 96) + 1))


def add_routes(lab: Lab, version: int) -> None:
    length = 24 if version == 4 else 48
    lines = [
        f"route add {destination(version, number)[:-1]}{'0' if version == 4 else ''}/{length} "
        f"via {HOPS[version]}"
        for number in range(ROUTES)
    ]
    with netns.entered(lab.netns("gw")):
        subprocess.run(
            ["ip", f"-{version}", "-batch", "-"], input="\n".join(lines), text=True, check=True
        )


def router(lab: Lab) -> dict[str, Any]:
    """What the agent says of it."""
    routers = lab.agent()["routers"]
    assert isinstance(routers, dict)
    found: dict[str, Any] = routers["gw"]
    return found


def wait_until_grown(lab: Lab) -> None:
    until(lambda: not router(lab)["growing"] and router(lab)["mode"] == "fast", 120)


def send(lab: Lab, version: int) -> None:
    """One datagram to each of some routes, the last among them."""
    with netns.entered(lab.netns("lan")):
        end = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    with end:
        for number in range(PACKETS):
            end.sendto(b"", (destination(version, ROUTES - 1 - number * 97), 9))


@pytest.mark.parametrize("version", [4, 6])
def test_tables_grow(lab: Lab, version: int) -> None:
    """The kernel routes until there are larger tables; then all goes by the fast path."""
    before = router(lab)[f"ipv{version}_routes"]
    add_routes(lab, version)
    lab.settle()
    wait_until_grown(lab)
    assert router(lab)[f"ipv{version}_routes"] == before + ROUTES
    counted = lab.statistics()
    send(lab, version)
    passed = lab.statistics().since(counted)
    assert passed.ports["wan"].sent.packets == PACKETS
    assert not lab.lines(), "what is applied is what is declared"
