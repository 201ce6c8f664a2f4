"""A firewall between real hosts: what is listed of it, and connections that are made to end."""

from __future__ import annotations

import json
import random
import socket
import struct
from collections.abc import Iterator
from functools import partial

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from nfv.dataplane.kernel import netns
from nfv.dataplane.resident import agentctl
from tests.functions.firewalling import firewall
from tests.integration.helpers import traffic
from tests.integration.helpers.lab import Lab, applied, nfvctl
from tests.integration.test_dhcp import until

pytestmark = pytest.mark.root

LEFT, RIGHT = "10.0.1.10", "10.0.2.10"
PORT = 7777
OUT = "name: out, action: accept, direction: forward"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with applied(firewall(OUT, pickup="false"), "firewall") as made:
        yield made


def listed(lab: Lab, *filters: str) -> list[dict[str, object]]:
    """What `nfvctl inspect` says of the firewall."""
    done = nfvctl("inspect", lab.name, "fw", *filters, "--format", "json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def refused(lab: Lab) -> int:
    """Packets of no connection so far."""
    ended = lab.statistics().vnfs["fw"].ended
    return ended["invalid"].packets if "invalid" in ended else 0


def test_what_is_listed(lab: Lab) -> None:
    lab.run("left", f"ping -c 1 -W 20 {RIGHT}")
    client, server = traffic.transfer(
        lab.netns("left"), lab.netns("right"), RIGHT, PORT, bytes(1000)
    )
    with client, server:
        (found,) = listed(lab, "kind=connection", "proto=tcp")
        assert {key: found[key] for key in ("src", "sport", "dst", "dport", "state", "rule")} == {
            "src": LEFT,
            "sport": client.getsockname()[1],
            "dst": RIGHT,
            "dport": PORT,
            "state": "established",
            "rule": "out",
        }
        ages = [found[key] for key in ("age", "idle", "expires")]
        assert all(isinstance(age, int) and 0 <= age <= 7448 for age in ages)
        (ping,) = listed(lab, "proto=icmp")
        assert (ping["src"], ping["dst"], ping["dport"]) == (LEFT, RIGHT, None)
        rules = {row["rule"]: row for row in listed(lab, "kind=rule")}
        assert list(rules) == ["out", "default"]
        packets, size = rules["out"]["packets"], rules["out"]["bytes"]
        assert isinstance(packets, int)
        assert isinstance(size, int)
        assert packets >= 7
        assert size > 1000

        table = nfvctl("inspect", lab.name, "fw", "dport=7777").stdout
        assert "established" in table
        assert max(map(len, table.splitlines())) <= 100

        lab.edit(OUT, f"{OUT}}}\n      - {{name: last, action: drop")
        lab.apply()
        (after,) = listed(lab, "kind=rule", "rule=out")
        assert isinstance(after["packets"], int)
        assert after["packets"] >= packets
        assert [row["state"] for row in listed(lab, "proto=tcp")] == ["established"]


def test_a_connection_that_is_forgotten_is_over_at_once(lab: Lab) -> None:
    client, server = traffic.transfer(
        lab.netns("left"), lab.netns("right"), RIGHT, PORT, bytes(1 << 20)
    )
    other, accepted = traffic.transfer(
        lab.netns("left"), lab.netns("right"), RIGHT, PORT + 1, bytes(1 << 20)
    )
    with client, server, other, accepted:
        traffic.send(client, server, b"known to the flow cache")
        before = refused(lab)
        request = ("tell", lab.name, "fw", "forget", "proto=tcp", "src=10.0.0.0/8", "dport=7777")
        told = nfvctl(*request, "--format", "json")
        assert json.loads(told.stdout) == [{"forgotten": 1}], told.stderr
        client.send(b"to nobody")
        until(lambda: refused(lab) > before)
        traffic.send(other, accepted, b"goes on")
        (left,) = listed(lab, "proto=tcp")
        assert left["dport"] == PORT + 1


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (("forget", "door=3"), "there is no 'door' here"),
        (("forget", "src=nowhere"), "'nowhere' is no address or prefix"),
        (("flush",), "a firewall cannot flush"),
    ],
)
def test_what_cannot_be_forgotten(lab: Lab, request_: tuple[str, ...], words: str) -> None:
    done = nfvctl("tell", lab.name, "fw", *request_)
    assert done.returncode == 3
    assert words in done.stderr


