"""A route with several next hops, declared, changed and sent through."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from nfv.dataplane.kernel import netns
from tests.integration.helpers.lab import Lab, applied, nfvctl

pytestmark = pytest.mark.root

BOTH = "next_hops: [{via: 192.0.2.254, weight: 2}, {via: 192.0.3.254, interface: alt}]"
ONE = "via: 192.0.3.254"
TOPOLOGY = f"""
name: multipath
saps:
  lan: {{kind: host, ip: 10.0.1.10/24, gateway: 10.0.1.1}}
  wan: {{kind: host, ip: 192.0.2.254/24, gateway: 192.0.2.1}}
  alt: {{kind: host, ip: 192.0.3.254/24, gateway: 192.0.3.1}}
vnfs:
  gw:
    type: router
    interfaces:
      lan: {{ip: 10.0.1.1/24}}
      wan: {{ip: 192.0.2.1/24}}
      alt: {{ip: 192.0.3.1/24}}
    routes:
      - {{to: 198.51.100.0/24, {BOTH}}}
chains:
  inside: {{path: [lan, "gw:lan"]}}
  outside: {{path: ["gw:wan", wan]}}
  other: {{path: ["gw:alt", alt]}}
"""
COUNT = 200  # addresses


@pytest.fixture
def lab() -> Iterator[Lab]:
    with applied(TOPOLOGY, "multipath") as made:
        for host in ("wan", "alt"):
            made.run(host, "ip route add local 198.51.100.0/24 dev lo")
            gateway = "192.0.2.1" if host == "wan" else "192.0.3.1"
            made.run(host, f"ping -n -c 1 -W 2 {gateway}")
        made.run("lan", "ping -n -c 1 -W 2 10.0.1.1")
        made.settle()
        yield made


def received(lab: Lab) -> dict[str, int]:
    """Datagrams that have reached the hosts' closed ports, by their kernels."""
    found = {}
    for host in ("wan", "alt"):
        with netns.entered(lab.netns(host)), open("/proc/thread-self/net/snmp") as table:
            names, values = (line.split() for line in table if line.startswith("Udp:"))
            found[host] = int(dict(zip(names, values, strict=True))["NoPorts"])
    return found


def send(lab: Lab) -> dict[str, int]:
    """A datagram to each address; how many of them each host has got."""
    before = received(lab)
    with netns.entered(lab.netns("lan")):
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with end:
        for number in range(COUNT):
            end.sendto(b"datagram", (f"198.51.100.{number}", 9))
    return {host: count - before[host] for host, count in received(lab).items()}


def test_flows_are_shared_and_stay(lab: Lab) -> None:
    shown = json.loads(lab.run("gw", "ip -j route show 198.51.100.0/24").stdout)[0]
    assert [(hop["gateway"], hop["weight"]) for hop in shown["nexthops"]] == [
        ("192.0.2.254", 2),
        ("192.0.3.254", 1),
    ]
    first = send(lab)
    assert sum(first.values()) == COUNT
    assert first["alt"] > COUNT // 6
    assert first["wan"] > first["alt"]
    assert send(lab) == first
    rows = json.loads(nfvctl("inspect", lab.name, "gw", "--format", "json").stdout)
    (route,) = (row for row in rows if row["destination"] == "198.51.100.0/24")
    assert (route["packets"], route["via"]) == (2 * COUNT, "192.0.2.254, 192.0.3.254")


def test_next_hops_that_change(lab: Lab) -> None:
    assert not lab.lines()
    lab.edit(BOTH, ONE)
    lab.apply()
    lab.settle()
    assert send(lab) == {"wan": 0, "alt": COUNT}
    lab.edit(ONE, BOTH)
    lab.apply()
    lab.settle()
    assert sum(send(lab).values()) == COUNT
    assert not lab.lines()


def test_a_next_hop_that_another_route_leads_to(lab: Lab) -> None:
    first = send(lab)
    shared = f"- {{to: 198.51.100.0/24, {BOTH}}}"
    lab.edit(
        shared,
        "- {to: 198.51.100.0/24, via: 203.0.113.7}\n"
        f"      - {{to: 203.0.113.0/29, {BOTH}}}\n"
        "      - {to: 203.0.113.0/24, type: blackhole}",
    )
    lab.apply()
    lab.settle()
    assert send(lab) == first
    assert not lab.lines()
    lab.edit(BOTH, ONE)
    lab.apply()
    lab.settle()
    assert send(lab) == {"wan": 0, "alt": COUNT}


def test_a_next_hop_whose_link_is_lost(lab: Lab) -> None:
    lab.run("gw", "ip link set alt down")
    lab.settle()
    assert send(lab) == {"wan": COUNT, "alt": 0}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("next_hops: [{via: 192.0.9.9}]", "192.0.9.9 is in no connected subnet"),
        ("next_hops: [{via: '2001:db8::1'}]", "must be an IPv4 address"),
        ("next_hops: [{via: 192.0.2.254, weight: 0}]", "the least is 1"),
        ("next_hops: [{via: 192.0.2.254, interface: nowhere}]", "no interface 'nowhere'"),
        ("via: 192.0.2.254, next_hops: [{via: 192.0.2.254}]", "exclude each other"),
    ],
)
def test_mistakes(wrong: str, words: str) -> None:
    done = nfvctl("validate", "-", text=TOPOLOGY.replace(BOTH, wrong))
    assert done.returncode == 3
    assert words in done.stderr
