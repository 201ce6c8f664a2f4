"""nfvctl trace: what it tells is what happens, and nothing happens by it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from scapy.utils import PcapNgWriter, wrpcap

from nfv.dataplane.kernel import netns
from tests.integration.helpers import traffic
from tests.integration.helpers.lab import EXAMPLES, Lab, applied, example, nfvctl

pytestmark = pytest.mark.root

QUICKSTART = str(EXAMPLES / "quickstart.yaml")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with applied(example("quickstart"), "trace") as made:
        for address in ("192.0.2.254", "2001:db8:2::254"):
            made.run("lan", f"ping -n -c 1 -W 2 {address}")
        made.settle()
        yield made


def trace(topology: str, *arguments: str) -> dict[str, Any]:
    done = nfvctl("trace", topology, "--format", "json", *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def line_of(words: str) -> int:
    lines = Path(QUICKSTART).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if words in line)


def verdicts(path: dict[str, Any]) -> list[tuple[str, str]]:
    return [(step["at"], step["verdict"]) for step in path["steps"]]


@pytest.mark.parametrize("is_applied", [True, False], ids=["applied", "offline"])
def test_each_step_has_its_rule_its_route_and_what_it_changed(lab: Lab, is_applied: bool) -> None:
    found = trace(lab.name if is_applied else QUICKSTART, "--in", "lan", "icmp,dst=198.51.100.7")
    assert found["tables"] == ("running" if is_applied else "declared")
    (path,) = found["paths"]
    assert verdicts(path) == [
        ("lan", "enters"),
        ("fw", "passes"),
        ("gw", "forwards out of gw:wan"),
        ("wan", "leaves"),
    ]
    _, rule, route, _ = path["steps"]
    assert rule["because"] == "rule ping"
    assert rule["written_in"].endswith(f":{line_of('name: ping,')}")
    assert route["because"] == "route 0.0.0.0/0 via 192.0.2.254"
    assert route["written_in"].endswith(f":{line_of('to: 0.0.0.0/0')}")
    changes = {one["field"]: (one["before"], one["after"]) for one in route["changes"]}
    assert changes.keys() == {"Ether.dst", "Ether.src", "IP.ttl", "IP.chksum"}
    assert changes["IP.ttl"] == ("64", "63")
    assert path["outcome"] == {
        "verdict": "forwarded",
        "at": "gw",
        "reason": "forwarded",
        "egress": "wan",
    }


def test_a_rejected_packet_is_shown_with_its_answer(lab: Lab) -> None:
    (path,) = trace(lab.name, "--in", "lan", "tcp,dst=192.0.2.254,dport=23")["paths"]
    assert verdicts(path)[1:] == [("fw", "rejects"), ("fw", "sends an answer"), ("lan", "leaves")]
    assert path["outcome"]["verdict"] == "rejected"
    assert path["outcome"]["egress"] == "lan"


@pytest.mark.parametrize(
    ("packet", "reason"),
    [("icmp,dst=192.0.2.254,ttl=1", "ttl"), ("icmp,dst=10.0.1.1", "local")],
)
def test_the_slow_path_is_told(lab: Lab, packet: str, reason: str) -> None:
    (path,) = trace(lab.name, "--in", "lan", packet)["paths"]
    assert path["outcome"] == {
        "verdict": "kernel",
        "at": "gw",
        "reason": reason,
        "egress": "gw:lan",
    }
    assert path["steps"][-1]["because"] == f"namespace {lab.netns('gw')}"


def test_a_connection_that_runs_is_known(lab: Lab) -> None:
    near, far = lab.netns("lan"), lab.netns("wan")
    client, server = traffic.transfer(near, far, "192.0.2.254", 8080, b"hello")
    with client, server:
        port = client.getsockname()[1]
        ends = "src=192.0.2.254,dst=10.0.1.10,sport=8080"
        known = f"tcp,{ends},dport={port},flags=A"
        stranger = f"tcp,{ends},dport={port},flags=SA,src=192.0.2.253"
        (path,) = trace(lab.name, "--in", "wan", known)["paths"]
        assert path["steps"][2]["because"].startswith("known connection, rule web")
        assert path["outcome"]["egress"] == "lan"
        (path,) = trace(lab.name, "--in", "wan", stranger)["paths"]
        assert path["outcome"]["reason"] == "invalid"
        traffic.send(client, server, b"and on")  # the RST below was only traced
        trace(lab.name, "--in", "wan", f"tcp,{ends},dport={port},flags=RA")
        traffic.send(client, server, b"and on")


def test_nothing_happens_by_a_trace(lab: Lab) -> None:
    before, programs = lab.statistics(), lab.programs()
    maps = lab.maps()
    trace(lab.name, "--in", "lan", "tcp,dst=192.0.2.254,dport=80", "udp,dst=192.0.2.254")
    assert lab.statistics().vnfs["fw"].matched == before.vnfs["fw"].matched
    assert (lab.programs(), lab.maps()) == (programs, maps)
    assert lab.plan().empty


def test_packets_of_a_capture_are_shown_by_their_way(lab: Lab, tmp_path: Path) -> None:
    gateway = trace(lab.name, "--in", "lan", "icmp,dst=192.0.2.254")["paths"][0]["steps"][2]
    mac = next(one["before"] for one in gateway["changes"] if one["field"] == "Ether.dst")
    head = Ether(dst=mac, src="02:00:00:00:00:09") / IP(src="10.0.1.10", dst="192.0.2.254")
    packets = [
        head / UDP(dport=9),
        *(head / ICMP(id=7, seq=number) for number in range(3)),
        head / TCP(dport=25),
    ]
    file = tmp_path / "mix.pcap"
    wrpcap(str(file), packets)
    found = trace(lab.name, "--in", "lan", "--pcap", str(file))
    assert found["packets"] == 5
    assert [(path["packets"], path["first"]) for path in found["paths"]] == [
        (2, 3),
        (1, 1),
        (1, 2),
        (1, 5),
    ]
    assert found["paths"][0]["steps"][1]["because"] == "known connection, rule ping"
    bare = tmp_path / "raw.pcap"
    wrpcap(str(bare), [packet[IP] for packet in packets[1:4]], linktype=101)
    assert trace(lab.name, "--in", "lan", "--pcap", str(bare))["packets"] == 3


def test_packets_that_are_no_frames_are_left_out(tmp_path: Path) -> None:
    head = Ether(src="02:00:00:00:00:09", dst="02:00:00:00:00:08")
    whole = head / IP(src="10.0.1.10", dst="192.0.2.254") / UDP(dport=9)
    file = tmp_path / "odd.pcapng"
    with PcapNgWriter(str(file)) as out:
        for packet in (whole, Raw(b""), whole, whole / bytes(60_000), Raw(b"short")):
            out.write(packet)
    done = nfvctl("trace", QUICKSTART, "--in", "lan", "--pcap", str(file), "--format", "json")
    assert done.returncode == 0, done.stderr
    (path,) = json.loads(done.stdout)["paths"]
    assert (path["packets"], path["first"]) == (2, 1)
    assert "left out: 2 packets too short for their headers; the first is number 2" in done.stderr
    assert "left out: 1 packet longer than a test run takes; the first is number 4" in done.stderr
    wrpcap(str(file), [Raw(b"")], linktype=1)
    done = nfvctl("trace", QUICKSTART, "--in", "lan", "--pcap", str(file))
    assert done.returncode == 3
    assert "has no packets that can be traced" in done.stderr


def test_a_nat_and_its_assumed_address_offline() -> None:
    nat = str(EXAMPLES / "nat.yaml")
    (path,) = trace(nat, "--in", "office", "tcp,dst=198.51.100.7,dport=443")["paths"]
    changes = {one["field"]: one["after"] for one in path["steps"][2]["changes"]}
    assert changes["IP.src"] == "192.0.2.1"
    assert path["outcome"]["egress"] == "internet"


def test_a_flood_is_traced_without_sending_copies() -> None:
    with applied(example("switch"), "flood") as lab:
        lab.run("alice", "ping -n -c 1 -W 2 10.0.10.12")
        ask = "arp,dst=10.0.10.99", "icmp,dst=10.0.10.12"
        with netns.entered(lab.netns("bob")), traffic.raw("eth0") as arrives:
            first, second = trace(lab.name, "--in", "alice", *ask)["paths"]
            lab.run("alice", "ping -n -c 1 -W 2 10.0.10.12")
            frames = seen(arrives)
        assert first["outcome"]["verdict"] == "flooded"
        assert second["outcome"]["egress"] == "bob"
        assert any(IP in frame for frame in frames)
        assert not any(ARP in frame and frame[ARP].pdst == "10.0.10.99" for frame in frames)


def seen(arrives: socket.socket) -> list[Packet]:
    """The frames that have arrived."""
    arrives.setblocking(False)
    frames: list[Packet] = []
    with suppress(BlockingIOError):
        while True:
            frames.append(Ether(arrives.recv(2048)))
    return frames


def test_a_scapy_expression_is_read_and_not_executed(lab: Lab) -> None:
    found = trace(lab.name, "--in", "lan", "--scapy", 'IP(dst="192.0.2.254")/TCP(dport=[22,80])')
    assert [path["outcome"]["verdict"] for path in found["paths"]] == ["dropped", "forwarded"]
    done = nfvctl("trace", lab.name, "--in", "lan", "--scapy", '__import__("os").system("true")')
    assert done.returncode == 3
    assert "Scapy has no layer" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--in", "lan", "tpc,dst=192.0.2.9"], "did you mean 'tcp'?"),
        (["--in", "lan", "tcp,dst=192.0.2.9,prot=80"], "keys are"),
        (["--in", "lan", "tcp,dport=80"], "add dst=ADDRESS"),
        (["--in", "lna", "tcp,dst=192.0.2.9"], "did you mean 'lan'?"),
        (["--in", "lan"], "give packets"),
        (["--in", "lan", "--pcap", "/nonexistent"], "cannot read"),
    ],
)
def test_bad_input_is_told_with_what_to_do(lab: Lab, arguments: list[str], words: str) -> None:
    done = nfvctl("trace", lab.name, *arguments)
    assert done.returncode == 3, done.stderr
    assert words in done.stderr
    assert not done.stdout


def test_the_table_fits_a_hundred_columns(lab: Lab) -> None:
    done = nfvctl("trace", lab.name, "--in", "lan", "icmp,dst=2001:db8:2::254", "arp,dst=10.0.1.1")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "IPv6.hlim" in done.stdout
    assert done.stdout.rstrip().endswith("handed to Linux of gw: ARP or another control protocol")
