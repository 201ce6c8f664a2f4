"""NAT with real hosts: clients and servers on both sides, at either hook; an address that moves."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator

import pytest

from nfv.dataplane import state
from nfv.dataplane.kernel import netns
from tests.integration.helpers import traffic
from tests.integration.helpers.lab import PYTHON, Lab, applied, example, nfvctl

pytestmark = pytest.mark.root

FAR = "192.0.2.254"
OFFICE = "10.0.1.10"


@pytest.fixture(scope="module", params=["tc", "xdp"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    text = example("nat").replace("kind: host", f"kind: host, hook: {request.param}")
    with applied(text, "nat") as made:
        yield made


def seen_from(lab: Lab, node: str, kind: socket.SocketKind, far: str = FAR) -> tuple[str, bool]:
    """The address that the far end sees of a host, and whether it sees the same port."""
    with netns.entered(lab.netns("internet")):
        server = socket.socket(type=kind)
        server.bind((far, 0))
    with netns.entered(lab.netns(node)):
        client = socket.socket(type=kind)
    server.settimeout(traffic.PATIENCE)
    client.settimeout(traffic.PATIENCE)
    with server, client:
        if kind is socket.SOCK_STREAM:
            server.listen()
        client.connect(server.getsockname())
        client.send(b"question")
        if kind is socket.SOCK_STREAM:
            connection, (address, port) = server.accept()
            connection.send(b"answer")
        else:
            _data, (address, port) = server.recvfrom(100)
            server.sendto(b"answer", (address, port))
        assert client.recv(100) == b"answer"
        return address, port == client.getsockname()[1]


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
def test_what_the_far_end_sees(lab: Lab, kind: socket.SocketKind) -> None:
    assert seen_from(lab, "office", kind) == ("192.0.2.1", True)
    assert seen_from(lab, "server", kind) == ("192.0.2.30", True)
    guest, _ = seen_from(lab, "guest", kind)
    assert guest in {f"192.0.2.{number}" for number in range(16, 24)}
    assert traffic.checksum_errors(lab.netns("internet")) == 0


@pytest.mark.parametrize("node", ["office", "guest", "server", "gw"])
def test_ping(lab: Lab, node: str) -> None:
    lab.run(node, f"ping -c 3 -i 0.2 -W 5 {FAR}")
    lab.run(node, f"ping -c 1 -s 5000 -W 5 {FAR}")  # in fragments, which the router makes too


def test_bulk_there_and_back(lab: Lab) -> None:
    """Segments of many on the wire, whose checksums the kernel has yet to complete."""
    with lab.server("internet", "iperf3 -s -1 --forceflush", "listening"):
        lab.run("office", f"iperf3 -c {FAR} -n 20M")
    with lab.server("internet", "iperf3 -s -1 --forceflush", "listening"):
        lab.run("guest", f"iperf3 -c {FAR} -n 20M -R")
    for node in ("office", "guest", "internet"):
        assert traffic.checksum_errors(lab.netns(node)) == 0


def test_datagrams_in_bulk(lab: Lab) -> None:
    with lab.server("internet", "iperf3 -s -1 --forceflush", "listening"):
        lab.run("office", f"iperf3 -c {FAR} -u -b 50M -n 2M -l 1400")
    assert traffic.checksum_errors(lab.netns("internet")) == 0


def test_port_forwarding(lab: Lab) -> None:
    web = f"{PYTHON} -u -m http.server --bind {OFFICE} --directory /usr/share/doc/bash 80"
    with lab.server("office", web, "Serving"):
        done = lab.run("internet", "curl -sS --max-time 10 http://192.0.2.1:8080/")
    assert "Directory listing" in done.stdout


def test_a_range_of_ports(lab: Lab) -> None:
    inside, outside = lab.netns("office"), lab.netns("internet")
    with (
        traffic.datagrams(inside, OFFICE, 5007) as server,
        traffic.datagrams(outside, FAR, 0) as client,
    ):
        client.sendto(b"in", ("192.0.2.1", 5007))
        data, back = server.recvfrom(100)
        server.sendto(b"out", back)
        assert (data, client.recvfrom(100)) == (b"in", (b"out", ("192.0.2.1", 5007)))


def test_the_server_is_reached_by_its_own_address(lab: Lab) -> None:
    """Somebody has to answer ARP for it, before anything was ever sent from inside."""
    lab.run("internet", "ping -c 2 -i 0.2 -W 5 192.0.2.30")
    with lab.server("server", "iperf3 -s -1 --forceflush", "listening"):
        lab.run("internet", "iperf3 -c 192.0.2.30 -n 1M")


def test_hairpin(lab: Lab) -> None:
    """RFC 4787, REQ-9: from inside to the outside address of another one inside."""
    lab.run("guest", "ping -c 2 -i 0.2 -W 5 192.0.2.30")
    with lab.server("server", "iperf3 -s -1 --forceflush", "listening"):
        lab.run("guest", "iperf3 -c 192.0.2.30 -n 1M")


def test_traceroute_through_it(lab: Lab) -> None:
    """The far host's port unreachable quotes what went out, and is understood inside."""
    for node in ("office", "guest", "server"):
        done = lab.run(node, f"traceroute -n -w 3 -q 1 {FAR}")
        assert done.stdout.strip().splitlines()[-1].split()[1] == FAR


