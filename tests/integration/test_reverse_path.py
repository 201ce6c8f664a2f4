"""Reverse path filters of a router: the fast path beside Linux's own in the same namespace."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import count

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from nfv.dataplane.kernel import netns
from tests.integration.helpers.lab import Lab, applied

pytestmark = pytest.mark.root

STRICT, LOOSE = "reverse_path: strict", "reverse_path: loose"
TOPOLOGY = f"""
name: reverse
saps:
  lan: {{kind: host, ip: 10.0.1.10/24, gateway: 10.0.1.1}}
  wan: {{kind: host, ip: 10.0.2.10/24, gateway: 10.0.2.1}}
  far: {{kind: host, ip: 10.0.3.10/24, gateway: 10.0.3.1}}
vnfs:
  gw:
    type: router
    interfaces:
      lan: {{ip: 10.0.1.1/24, mac: "02:00:00:00:00:01", {STRICT}}}
      wan: {{ip: 10.0.2.1/24}}
      far: {{ip: 10.0.3.1/24}}
    routes:
      - {{to: 192.0.2.0/24, via: 10.0.1.10}}
      - {{to: 198.51.100.0/24, via: 10.0.2.10}}
      - {{to: 198.18.0.0/24, next_hops: [{{via: 10.0.2.10, weight: 9}}, {{via: 10.0.1.10}}]}}
      - {{to: 203.0.113.0/24, type: blackhole}}
      - {{to: 203.0.114.0/24, type: prohibit}}
chains:
  inside: {{path: [lan, "gw:lan"]}}
  outside: {{path: ["gw:wan", wan]}}
  third: {{path: ["gw:far", far]}}
"""
SOURCES = [
    *("10.0.1.10", "10.0.1.1", "10.0.1.99", "10.0.1.255", "10.0.2.10", "10.0.2.1", "10.0.2.99"),
    *("10.0.3.10", "192.0.2.1", "198.51.100.1", "198.18.0.1", "203.0.113.1", "203.0.114.1"),
    *("172.16.0.1", "240.0.0.1"),
]
_NUMBERS = count(1)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with applied(TOPOLOGY, "reverse") as made:
        for host, gateway in (("lan", "10.0.1.1"), ("wan", "10.0.2.1"), ("far", "10.0.3.1")):
            made.run(host, f"ping -n -c 1 -W 2 {gateway}")
        made.settle()
        yield made


def passing(lab: Lab) -> set[str]:
    """The sources whose datagrams come from lan to far."""
    number = next(_NUMBERS)
    with netns.entered(lab.netns("far")):
        seen = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        seen.settimeout(10)
    with netns.entered(lab.netns("lan")):
        end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        end.bind(("eth0", 0))
    found: set[str] = set()
    with seen, end:
        for source in (*SOURCES, "10.0.1.10"):
            port = 9 if source != "10.0.1.10" else 10
            header = Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01")
            end.send(bytes(header / IP(src=source, dst="10.0.3.10", id=number) / UDP(dport=port)))
        lasts = 0
        while lasts < 2:  # the source that always passes is the first and the last
            frame = Ether(seen.recv(2048))
            if UDP in frame and frame[IP].id == number:
                found.add(frame[IP].src)
                lasts += frame[UDP].dport == 10
    return found


@pytest.mark.parametrize(("former", "check"), [("", STRICT), (STRICT, LOOSE)])
def test_the_fast_path_drops_what_linux_drops(lab: Lab, former: str, check: str) -> None:
    if former:
        lab.edit(former, check)
        lab.apply()
        lab.settle()
    here = passing(lab)
    assert here == passing(lab)
    lab.run("gw", "ip rule add pref 5 from 9.9.9.9 lookup main")  # leaves all to Linux
    lab.settle()
    assert here == passing(lab)
    assert {"10.0.1.10", "10.0.1.99", "192.0.2.1", "198.18.0.1"} <= here
    assert ("10.0.2.10" in here) == (check == LOOSE)
    assert not here & {"10.0.1.1", "10.0.2.1", "172.16.0.1", "203.0.113.1"}


def test_a_filter_that_somebody_switched_off(lab: Lab) -> None:
    lab.run("gw", "sysctl -w net.ipv4.conf.lan.rp_filter=0")
    assert "lan: rp_filter 0 -> 1" in str(lab.lines())
    lab.apply()
    assert lab.run("gw", "sysctl -n net.ipv4.conf.lan.rp_filter").stdout.strip() == "1"
