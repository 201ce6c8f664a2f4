"""Router advertisements, as rdisc6, Scapy and Linux hosts see them."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from scapy.layers.inet6 import (
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptDNSSL,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptRDNSS,
    ICMPv6NDOptRouteInfo,
    IPv6,
)
from scapy.layers.l2 import Ether

from nfv.dataplane.kernel import netns
from nfv.dataplane.resident import birdctl
from tests.integration.helpers import traffic, waiting
from tests.integration.helpers.lab import Lab, applied, kill, namespace, nfvctl, unique

pytestmark = pytest.mark.root

PATIENCE = 60.0  # seconds

TOPOLOGY = """
name: advertise
saps:
  lan: {kind: host, ip: 192.0.2.2/24}
  guest: {kind: host, ip: 192.0.3.2/24}
  far: {kind: host, ip: "2001:db8:9::3/64", gateway: "2001:db8:9::1"}
  box: {kind: veth, netns: BOX, device: eth0}
vnfs:
  fw: {type: firewall, default: drop, rules: [{action: accept, proto: icmpv6}]}
  dhcp:
    type: dhcp
    ip: "2001:db8:2::2/64"
    ipv6:
      options: {dns: "2001:db8:1::53"}
      subnets: [{network: "2001:db8:2::/64", pools: [{range: "2001:db8:2::1000-2001:db8:2::1fff"}]}]
  gw:
    type: router
    interfaces:
      lan:
        ip: ["2001:db8:1::1/64", "2001:db8:11::1/64", "2001:db8:12::1/80"]
        mtu: 1500
        advertise:
          prefixes:
            - {prefix: 2001:db8:1::/64, valid: 7200, preferred: 3600}
            - {prefix: 2001:db8:12::/80, on_link: false}
          routes: [{to: 2001:db8:99::/48, preference: low, lifetime: 900}]
          lifetime: 1200
          preference: high
          interval: 400
          mtu: 1400
          dns: ["2001:db8:1::53", "2001:db8:1::54"]
          search: [lab.example, example.org]
          dns_lifetime: 700
          hop_limit: 61
          reachable: 30000
          retransmit: 2000
      guest: {ip: "2001:db8:2::1/64", advertise: {}}
      box: {ip: "2001:db8:3::1/64", advertise: {other: true}}
      far: {ip: "2001:db8:9::1/64"}
chains:
  lan: {path: [lan, fw, "gw:lan"]}
  guest: {path: [guest, dhcp, "gw:guest"]}
  box: {path: [box, "gw:box"]}
  far: {path: ["gw:far", far]}
"""
ALL_ROUTERS = "33:33:00:00:00:02"


@pytest.fixture(scope="module")
def box() -> Iterator[str]:
    with namespace("box") as name:
        yield name


@pytest.fixture(scope="module")
def lab(box: str) -> Iterator[Lab]:
    with applied(TOPOLOGY.replace("BOX", box), "advertise") as made:
        yield made


def until(done: Callable[[], Any]) -> Any:
    """What something is once it is true."""
    return waiting.until(done, PATIENCE)


def told(lab: Lab, node: str) -> dict[str, str]:
    """What rdisc6 prints of the answer to a solicitation; of what comes several times the last."""
    found = {}
    for line in lab.run(node, "rdisc6 -1 -w 30000 eth0").stdout.splitlines():
        key, _, value = line.partition(": ")
        found[key.strip()] = value.partition("(")[0].strip()
    return found


def advertisements(sock: socket.socket) -> Iterator[Any]:
    """The router advertisements that a device receives, as Scapy reads them."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        frame = Ether(sock.recv(65535))
        if ICMPv6ND_RA in frame:
            yield frame
    pytest.fail("no router advertisement")


@contextmanager
def device(place: str) -> Iterator[socket.socket]:
    with netns.entered(place):
        sock = traffic.raw("eth0")
    sock.settimeout(PATIENCE)
    with sock:
        yield sock


def default_routes(lab: Lab, node: str) -> list[dict[str, Any]]:
    shown = lab.run(node, "ip -j -6 route show default proto ra").stdout
    found: list[dict[str, Any]] = json.loads(shown or "[]")
    return found


def test_a_solicitation_is_answered_with_every_option(lab: Lab) -> None:
    """RFC 4861 section 6.2.6, from an address and from none."""
    with device(lab.netns("lan")) as sock:
        mac = sock.getsockname()[4].hex(":")
        ask = IPv6(src="::", dst="ff02::2", hlim=255) / ICMPv6ND_RS()
        sock.send(bytes(Ether(src=mac, dst=ALL_ROUTERS) / ask))
        frame = next(advertisements(sock))

    header, body = frame[IPv6], frame[ICMPv6ND_RA]
    assert (header.hlim, header.dst) == (255, "ff02::1")
    assert header.src.startswith("fe80::")
    facts = (body.chlim, body.M, body.O, body.H, body.prf, body.P, body.routerlifetime)
    assert facts == (61, 0, 0, 0, 1, 0, 1200)
    assert (body.reachabletime, body.retranstimer) == (30000, 2000)
    assert frame[ICMPv6NDOptMTU].mtu == 1400
    prefixes = [frame.getlayer(ICMPv6NDOptPrefixInfo, number) for number in (1, 2)]
    first, second = sorted(prefixes, key=lambda one: str(one.prefix), reverse=True)
    assert (first.prefix, first.prefixlen, first.L, first.A) == ("2001:db8:1::", 64, 1, 1)
    assert (first.validlifetime, first.preferredlifetime) == (7200, 3600)
    assert (second.prefix, second.prefixlen, second.L, second.A) == ("2001:db8:12::", 80, 0, 0)
    assert (second.validlifetime, second.preferredlifetime) == (86400, 14400)
    assert frame.getlayer(ICMPv6NDOptPrefixInfo, 3) is None
    route = frame[ICMPv6NDOptRouteInfo]
    assert (route.prefix, route.plen, route.prf, route.rtlifetime) == ("2001:db8:99::", 48, 3, 900)
    servers = [*frame[ICMPv6NDOptRDNSS].dns]
    assert servers == ["2001:db8:1::53", "2001:db8:1::54"]
    assert frame[ICMPv6NDOptDNSSL].searchlist == ["lab.example.", "example.org."]
    assert (frame[ICMPv6NDOptRDNSS].lifetime, frame[ICMPv6NDOptDNSSL].lifetime) == (700, 700)
    whole = bytes(header)
    del body.cksum
    assert bytes(IPv6(bytes(header))) == whole, "the checksum is another"


