"""Static and proxied neighbours of a router, and directed broadcasts, with hosts that look."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from nfv.dataplane.kernel import netns
from tests.integration.helpers.lab import Lab, applied

pytestmark = pytest.mark.root

STATION, ANOTHER = "02:00:00:00:99:01", "02:00:00:00:99:02"
NEIGHBOURS = f"""
          neighbours:
            - {{ip: 10.0.1.99, mac: "{STATION}"}}
            - {{ip: "2001:db8:1::99", mac: "{STATION}"}}"""
TOPOLOGY = f"""
name: neighbours
saps:
  lan: {{kind: host, ip: [10.0.1.10/24, "2001:db8:1::10/64"]}}
  wan:
    kind: host
    ip: [10.0.2.10/24, "2001:db8:2::10/64"]
    gateway: [10.0.2.1, "2001:db8:2::1"]
vnfs:
  gw:
    type: router
    interfaces:
        lan:
          ip: [10.0.1.1/24, "2001:db8:1::1/64"]
          mac: "02:00:00:00:00:01"
          proxy_arp: true
          proxy_ndp: ["2001:db8:2::10"]{NEIGHBOURS}
        wan:
          ip: [10.0.2.1/24, "2001:db8:2::1/64"]
          directed_broadcast: true
chains:
  inside: {{path: [lan, "gw:lan"]}}
  outside: {{path: ["gw:wan", wan]}}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with applied(TOPOLOGY, "neighbours") as made:
        made.settle()
        yield made


@contextmanager
def listening(lab: Lab, node: str) -> Iterator[socket.socket]:
    """All frames that a host receives."""
    with netns.entered(lab.netns(node)):
        seen = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    with seen:
        seen.settimeout(30)
        yield seen


def datagram(lab: Lab, destination: str) -> Ether:
    """What the host lan receives of a datagram that wan sends; nobody may be asked for on lan."""
    with listening(lab, "lan") as seen:
        with netns.entered(lab.netns("wan")):
            family = socket.AF_INET6 if ":" in destination else socket.AF_INET
            end = socket.socket(family, socket.SOCK_DGRAM)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        with end:
            end.sendto(b"to a neighbour", (destination, 9))
        while True:
            frame = Ether(seen.recv(2048))
            assert "who has" not in frame.summary() or destination not in frame.summary()
            if b"to a neighbour" in bytes(frame):
                return frame


@pytest.mark.parametrize("address", ["10.0.1.99", "2001:db8:1::99"])
def test_a_static_neighbour_is_not_asked_for(lab: Lab, address: str) -> None:
    frame = datagram(lab, address)
    assert (frame.dst, frame.src) == (STATION, "02:00:00:00:00:01")
    assert (frame[IP].ttl if IP in frame else frame[IPv6].hlim) == 63
    there = lab.run("gw", f"ip neigh show {address}").stdout
    assert f"lladdr {STATION} PERMANENT" in there
    assert not lab.lines()


@pytest.mark.parametrize(
    ("address", "net"), [("10.0.2.10", "10.0.2.0/24"), ("2001:db8:2::10", "2001:db8:2::/64")]
)
def test_the_router_answers_for_hosts_behind_it(lab: Lab, address: str, net: str) -> None:
    lab.run("lan", f"ip route replace {net} dev eth0")
    done = lab.run("lan", f"ping -n -c 2 -i 0.2 -w 20 {address}")
    assert " 0% packet loss" in done.stdout
    assert "lladdr 02:00:00:00:00:01" in lab.run("lan", f"ip neigh show {address}").stdout


def test_arp_is_answered_for_what_is_behind_another_interface(lab: Lab) -> None:
    arped = lab.run("lan", "arping -c 1 -w 10 -I eth0 10.0.2.77").stdout
    assert "[02:00:00:00:00:01]" in arped.lower()
    own = lab.run("lan", "arping -c 1 -w 1 -I eth0 10.0.1.77", check=False)
    assert own.returncode != 0, own.stdout


def test_solicitations_for_no_declared_address_are_not_answered(lab: Lab) -> None:
    lab.run("lan", "ip route replace 2001:db8:2::/64 dev eth0")
    lost = lab.run("lan", "ping -n -c 1 -w 2 2001:db8:2::77", check=False)
    assert lost.returncode != 0, lost.stdout


def test_a_directed_broadcast_reaches_all_hosts(lab: Lab) -> None:
    frame = datagram(lab, "10.0.1.255")
    assert (frame.dst, frame[IP].dst, frame[IP].ttl) == ("ff:ff:ff:ff:ff:ff", "10.0.1.255", 63)


def test_changes_are_followed(lab: Lab) -> None:
    lab.edit(f'{{ip: 10.0.1.99, mac: "{STATION}"}}', f'{{ip: 10.0.1.99, mac: "{ANOTHER}"}}')
    assert "neighbours of lan" in str(lab.lines())
    lab.apply()
    lab.settle()
    assert datagram(lab, "10.0.1.99").dst == ANOTHER
    lab.edit(NEIGHBOURS.replace(STATION, ANOTHER, 1), "")
    lab.edit('\n          proxy_arp: true\n          proxy_ndp: ["2001:db8:2::10"]', "")
    lab.edit("\n          directed_broadcast: true", "")
    lab.apply()
    assert not lab.run("gw", "ip neigh show nud permanent").stdout
    assert not lab.run("gw", "ip neigh show proxy").stdout
    for setting in ("ipv4/conf/lan/proxy_arp", "ipv4/conf/wan/bc_forwarding"):
        assert lab.run("gw", f"cat /proc/sys/net/{setting}").stdout == "0\n"
    assert not lab.lines()


def test_what_somebody_took_away_comes_back(lab: Lab) -> None:
    lab.declare(TOPOLOGY)
    lab.apply()
    lab.run("gw", "ip neigh del 10.0.1.99 dev lan")
    lab.run("gw", "ip neigh add 10.0.1.98 lladdr 02:00:00:00:99:09 dev lan")
    assert "neighbours of lan" in str(lab.lines())
    lab.apply()
    there = lab.run("gw", "ip neigh show nud permanent").stdout
    assert f"10.0.1.99 dev lan lladdr {STATION}" in there
    assert "10.0.1.98" in there  # not declared: let be