SETS = firewall(
    "action: drop, src_set: bad",
    default="accept",
    stateless="true",
    sets="{bad: {addresses: 192.0.2.1}}",
)


def pings(lab: Lab) -> bool:
    """Whether an echo is answered."""
    return lab.run("left", f"ping -c 1 -W 1 {RIGHT}", check=False).returncode == 0


def sizes(lab: Lab) -> dict[object, object]:
    return {row["set"]: row["addresses"] for row in listed(lab, "kind=set")}


def test_a_set_changed_while_packets_pass() -> None:
    with applied(SETS, "firewall-sets") as lab:
        until(lambda: pings(lab))
        add = ("tell", lab.name, "fw", "add", "set=bad", f"address={LEFT}")
        assert nfvctl(*add).returncode == 0
        assert not pings(lab)
        assert sizes(lab) == {"bad": 2}
        agentctl.stop(lab.name)
        lab.edit("drop, src_set", "reject, src_set")
        lab.apply()
        assert not pings(lab)
        assert sizes(lab) == {"bad": 2}

        remove = ("tell", lab.name, "fw", "remove", "set=bad", f"address={LEFT}")
        assert json.loads(nfvctl(*remove, "--format", "json").stdout) == [
            {"set": "bad", "removed": 1}
        ]
        until(lambda: pings(lab))
        assert nfvctl(*add, "timeout=1s").returncode == 0
        until(lambda: sizes(lab) == {"bad": 1})
        until(lambda: pings(lab))


def forged(lab: Lab, ports: tuple[int, int], count: int) -> None:
    """RSTs of someone who knows the endpoints of a connection but not its numbers."""
    chance = random.Random(count)
    header = Ether(src=mac(lab, "left"), dst=mac(lab, "right")) / IP(src=LEFT, dst=RIGHT)
    with netns.entered(lab.netns("left")), traffic.raw("eth0") as wire:
        for _ in range(count):
            number = chance.randrange(1 << 32)
            tcp = TCP(sport=ports[0], dport=ports[1], flags="R", seq=number)
            wire.send(bytes(header / tcp))


def _has_refused(lab: Lab, packets: int) -> bool:
    return refused(lab) > packets


def mac(lab: Lab, node: str) -> str:
    (link,) = json.loads(lab.run(node, "ip -json link show dev eth0").stdout)
    return str(link["address"])


def test_forged_resets_end_no_connection_while_data_flows() -> None:
    with applied(firewall(OUT, windows="strict"), "firewall-strict") as lab:
        with lab.server("right", "iperf3 -s -1 --forceflush", "listening"):
            lab.run("left", f"iperf3 -c {RIGHT} -n 20M")
        with lab.server("right", "iperf3 -s -1 --forceflush", "listening"):
            lab.run("left", f"iperf3 -c {RIGHT} -n 20M -R")
        assert refused(lab) == 0
        client, server = traffic.transfer(
            lab.netns("left"), lab.netns("right"), RIGHT, PORT, bytes(1 << 20)
        )
        with client, server:
            ports = client.getsockname()[1], PORT
            for _ in range(5):
                most = refused(lab) + 150
                forged(lab, ports, 200)
                until(partial(_has_refused, lab, most))
                traffic.send(client, server, bytes(1 << 20))
                traffic.send(server, client, bytes(1 << 20))
            (found,) = listed(lab, "proto=tcp", f"dport={PORT}")
            assert found["state"] == "established"
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()  # by a RST, which has the right number
            (found,) = listed(lab, "proto=tcp", f"dport={PORT}")
            assert found["state"] == "closed"
            with pytest.raises(ConnectionResetError):
                server.recv(1)
