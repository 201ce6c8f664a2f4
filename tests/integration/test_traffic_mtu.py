"""Packets of every size: jumbo frames, the smallest MTU of IPv6, and links that differ."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from tests.integration.helpers import traffic
from tests.integration.helpers.lab import Lab, applied
from tests.integration.scratch import ip

pytestmark = pytest.mark.root

_TEXT = """\
name: mtu
saps:
  lan:
    {{kind: host, mtu: {lan}, ip: [10.0.1.10/24, "2001:db8:1::10/64"],
      gateway: [10.0.1.1, "2001:db8:1::1"]}}
  wan:
    {{kind: host, mtu: {wan}, ip: [10.0.2.10/24, "2001:db8:2::10/64"],
      gateway: [10.0.2.1, "2001:db8:2::1"]}}
vnfs:
  fw: {{type: firewall, default: accept, rules: [{{action: drop, proto: tcp, dport: 25}}]}}
  gw:
    type: router
    interfaces:
      lan: {{mtu: {lan}, ip: [10.0.1.1/24, "2001:db8:1::1/64"]}}
      wan: {{mtu: {wan}, ip: [10.0.2.1/24, "2001:db8:2::1/64"]}}
chains:
  inside: {{path: [lan, fw, "gw:lan"]}}
  outside: {{path: ["gw:wan", wan]}}
"""
_ADDRESSES = ["10.0.2.10", "2001:db8:2::10"]
_DATA = os.urandom(4 << 20)


def text(lan: int, wan: int) -> str:
    return _TEXT.format(lan=lan, wan=wan)


@pytest.fixture(scope="module")
def jumbo() -> Iterator[Lab]:
    with applied(text(9000, 9000), "mtu") as made:
        yield made


@pytest.fixture(scope="module")
def narrow() -> Iterator[Lab]:
    with applied(text(1500, 1280), "mtu") as made:
        yield made


def overhead(address: str) -> int:
    """Bytes of the IP and ICMP headers of a ping."""
    return 48 if ":" in address else 28


def forget_path_mtu(lab: Lab) -> None:
    lab.run("lan", "ip route flush cache")
    lab.run("lan", "ip -6 route flush cache")


@pytest.mark.parametrize("address", _ADDRESSES)
@pytest.mark.parametrize("length", [3000, 4096, 8000, 9000])
def test_jumbo_frames_pass_unfragmented(jumbo: Lab, address: str, length: int) -> None:
    payload = length - overhead(address)
    jumbo.run("lan", f"ping -n -c 1 -W 2 {address}")
    jumbo.settle()
    before = jumbo.statistics()
    jumbo.run("lan", f"ping -n -M do -c 3 -i 0.01 -W 2 -s {payload} {address}")
    forwarded = jumbo.statistics().since(before).ports["lan"].received["forwarded"]
    assert (forwarded.packets, forwarded.bytes) == (3, 3 * (length + 14))


@pytest.mark.parametrize("address", _ADDRESSES)
def test_tcp_uses_jumbo_frames(jumbo: Lab, address: str) -> None:
    near, far = jumbo.netns("lan"), jumbo.netns("wan")
    client, server = traffic.transfer(near, far, address, 5201, _DATA)
    traffic.send(server, client, _DATA)
    assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) > 8800
    assert traffic.checksum_errors(near) == traffic.checksum_errors(far) == 0


def test_rules_see_jumbo_frames(jumbo: Lab) -> None:
    with traffic.listener(jumbo.netns("wan"), "10.0.2.10", 25):
        assert traffic.outcome(jumbo.netns("lan"), "10.0.2.10", 25) == "silence"


@pytest.mark.parametrize("address", _ADDRESSES)
def test_what_does_not_fit_is_answered_with_the_mtu(narrow: Lab, address: str) -> None:
    forget_path_mtu(narrow)
    payload = 1400 - overhead(address)
    done = narrow.run("lan", f"ping -n -M do -c 1 -W 2 -s {payload} {address}", check=False)
    assert done.returncode == 1
    assert ("mtu = 1280" in done.stdout) if "." in address else ("mtu=1280" in done.stdout)
    route = ip(narrow.netns("lan"), "route", "get", address)[0]
    assert route["metrics"][0]["mtu"] == 1280


@pytest.mark.parametrize("address", _ADDRESSES)
def test_what_fits_exactly_passes(narrow: Lab, address: str) -> None:
    narrow.run("lan", f"ping -n -M do -c 1 -W 2 -s {1280 - overhead(address)} {address}")


def test_routers_fragment_ipv4_where_it_is_allowed(narrow: Lab) -> None:
    forget_path_mtu(narrow)
    before = traffic.kernel_counters(narrow.netns("wan"))
    narrow.run("lan", "ping -n -M dont -c 1 -W 2 -s 1400 10.0.2.10")
    after = traffic.kernel_counters(narrow.netns("wan"))
    assert after["IpReasmOKs"] == before["IpReasmOKs"] + 1


@pytest.mark.parametrize("address", _ADDRESSES)
def test_tcp_finds_the_path_mtu(narrow: Lab, address: str) -> None:
    """The sender starts with 1460 bytes a segment, is told, and goes on with less."""
    forget_path_mtu(narrow)
    near, far = narrow.netns("lan"), narrow.netns("wan")
    # As a server does whose own link takes 1500 bytes.
    narrow.run("wan", "ip route replace default via 10.0.2.1 advmss 1460")
    narrow.run("wan", "ip -6 route replace default via 2001:db8:2::1 advmss 1440")
    before = traffic.kernel_counters(near)
    client, server = traffic.transfer(near, far, address, 5201, _DATA)
    traffic.send(server, client, _DATA)
    key = "Icmp6InPktTooBigs" if ":" in address else "IcmpInDestUnreachs"
    assert traffic.kernel_counters(near)[key] > before[key]
    assert traffic.checksum_errors(near) == traffic.checksum_errors(far) == 0


def test_the_smallest_mtu_of_ipv6() -> None:
    with applied(text(1280, 1280), "mtu") as lab:
        for address in _ADDRESSES:
            traffic.transfer(lab.netns("lan"), lab.netns("wan"), address, 5201, _DATA)
            lab.run("lan", f"ping -n -c 2 -i 0.01 -W 2 -s 4000 {address}")
