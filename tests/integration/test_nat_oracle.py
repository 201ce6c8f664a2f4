"""NAT beside nftables' masquerade: the same packets, and what comes out of both is the same."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from nfv.dataplane.kernel import netns
from tests.functions.bench import Bench
from tests.functions.natting import nat, out, pool
from tests.integration.helpers import traffic
from tests.integration.helpers.lab import namespace

pytestmark = pytest.mark.root

OUTSIDE = "192.0.2.1"
HOSTS = {"10.0.1.10": range(5000, 5003), "10.0.1.11": range(6000, 6003)}
REMOTES = ["192.0.2.254", "192.0.2.253"]
ROUTER = "192.0.2.200"
PORTS = [53, 80]
STEPS = 250
GUARD = ("10.0.1.99", 9, "192.0.2.250", 9)  # the flow that shows that what was before is through

_MACS = {"lan": "02:00:00:00:01:01", "wan": "02:00:00:00:02:01"}
_SETUP = """
ip link add lan type veth peer name near
ip link add wan type veth peer name far
ip link set lan address 02:00:00:00:01:01
ip link set wan address 02:00:00:00:02:01
ip link set lan up
ip link set wan up
ip link set near up
ip link set far up
ip addr add 10.0.1.1/24 dev lan
ip addr add 192.0.2.1/24 dev wan
sysctl -qw net.ipv4.ip_forward=1
sysctl -qw net.ipv4.conf.all.rp_filter=0
nft add table ip nat
nft add chain ip nat post { type nat hook postrouting priority 100 ; }
nft add rule ip nat post oifname wan masquerade
nft add chain ip nat forward { type filter hook forward priority 0 ; }
nft add rule ip nat forward ct state invalid drop
nft add chain ip nat input { type filter hook input priority 0 ; policy drop ; }
"""


class Linux:
    """A namespace that routes and masquerades, with a raw socket at either side.

    It takes nothing for itself: a connection to its own address would take a port from others.
    """

    def __init__(self, place: str) -> None:
        with netns.entered(place):
            for line in _SETUP.strip().splitlines():
                subprocess.run(line.split(), check=True)
            for address in (*HOSTS, GUARD[0]):
                self._neighbour(address, "lan")
            for address in (*REMOTES, ROUTER, GUARD[2]):
                self._neighbour(address, "wan")
            self.sockets = {"lan": traffic.raw("near"), "wan": traffic.raw("far")}
        self._number = 0
        self.cross(guard("lan"), "lan")

    def _neighbour(self, address: str, device: str) -> None:
        mac = _MACS[device].replace("01", "02", 1)
        subprocess.run(["ip", "neigh", "add", address, "lladdr", mac, "dev", device], check=True)

    def close(self) -> None:
        for each in self.sockets.values():
            each.close()

    def cross(self, packet: Any, side: str) -> Any:
        """What comes out at the other side, or None."""
        other = "wan" if side == "lan" else "lan"
        self._number += 1
        self._send(packet, side)
        self._send(guard(side) / Raw(str(self._number).encode()), side)
        crossed = None
        while True:
            frame: Any = Ether(self.sockets[other].recv(2048))
            if IP not in frame or frame.src != _MACS[other] or is_own(frame[IP], side):
                continue
            if frame[IP].dst in GUARD:
                if bytes(frame[UDP].payload).decode() == str(self._number):
                    return crossed
            else:
                crossed = frame[IP]

    def _send(self, packet: Any, side: str) -> None:
        header = Ether(src="02:00:00:00:09:09", dst=_MACS[side])
        self.sockets[side].send(bytes(header / packet))


def is_own(packet: Any, side: str) -> bool:
    """Whether Linux itself says something of a packet that came in from a side: it refuses it."""
    if TCP in packet:
        return bool(packet[TCP].flags.R)
    return side == "wan" and packet.dst not in HOSTS and packet.dst not in GUARD


def guard(side: str) -> Any:
    """A datagram that surely passes, once one went out."""
    inside, inner, outside, outer = GUARD
    if side == "lan":
        return IP(src=inside, dst=outside) / UDP(sport=inner, dport=outer)
    return IP(src=outside, dst=OUTSIDE) / UDP(sport=outer, dport=inner)


def message(kind: str, src: tuple[str, int], dst: tuple[str, int], is_reply: bool) -> Any:
    """A packet of a protocol, from one endpoint to another."""
    header = IP(src=src[0], dst=dst[0], id=7)
    if kind == "udp":
        return header / UDP(sport=src[1], dport=dst[1]) / Raw(b"datagram")
    if kind == "tcp":
        flags = "SA" if is_reply else "S"
        return header / TCP(sport=src[1], dport=dst[1], flags=flags, seq=100, ack=101 * is_reply)
    ident = dst[1] if is_reply else src[1]
    return header / ICMP(type=0 if is_reply else 8, id=ident, seq=1) / Raw(b"ping")


def steps(seed: int) -> Iterator[tuple[str, Any]]:
    """Packets and the sides where they come in.

    Errors are of flows that are known, or of inside endpoints that are not: an error about another
    flow of a known endpoint passes here, where a mapping is all that it needs, and not in Linux.
    """
    dice = random.Random(seed)
    flows, mapped = set(), set()
    for _ in range(STEPS):
        host = dice.choice(list(HOSTS))
        inside = host, dice.choice(HOSTS[host])
        remote = dice.choice(REMOTES), dice.choice(PORTS)
        outside = OUTSIDE, inside[1]
        kind = dice.choice(["udp", "tcp", "icmp"])
        what = dice.choice(["out", "out", "in", "in", "error in", "error out"])
        flow = kind, inside, remote[0] if kind == "icmp" else remote
        if what.startswith("error") and (kind, inside) in mapped and flow not in flows:
            continue
        if what == "out":
            flows.add(flow)
            mapped.add((kind, inside))
            yield "lan", message(kind, inside, remote, False)
        elif what == "in":
            yield "wan", message(kind, remote, outside, True)
        elif what == "error in":
            quoted = bytes(message(kind, outside, remote, False))
            yield "wan", IP(src=ROUTER, dst=OUTSIDE) / ICMP(type=3, code=1) / Raw(quoted)
        else:
            quoted = bytes(message(kind, remote, inside, True))
            yield "lan", IP(src=inside[0], dst=remote[0]) / ICMP(type=3, code=2) / Raw(quoted)


def settled(packet: Any) -> bytes | None:
    """What is compared: all but the TTL and with it the header's checksum."""
    if packet is None or isinstance(packet, str):
        return None
    again = packet.copy()
    again.ttl, again.chksum = 1, None
    return bytes(again)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    keys = (pool(OUTSIDE), "filtering: address-port")
    with closing(Bench(nat(*keys))) as found:
        yield found


@pytest.mark.parametrize("seed", range(3))
def test_the_same_packets_become_the_same(bench: Bench, seed: int) -> None:
    """Ports are kept by both, as no two inside endpoints have the same."""
    bench.clear()
    passed = 0
    with ExitStack() as stack:
        linux = stack.enter_context(closing(Linux(stack.enter_context(namespace("nat")))))
        assert linux.cross(guard("lan"), "lan") is None
        for number, (side, packet) in enumerate(steps(seed)):
            packet = IP(bytes(packet))
            theirs = settled(linux.cross(packet, side))
            ours = settled(out(bench, packet, side))
            assert ours == theirs, f"step {number}: {packet.summary()}"
            passed += ours is not None
    assert STEPS / 4 < passed < STEPS
