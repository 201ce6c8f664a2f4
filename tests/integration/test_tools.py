"""The tools of network engineers through a switch and a router, from hosts of one segment."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator

import pytest

from nfv.dataplane.kernel import netns
from tests.integration.helpers import traffic
from tests.integration.helpers.lab import Lab, applied
from tests.integration.helpers.waiting import until

pytestmark = pytest.mark.root

PATIENCE = 60.0  # seconds
NARROW = 1400  # MTU of the router's far side

TOPOLOGY = """
name: tools
saps:
  a: {kind: host, ip: [10.0.0.1/24, 2001:db8::1/64], gateway: [10.0.0.254, 2001:db8::fe]}
  b: {kind: host, ip: [10.0.0.2/24, 2001:db8::2/64], gateway: [10.0.0.254, 2001:db8::fe]}
  own: {kind: host, ip: 10.0.0.3/24}
  wan:
    kind: host
    ip: [192.0.2.2/24, 2001:db8:2::2/64]
    gateway: [192.0.2.1, 2001:db8:2::1]
    mtu: 1400
vnfs:
  sw: {type: switch, ports: 24}
  gw:
    type: router
    interfaces:
      lan: {ip: [10.0.0.254/24, 2001:db8::fe/64], advertise: {interval: 4}}
      wan: {ip: [192.0.2.1/24, 2001:db8:2::1/64], mtu: 1400}
chains:
  a: {path: [a, "sw:1"]}
  b: {path: [b, "sw:2"]}
  own: {path: [own, "sw:3"]}
  lan: {path: ["sw:24", "gw:lan"]}
  wan: {path: ["gw:wan", wan]}
"""


@pytest.fixture(scope="module")
def tools() -> Iterator[Lab]:
    with applied(TOPOLOGY, "tools") as lab:
        for host in ("a", "b", "own"):
            lab.run(host, "ping -n -c 1 -W 5 10.0.0.254")
        yield lab


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("traceroute -n -q 1 -w 5 192.0.2.2", ["10.0.0.254", "192.0.2.2"]),
        ("traceroute -n -q 1 -w 5 2001:db8:2::2", ["2001:db8::fe", "2001:db8:2::2"]),
        ("mtr -n -r -c 1 -G 2 192.0.2.2", ["10.0.0.254", "192.0.2.2"]),
        ("mtr -n -r -c 1 -G 2 2001:db8:2::2", ["2001:db8::fe", "2001:db8:2::2"]),
        ("tracepath -n 192.0.2.2", ["pmtu 1400", "192.0.2.2", "reached"]),
        ("tracepath -6 -n 2001:db8:2::2", ["pmtu 1400", "2001:db8:2::2", "reached"]),
        ("arping -c 1 -w 20 -I eth0 10.0.0.2", ["Unicast reply from 10.0.0.2"]),
        ("arping -c 1 -w 20 -I eth0 10.0.0.254", ["Unicast reply from 10.0.0.254"]),
        ("ndisc6 -1 -w 5000 2001:db8::2 eth0", ["Target link-layer address"]),
        ("ndisc6 -1 -w 5000 2001:db8::fe eth0", ["Target link-layer address"]),
        ("rdisc6 -1 -w 5000 eth0", ["2001:db8::/64", "Router lifetime"]),
    ],
)
def test_shows_the_way(tools: Lab, command: str, said: list[str]) -> None:
    done = tools.run("a", command, timeout=PATIENCE)
    missing = [words for words in said if words not in done.stdout]
    assert not missing, done.stdout


@pytest.mark.parametrize("size", [0, 1, 46, 1372, 1373, 1472, 1473, 9000, 60000])
def test_ping_of_any_size(tools: Lab, size: int) -> None:
    for far in ("10.0.0.2", "192.0.2.2", "2001:db8::2", "2001:db8:2::2"):
        tools.run("a", f"ping -n -c 2 -i 0.01 -W 5 -M dont -s {size} {far}")


def test_ping_that_must_not_be_fragmented(tools: Lab) -> None:
    tools.run("b", f"ping -n -c 1 -W 5 -M do -s {NARROW - 28} 192.0.2.2")
    refused = tools.run("b", f"ping -n -c 1 -W 5 -M do -s {NARROW - 27} 192.0.2.2", check=False)
    assert refused.returncode == 1
    assert f"mtu = {NARROW}" in refused.stdout or f"mtu={NARROW}" in refused.stdout


@pytest.mark.parametrize(
    ("server", "far"),
    [
        ("b", "10.0.0.2"),
        ("b", "2001:db8::2"),
        ("wan", "192.0.2.2"),
        ("wan", "2001:db8:2::2"),
    ],
)
@pytest.mark.parametrize("way", ["", "-R"], ids=["there", "back"])
def test_iperf3_over_switch_and_router(tools: Lab, server: str, far: str, way: str) -> None:
    with tools.server(server, "iperf3 -s -1 --forceflush", "listening"):
        done = tools.run("a", f"iperf3 -J -n 1M {way} -c {far}", timeout=PATIENCE)
    assert json.loads(done.stdout)["end"]["sum_received"]["bytes"] > 0
    assert not any(traffic.checksum_errors(tools.netns(host)) for host in ("a", server))


def test_radvdump_shows_what_the_router_advertises(tools: Lab) -> None:
    with tools.server("a", "stdbuf -oL radvdump", "prefix 2001:db8::/64"):
        pass  # it comes with the next unsolicited advertisement


def test_a_linux_host_makes_itself_an_address(tools: Lab) -> None:
    with netns.entered(tools.netns("own")):
        netns.write_sysctl("net/ipv6/conf/eth0/accept_ra", 2)
        netns.write_sysctl("net/ipv6/conf/eth0/autoconf", 1)
    tools.run("own", "rdisc6 -1 -q -w 5000 eth0")
    made = until(lambda: _advertised(tools), PATIENCE)
    assert made.startswith("2001:db8:")
    tools.run("own", "ping -n -c 1 -W 5 2001:db8:2::2")


def _advertised(lab: Lab) -> str:
    """The address that the host has by SLAAC, once it is not tentative."""
    (found,) = json.loads(lab.run("own", "ip -j -6 addr show dev eth0").stdout)
    for address in found["addr_info"]:
        if address.get("scope") == "global" and address.get("dynamic"):
            return "" if address.get("tentative") else str(address["local"])
    return ""


@pytest.mark.parametrize("group", ["239.1.2.3", "ff0e::1:2:3"])
def test_who_joins_a_group_has_what_is_sent_to_it(tools: Lab, group: str) -> None:
    family = traffic.family(group)
    with _socket(tools, "b", family) as member, _socket(tools, "a", family) as sender:
        address = socket.inet_pton(family, group)
        if family == socket.AF_INET:
            joined = address + bytes(4)
            member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
        else:
            joined = address + struct.pack("=I", _index(tools, "b"))
            member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, joined)
        member.bind((group, 5000))
        member.settimeout(PATIENCE)
        sender.sendto(b"to all members", (group, 5000))
        assert member.recv(100) == b"to all members"


def _socket(lab: Lab, host: str, family: socket.AddressFamily) -> socket.socket:
    with netns.entered(lab.netns(host)):
        return socket.socket(family, socket.SOCK_DGRAM)


def _index(lab: Lab, host: str) -> int:
    with netns.entered(lab.netns(host)):
        return socket.if_nametoindex("eth0")