def test_errors_from_inside(lab: Lab) -> None:
    """What a closed port inside answers is understood outside."""
    with netns.entered(lab.netns("internet")), socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(traffic.PATIENCE)
        client.connect(("192.0.2.1", 5009))
        client.send(b"anybody there?")
        with pytest.raises(ConnectionRefusedError):
            client.recv(100)


def test_nobody_comes_in_uninvited(lab: Lab) -> None:
    done = lab.run("internet", "ping -c 1 -W 0.5 192.0.2.1", check=False)
    assert done.returncode == 1
    assert traffic.outcome(lab.netns("internet"), "192.0.2.1", 9) == "silence"


def test_the_masquerade_address_is_followed(lab: Lab) -> None:
    """A change in the namespace is enough; what was mapped to the former address is not used."""
    assert seen_from(lab, "office", socket.SOCK_DGRAM)[0] == "192.0.2.1"
    move(lab, "192.0.2.1/24", "192.0.2.99/24")
    try:
        assert seen_from(lab, "office", socket.SOCK_DGRAM)[0] == "192.0.2.99"
    finally:
        move(lab, "192.0.2.99/24", "192.0.2.1/24")
    assert seen_from(lab, "office", socket.SOCK_DGRAM)[0] == "192.0.2.1"


def move(lab: Lab, former: str, address: str) -> None:
    """Give the router's outer interface another address."""
    lab.run("gw", f"ip addr del {former} dev internet")
    lab.run("gw", f"ip addr add {address} dev internet")
    lab.run("gw", f"ip route replace default via {FAR} proto 78")
    lab.settle()


def test_connections_outlive_a_change(lab: Lab) -> None:
    """Mappings are kept when the file changes, and tables grow."""
    with traffic.listener(lab.netns("internet"), FAR, 4000) as listener:
        client = traffic.connect(lab.netns("guest"), FAR, 4000)
        server, _ = listener.accept()
        lab.edit("mappings: 100000", "mappings: 200000")
        lab.apply()
        client.sendall(b"still there")
        assert server.recv(100) == b"still there"
        client.close()
        server.close()


def test_inspect_lists_mappings(lab: Lab) -> None:
    seen_from(lab, "guest", socket.SOCK_STREAM)
    done = nfvctl("inspect", lab.name, "nat", "proto=tcp", "inside=10.0.2.10", "--format", "json")
    assert done.returncode == 0, done.stderr
    for row in json.loads(done.stdout):
        assert row["outside"].startswith("192.0.2.")
        assert (row["kind"], row["remote"]) == ("mapping", "any")
        assert row["state"] in ("established", "closing")
        assert 0 <= row["idle"] <= row["age"] < 600
    assert json.loads(done.stdout)


BLOCKS = """
name: nat-blocks
saps:
  lan: {kind: host, ip: 10.0.1.10/24, gateway: 10.0.1.1}
  wan: {kind: host, ip: 192.0.2.254/24}
vnfs:
  gw:
    type: router
    interfaces: {lan: {ip: 10.0.1.1/24}, wan: {ip: 192.0.2.1/24}}
  nat:
    type: nat
    pools: [{outside: 192.0.2.16/30, block: 256}]
    ipfix: {address: 127.0.0.1, port: COLLECTOR}
chains:
  inside: {path: [lan, "gw:lan"]}
  outside: {path: ["gw:wan", nat, wan]}
"""


def test_blocks_are_logged_and_listed() -> None:
    """A packet out takes a block; its line and its IPFIX message say the same."""
    with socket.socket(type=socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        collector.settimeout(traffic.PATIENCE)
        text = BLOCKS.replace("COLLECTOR", str(collector.getsockname()[1]))
        with applied(text, "blocks") as made:
            made.run("lan", f"ping -c 1 -W 5 {FAR}")
            message = collector.recv(2048)
            log = state.events(made.name, "nat")
            (line,) = [json.loads(each) for each in log.read_text().splitlines()]
            done = nfvctl("inspect", made.name, "nat", "kind=block", "--format", "json")
            shutil.rmtree(log.parent)
    assert (line["event"], line["inside"]) == ("allocated", "10.0.1.10")
    assert line["last_port"] - line["first_port"] == 255
    assert socket.inet_aton(line["inside"]) + socket.inet_aton(line["outside"]) in message
    (row,) = json.loads(done.stdout)
    assert row["outside"] == f"{line['outside']}:{line['first_port']}-{line['last_port']}"
    assert row["state"] == "held"
