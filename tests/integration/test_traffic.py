"""Traffic of ordinary programs through every example topology."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from nfv.dataplane.kernel import netns
from nfv.dataplane.kernel.netlink import Netlink
from tests.integration.helpers import traffic
from tests.integration.helpers.lab import EXAMPLES, PYTHON, Lab, applied, example, server_in
from tests.integration.scratch import ip

pytestmark = pytest.mark.root

_TENTATIVE = 0x40  # IFA_F_TENTATIVE
_MEGABYTE = os.urandom(1 << 20)


# Behind a NAT hosts are not reached from outside (tests/integration/test_nat.py), and a peer that
# runs no BGP knows no way back (tests/integration/test_protocols.py).
CLOSED = {"nat", "protocols"}
OPEN = sorted(path.stem for path in EXAMPLES.glob("*.yaml") if path.stem not in CLOSED)


@pytest.fixture(params=OPEN)
def any_example(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with applied(example(request.param), "traffic") as made:
        yield made


@pytest.fixture(scope="module")
def quickstart() -> Iterator[Lab]:
    with applied(example("quickstart"), "traffic") as made:
        yield made


@pytest.fixture(scope="module")
def routers() -> Iterator[Lab]:
    with applied(example("router"), "traffic") as made:
        yield made


def test_hosts_of_every_example_reach_each_other_and_the_routers(any_example: Lab) -> None:
    topology = any_example.topology
    for sap in topology.saps:
        with Netlink(any_example.netns(sap)) as netlink:
            assert not any(a.flags & _TENTATIVE for a in netlink.addresses())
    targets = [
        (name, address.ip) for name, sap in topology.saps.items() for address in sap.addresses
    ]
    targets += [
        ("", address.ip)
        for function in topology.vnfs.values()
        for interface in function.interfaces.values()
        for address in interface.ip
    ]
    for sap, (target, address) in itertools.product(topology.saps, targets):
        families = {own.version for own in topology.saps[sap].addresses}
        if sap != target and address.version in families:
            any_example.run(sap, f"ping -n -c 2 -i 0.01 -W 2 {address}")
    assert sum(traffic.checksum_errors(any_example.netns(sap)) for sap in topology.saps) == 0


def test_routed_packets_are_forwarded_by_xdp(quickstart: Lab) -> None:
    quickstart.run("lan", "ping -c 1 192.0.2.254")  # neighbours are resolved
    quickstart.settle()
    before = quickstart.statistics()
    quickstart.run("lan", "ping -c 20 -i 0.01 192.0.2.254")
    delta = quickstart.statistics().since(before)
    assert delta.vnfs["gw"].ended["forwarded"].packets == 40
    assert delta.ports["lan"].received["forwarded"].packets == 20
    assert delta.ports["wan"].received["forwarded"].packets == 20
    assert delta.ports["wan"].sent.packets >= 20


@pytest.mark.parametrize("url", ["http://192.0.2.254:{}/", "http://[2001:db8:2::254]:{}/"])
@pytest.mark.parametrize("port", [80, 8080])
def test_http(quickstart: Lab, url: str, port: int) -> None:
    with quickstart.server("wan", f"{PYTHON} -u -m http.server {port} --bind ::", "Serving"):
        answer = quickstart.run("lan", f"curl -gsS --max-time 5 {url.format(port)}").stdout
    assert "Directory listing" in answer


@pytest.mark.parametrize("address", ["192.0.2.254", "2001:db8:2::254"])
@pytest.mark.parametrize(
    "options", ["-n 20M", "-n 20M -R", "-u -b 50M -n 2M", "-u -b 50M -n 2M -R"]
)
def test_iperf3(quickstart: Lab, address: str, options: str) -> None:
    ends = [quickstart.netns(sap) for sap in ("lan", "wan")]
    wrong = [traffic.checksum_errors(end) for end in ends]
    left = sum(traffic.datagrams_left(end) for end in ends)
    with quickstart.server("wan", "iperf3 -s -1 --forceflush", "listening"):
        done = quickstart.run("lan", f"iperf3 -J -l 1200 -c {address} {options}")
    result = json.loads(done.stdout)["end"]
    if "-u" in options:
        assert result["sum"]["packets"] > 1000
        left = sum(traffic.datagrams_left(end) for end in ends) - left
        assert result["sum"]["lost_packets"] <= left  # by a busy receiver, not on the way
    else:
        assert result["sum_received"]["bytes"] > 15_000_000
    assert wrong == [traffic.checksum_errors(end) for end in ends]


@pytest.mark.parametrize("protocol", ["TCP4", "TCP6", "UDP4", "UDP6"])
def test_socat_echo(quickstart: Lab, protocol: str) -> None:
    address = "192.0.2.254" if protocol.endswith("4") else "[2001:db8:2::254]"
    near, far = quickstart.netns("lan"), quickstart.netns("wan")
    with server_in(far, f"socat -d -d {protocol}-LISTEN:5201,reuseaddr PIPE", "listening on"):
        echo = ["socat", "-T", "1", "-", f"{protocol}:{address}:5201"]
        with netns.entered(near):
            done = subprocess.run(echo, input=b"there and back", capture_output=True, check=True)
    assert done.stdout == b"there and back"


@pytest.mark.parametrize(
    ("command", "hops"),
    [
        ("traceroute -n -q 1 -w 2 10.3.0.10", ["10.1.0.1", "10.12.0.2", "10.23.0.2", "10.3.0.10"]),
        (
            "traceroute -n -q 1 -w 2 -I 2001:db8:4::10",
            ["2001:db8:1::1", "2001:db8:12::2", "2001:db8:23::2", "2001:db8:4::10"],
        ),
        (
            "traceroute -n -q 1 -w 2 2001:db8:4::10",
            ["2001:db8:1::1", "2001:db8:12::2", "2001:db8:23::2", "2001:db8:4::10"],
        ),
    ],
)
def test_traceroute_shows_every_router(routers: Lab, command: str, hops: list[str]) -> None:
    lines = routers.run("h1", command).stdout.splitlines()[1:]
    assert [line.split()[1] for line in lines] == hops


def test_traceroute_through_a_firewall(quickstart: Lab) -> None:
    lines = quickstart.run("lan", "traceroute -n -q 1 -w 2 -I 192.0.2.254").stdout.splitlines()[1:]
    assert [line.split()[1] for line in lines] == ["10.0.1.1", "192.0.2.254"]


def test_unreachable_destinations_are_answered(routers: Lab) -> None:
    done = routers.run("h2", "ping -n -c 1 -W 2 10.99.0.1", check=False)
    assert "From 10.2.0.1 icmp_seq=1 Destination Host Unreachable" in done.stdout


@pytest.mark.parametrize("size", [1472, 1473, 4000, 20000])
@pytest.mark.parametrize("address", ["192.0.2.254", "2001:db8:2::254"])
def test_fragments_pass(quickstart: Lab, address: str, size: int) -> None:
    quickstart.run("lan", f"ping -n -c 3 -i 0.01 -W 2 -s {size} {address}")


@pytest.mark.parametrize("address", ["192.0.2.254", "2001:db8:2::254"])
def test_rejected_is_refused_at_once_and_dropped_is_silence(quickstart: Lab, address: str) -> None:
    lan = quickstart.netns("lan")
    with traffic.listener(quickstart.netns("wan"), address, 23):
        assert traffic.outcome(lan, address, 23) == "refused"
    with traffic.listener(quickstart.netns("wan"), address, 25):
        before = quickstart.statistics()
        assert traffic.outcome(lan, address, 25) == "silence"
        rules = quickstart.statistics().since(before).vnfs["fw"].matched
        assert rules["smtp"].packets >= 1
        assert all(not count.packets for name, count in rules.items() if name != "smtp")
    with traffic.listener(quickstart.netns("wan"), address, 9999):
        assert traffic.outcome(lan, address, 9999) == "silence"  # by the default
    with traffic.listener(quickstart.netns("wan"), address, 80):
        assert traffic.outcome(lan, address, 80) == "accepted"
    assert traffic.outcome(lan, address, 80) == "refused"  # by the host itself, whose RST passes


def test_default_reject_is_answered() -> None:
    with applied(example("firewall"), "traffic") as lab:
        internet = lab.netns("internet")
        for address in ("10.0.1.10", "2001:db8:1::10"):
            with traffic.listener(lab.netns("office"), address, 22):
                assert traffic.outcome(internet, address, 22) == "accepted"
            with traffic.listener(lab.netns("office"), address, 8000):
                assert traffic.outcome(internet, address, 8000) == "refused"
        client, server = traffic.transfer(
            lab.netns("office"), internet, "198.51.100.1", 8000, _MEGABYTE
        )
        traffic.send(server, client, _MEGABYTE)


def test_classifier_sends_web_traffic_through_the_firewall() -> None:
    with applied(example("dual"), "traffic") as lab:
        lan, wan = lab.netns("lan"), lab.netns("wan")
        for port, expected in {
            80: "accepted",
            443: "silence",
            8500: "silence",
            22: "accepted",
        }.items():
            with traffic.listener(wan, "10.0.2.10", port):
                assert traffic.outcome(lan, "10.0.2.10", port) == expected, port


def test_transparent_firewall_filters_between_hosts_of_one_subnet() -> None:
    with applied(example("transparent"), "traffic") as lab:
        left, right = lab.netns("left"), lab.netns("right")
        for source, to, address in (
            (left, right, "10.0.0.2"),
            (left, right, "2001:db8::2"),
            (right, left, "10.0.0.1"),
        ):
            with traffic.listener(to, address, 23):
                assert traffic.outcome(source, address, 23) == "silence"
            with traffic.listener(to, address, 2323):
                assert traffic.outcome(source, address, 2323) == "accepted"
        neighbour = ip(lab.netns("left"), "neigh", "show", "10.0.0.2")[0]
        with Netlink(right) as netlink:
            assert neighbour["lladdr"] == netlink.links()["eth0"].mac  # nobody in between


def test_receivers_verify_checksums(quickstart: Lab) -> None:
    """The kernel behind a chain trusts no checksum: a wrong one is noticed there."""
    lan, wan = quickstart.netns("lan"), quickstart.netns("wan")
    quickstart.run("lan", "ping -c 1 192.0.2.254")
    with Netlink(lan) as netlink:
        own = netlink.links()["eth0"]
    gateway = ip(lan, "neigh", "show", "10.0.1.1")[0]["lladdr"]
    good = Ether(src=own.mac, dst=gateway) / IP(src="10.0.1.10", dst="192.0.2.254")
    with traffic.datagrams(wan, "192.0.2.254", 5201) as server, netns.entered(lan):
        raw = traffic.raw("eth0")
        before = traffic.kernel_counters(wan)
        raw.send(bytes(good / UDP(sport=1000, dport=5201, chksum=0xBAD) / b"wrong"))
        raw.send(bytes(good / UDP(sport=1000, dport=5201) / b"right"))
        assert server.recv(64) == b"right"
        after = traffic.kernel_counters(wan)
    assert after["UdpInCsumErrors"] == before["UdpInCsumErrors"] + 1