def test_rdisc6_reads_what_was_declared(lab: Lab) -> None:
    found = told(lab, "lan")

    assert found["Router preference"] == "high"
    assert found["Recursive DNS server"].startswith("2001:db8:1::5")
    assert found["Router lifetime"] == "1200"
    assert found["Hop limit"] == "61"
    assert found["Stateful address conf."] == "No"
    assert found["DNS search list"].split() == ["lab.example", "example.org"]
    assert found["Route preference"] == "low"


def test_the_function_dhcp_decides_the_flags(lab: Lab) -> None:
    guest = told(lab, "guest")

    assert guest["Stateful address conf."] == "Yes"
    assert guest["Stateful other conf."] == "Yes"
    assert guest["Prefix"] == "2001:db8:2::/64"
    assert guest["On-link"] == "Yes"
    assert guest["Autonomous address conf."] == "No"


def test_a_linux_host_configures_itself(lab: Lab) -> None:
    """Address, default route, MTU and hop limit, and it reaches what is behind the router."""

    def addresses() -> set[str]:
        (shown,) = json.loads(lab.run("lan", "ip -j -6 address show dev eth0 scope global").stdout)
        found = (one for one in shown["addr_info"] if "local" in one)
        return {one["local"] for one in found if not one.get("tentative")}

    (address,) = until(addresses)
    assert address.startswith("2001:db8:1:0:")
    (route,) = until(lambda: default_routes(lab, "lan"))
    assert route["pref"] == "high"
    assert route["gateway"].startswith("fe80::")
    assert lab.run("lan", "sysctl -n net.ipv6.conf.eth0.mtu").stdout == "1400\n"
    lab.run("lan", "ping -c 1 -W 30 2001:db8:9::3")


def test_what_changes_is_told_without_a_restart(lab: Lab) -> None:
    status = birdctl.daemon(lab.name, "gw")
    before = status.directory.joinpath("supervisor.lock").read_text()
    lab.edit("advertise: {other: true}", "advertise: {preference: low}")
    (line,) = lab.lines()
    assert (line.name, line.mode) == ("gw", "live")
    assert line.reason.endswith("routing protocols or advertisements")
    lab.apply()
    shown = nfvctl("inspect", lab.name, "--format", "json")

    assert not lab.lines()
    assert status.directory.joinpath("supervisor.lock").read_text() == before
    found = json.loads(shown.stdout)
    sessions = {one["name"]: one["state"] for one in found["sessions"]}
    assert sessions == dict.fromkeys(("ra-lan", "ra-guest", "ra-box"), "up")
    assert found["whole"] is True


def test_a_bird_that_dies_is_started_again(lab: Lab) -> None:
    def process() -> int:
        """Whoever listens on the control socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(birdctl.files(lab.name, "gw").socket))
            except ConnectionRefusedError:
                return 0
            peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            return int(struct.unpack("3i", peer)[0])

    before = process()
    kill(before)
    assert until(process) != before
    until(lambda: told(lab, "guest"))
    assert "ra-lan" in nfvctl("inspect", lab.name).stdout


def test_a_package_that_is_missing_is_named(lab: Lab) -> None:
    text = lab.text.replace(f"name: {lab.name}", f"name: {unique('bird')}")
    text = text.replace("device: eth0", "device: eth7")
    done = nfvctl("plan", "-", text=text, PATH="/usr/bin:/bin")

    assert done.returncode == 3
    assert "bird, the routing daemon, is missing" in done.stderr
    assert "apt-get install bird2" in done.stderr


def test_a_router_that_goes_says_so(lab: Lab, box: str) -> None:
    """RFC 4861 section 6.2.5: hosts do not wait until it is forgotten."""
    until(lambda: default_routes(lab, "lan"))
    guarded = "advertise: {preference: low}"
    with device(box) as sock:
        lab.edit(f'"2001:db8:3::1/64", {guarded}', '"2001:db8:3::1/64"')
        lab.apply()
        assert next(advertisements(sock))[ICMPv6ND_RA].routerlifetime == 0
    with device(lab.netns("lan")) as sock:
        lab.destroy()
        last = [frame[ICMPv6ND_RA].routerlifetime for frame in left(sock)]
    assert last[-1] == 0


def left(sock: socket.socket) -> Iterator[Any]:
    """The advertisements that came before the device went."""
    sock.setblocking(False)
    while True:
        try:
            frame = Ether(sock.recv(65535))
        except BlockingIOError:
            return
        except OSError:  # told once that it went
            continue
        if ICMPv6ND_RA in frame:
            yield frame
