"""Packets by route, against what was sent to each."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from nfv.dataplane.kernel import netns
from tests.integration.helpers.lab import Lab, applied, nfvctl

pytestmark = pytest.mark.root

TOPOLOGY = """
name: counted
saps:
  lan: {kind: host, ip: [10.0.1.10/24, 2001:db8:1::10/64], gateway: [10.0.1.1, 2001:db8:1::1]}
  wan:
    kind: host
    ip: [192.0.2.254/24, 2001:db8:2::254/64]
    gateway: [192.0.2.1, 2001:db8:2::1]
  alt: {kind: host, ip: 192.0.3.254/24, gateway: 192.0.3.1}
vnfs:
  fw: {type: firewall, default: accept}
  gw:
    type: router
    interfaces:
      lan: {ip: [10.0.1.1/24, 2001:db8:1::1/64]}
      wan: {ip: [192.0.2.1/24, 2001:db8:2::1/64]}
      alt: {ip: 192.0.3.1/24}
    routes:
      - {to: 198.51.100.0/24, via: 192.0.2.254}
      - {to: 198.51.100.128/25, via: 192.0.2.254}
      - {to: 203.0.113.0/24, type: blackhole}
      - {to: 0.0.0.0/0, via: 192.0.3.254}
      - {to: "2001:db8:5::/48", via: "2001:db8:2::254"}
chains:
  inside: {path: [lan, CHAIN"gw:lan"]}
  outside: {path: ["gw:wan", wan]}
  other: {path: ["gw:alt", alt]}
"""
SIZE = 14 + 20 + 8 + 20  # of a frame of `send`, by IPv4
SENT = {
    "198.51.100.1": 3,
    "198.51.100.129": 5,
    "203.0.113.9": 7,
    "8.8.8.8": 11,
    "2001:db8:5::1": 13,
}


@pytest.fixture(params=["", "fw, "], ids=["alone", "behind a firewall"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with applied(TOPOLOGY.replace("CHAIN", request.param), "counted") as made:
        made.run("lan", "ping -n -c 1 -W 2 192.0.2.254")
        made.run("lan", "ping -n -c 1 -W 2 192.0.3.254")
        made.run("lan", "ping -n -c 1 -W 2 2001:db8:2::254")
        made.settle()
        yield made


def send(lab: Lab, wanted: Mapping[str, int]) -> None:
    """Datagrams of 20 bytes from the host, which nobody answers."""
    with netns.entered(lab.netns("lan")):
        ends = {
            version: socket.socket(version, socket.SOCK_DGRAM)
            for version in (socket.AF_INET, socket.AF_INET6)
        }
    for address, count in wanted.items():
        end = ends[socket.AF_INET6 if ":" in address else socket.AF_INET]
        for _ in range(count):
            end.sendto(bytes(20), (address, 9))
    for end in ends.values():
        end.close()


def rows(lab: Lab, *filters: str) -> dict[str, dict[str, Any]]:
    """What `nfvctl inspect` tells of the router, by destination."""
    done = nfvctl("inspect", lab.name, "gw", *filters, "--format", "json")
    assert done.returncode == 0, done.stderr
    return {row["destination"]: row for row in json.loads(done.stdout)}


def packets(lab: Lab) -> dict[str, int]:
    return {name: row["packets"] for name, row in rows(lab).items()}


def growth(lab: Lab, before: Mapping[str, int]) -> dict[str, int]:
    """What has been counted since, where anything was."""
    after = packets(lab)
    found = {name: (count or 0) - (before.get(name) or 0) for name, count in after.items()}
    return {name: count for name, count in found.items() if count}


EXPECTED = {
    "198.51.100.0/24": 3,
    "198.51.100.128/25": 5,
    "203.0.113.0/24": 7,
    "0.0.0.0/0": 11,
    "2001:db8:5::/48": 13,
}


def test_routes_to_one_next_hop_are_counted_apart(lab: Lab) -> None:
    before = rows(lab)
    send(lab, SENT)
    after = rows(lab)
    for name, count in EXPECTED.items():
        assert after[name]["packets"] - before[name]["packets"] == count, name
        size = SIZE + 20 if ":" in name else SIZE
        assert after[name]["bytes"] - before[name]["bytes"] == count * size, name
    assert lab.statistics().vnfs["gw"].ended["blackhole"].packets == 7


def test_a_route_onto_a_link_counts_what_its_neighbours_get(lab: Lab) -> None:
    before = packets(lab)
    send(lab, {"192.0.2.254": 4})
    grown = growth(lab, before)
    assert {name: grown.get(name) for name in ("192.0.2.0/24", "192.0.2.254")} == {
        "192.0.2.0/24": 4,
        "192.0.2.254": 4,
    }


def test_counting_goes_on_when_a_route_changes_and_when_the_agent_dies(lab: Lab) -> None:
    before = packets(lab)
    send(lab, SENT)
    lab.run("gw", "ip route replace 198.51.100.0/24 via 192.0.3.254")
    lab.settle()
    send(lab, SENT)
    first = lab.agent()["pid"]
    assert isinstance(first, int)
    os.kill(first, signal.SIGKILL)
    while lab.agent()["pid"] == first:
        time.sleep(0.05)
    lab.settle()
    send(lab, SENT)
    assert growth(lab, before) == {name: 3 * count for name, count in EXPECTED.items()}
    assert rows(lab)["198.51.100.0/24"]["via"] == "192.0.3.254"


def test_what_is_listed(lab: Lab) -> None:
    lab.run("gw", "ip route add unreachable 198.18.0.0/15 metric 7")
    lab.settle()
    found = rows(lab)
    shown = json.loads(lab.run("gw", "ip -j -4 route").stdout)
    shown += json.loads(lab.run("gw", "ip -j -6 route").stdout)
    wanted = {route["dst"] for route in shown if not route["dst"].startswith(("fe80", "ff00"))}
    listed = {name for name, row in found.items() if row["kind"] != "neighbour"}
    assert {name.replace("0.0.0.0/0", "default") for name in listed} >= wanted
    route = found["198.18.0.0/15"]
    assert (route["kind"], route["metric"], route["packets"]) == ("unreachable", 7, None)
    neighbour = rows(lab, "kind=neighbour")["192.0.2.254"]
    assert neighbour["interface"] == "wan"
    assert neighbour["via"] in lab.run("wan", "ip link show eth0").stdout
    table = nfvctl("inspect", lab.name, "gw").stdout.splitlines()
    assert table[0].split()[:3] == ["KIND", "DESTINATION", "VIA"]
    assert max(map(len, table)) <= 100
