"""VLANs of a trunk: a router's subinterfaces, for stations with tags and behind a switch."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP
from scapy.packet import Packet, Raw

from tests.integration.helpers import segment
from tests.integration.helpers.lab import Lab, applied, example, nfvctl
from tests.integration.helpers.segment import BROADCAST, Wire

pytestmark = pytest.mark.root

PATIENCE = 30.0  # seconds
STATION = segment.mac(0x99)
ETHERTYPES = {IP: 0x0800, ARP: 0x0806, IPv6: 0x86DD}

TAGS = {
    "plain": "",
    "staff": "8100 000a",
    "guests": "8100 0014",
    "metro": "88a8 0064 8100 0005",
    "core": "8100 00c8 8100 0005",
    "rest": "8100 00c8",
}
"""What stands between the MAC addresses and the ethertype, by port; their subnets in this order."""

STICK = """
name: stick
saps:
  lan: {kind: host, ip: 198.51.100.1/24, mtu: 1504, hook: HOOK}
vnfs:
  tags:
    type: vlans
    ports:
      plain: {}
      staff: {vlan: 10}
      guests: {vlan: 20}
      metro: {outer: 100, vlan: 5}
      core: {outer: 200, vlan: 5, protocol: 802.1Q}
      rest: {vlan: 200}
  fw: {type: firewall, default: accept, rules: [{action: reject, proto: tcp, dport: 23}]}
  gw:
    type: router
    interfaces:
      plain: {ip: [10.0.0.1/24, 2001:db8::1/64]}
      staff: {ip: [10.0.1.1/24, 2001:db8:1::1/64]}
      guests: {ip: [10.0.2.1/24, 2001:db8:2::1/64]}
      metro: {ip: [10.0.3.1/24, 2001:db8:3::1/64]}
      core: {ip: [10.0.4.1/24, 2001:db8:4::1/64]}
      rest: {ip: [10.0.5.1/24, 2001:db8:5::1/64]}
chains:
  trunk: {path: [lan, "tags:trunk"]}
  plain: {path: ["tags:plain", "gw:plain"]}
  staff: {path: ["tags:staff", "gw:staff"]}
  guests: {path: ["tags:guests", fw, "gw:guests"]}
  metro: {path: ["tags:metro", "gw:metro"]}
  core: {path: ["tags:core", "gw:core"]}
  rest: {path: ["tags:rest", "gw:rest"]}
"""


@dataclass
class Station:
    """A host with address 99 in the subnet of every port, which puts tags on frames itself."""

    lab: Lab
    wire: Wire
    gateways: dict[str, bytes] = field(default_factory=dict)

    def send(self, port: str, packet: Packet, *, tags: str | None = None, to: bytes = b"") -> None:
        self.wire.send(framed(to or self.gateways[port], STATION, port, packet, tags))

    def receive(self, port: str, wanted: Callable[[Packet], bool]) -> bytes:
        """The next frame with the tags of a port whose packet is wanted."""
        tags = bytes.fromhex(TAGS[port])
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            data = self.wire.next_frame()
            if data is None or data[12 : 12 + len(tags)] != tags:
                continue
            (ethertype,) = struct.unpack_from("!H", data, 12 + len(tags))
            for layer, number in ETHERTYPES.items():
                if number == ethertype and wanted(layer(data[14 + len(tags) :])):
                    return data
        pytest.fail(f"nothing comes for {port}")

    def meet(self, port: str) -> None:
        """Have the router tell its MAC address, and learn the station's."""
        question = ARP(hwsrc=text(STATION), psrc=own(port), pdst=gateway(port))
        self.send(port, question, to=BROADCAST)
        answer = self.receive(port, lambda packet: ARP in packet and packet.op == 2)
        assert answer[:6] == STATION
        self.gateways[port] = answer[6:12]
        self.lab.settle()


def text(mac: bytes) -> str:
    return mac.hex(":")


def own(port: str) -> str:
    return f"10.0.{[*TAGS].index(port)}.99"


def gateway(port: str) -> str:
    return f"10.0.{[*TAGS].index(port)}.1"


def subnet6(port: str) -> str:
    number = [*TAGS].index(port)
    return f"2001:db8:{number}::" if number else "2001:db8::"


def framed(dst: bytes, src: bytes, port: str, packet: Packet, tags: str | None = None) -> bytes:
    """A frame as it is on the trunk."""
    between = bytes.fromhex(TAGS[port] if tags is None else tags)
    ethertype = struct.pack("!H", ETHERTYPES[type(packet)])
    return (dst + src + between + ethertype + bytes(packet)).ljust(60, b"\0")


@contextmanager
def stick(hook: str) -> Iterator[Station]:
    """The topology applied, and its station."""
    with (
        applied(STICK.replace("HOOK", hook), "stick") as lab,
        segment.segment({"lan": (lab.netns("lan"), "eth0")}) as wires,
    ):
        wires.wires["lan"].socket.settimeout(PATIENCE)
        yield Station(lab, wires.wires["lan"])


@pytest.fixture(scope="module", params=["xdp", "tc"])
def station(request: pytest.FixtureRequest) -> Iterator[Station]:
    with stick(request.param) as found:
        yield found


@pytest.mark.parametrize("port", TAGS)
def test_the_router_answers_in_every_vlan(station: Station, port: str) -> None:
    """ARP, ND and ping of a long packet: by Linux, which knows nothing of tags."""
    station.meet(port)
    data = bytes(range(256)) * 5 + bytes(188)  # packet(7) sends no two tags beside a full packet
    ping = IP(src=own(port), dst=gateway(port), flags="DF") / ICMP(id=7, seq=1) / Raw(data)
    station.send(port, ping)
    answer = station.receive(port, lambda packet: ICMP in packet and packet[ICMP].type == 0)
    head = bytes.fromhex(TAGS[port])
    assert answer[:12] == STATION + station.gateways[port]
    reply = IP(answer[14 + len(head) :])
    assert (reply.src, reply.dst, reply[ICMP].id) == (gateway(port), own(port), 7)
    assert bytes(reply[ICMP].payload) == data
    _answers6(station, port)


def _answers6(station: Station, port: str) -> None:
    address, router = subnet6(port) + "99", subnet6(port) + "1"
    solicitation = IPv6(src=address, dst="ff02::1:ff00:1") / ICMPv6ND_NS(tgt=router)
    to = bytes.fromhex("3333ff000001")
    station.send(port, solicitation / ICMPv6NDOptSrcLLAddr(lladdr=text(STATION)), to=to)
    station.receive(port, lambda packet: ICMPv6ND_NA in packet and packet.tgt == router)
    station.send(port, IPv6(src=address, dst=router) / ICMPv6EchoRequest(id=9, data=b"x" * 1448))
    station.receive(port, lambda p: ICMPv6EchoReply in p and (p.src, p.plen) == (router, 1456))


@pytest.mark.parametrize(
    ("near", "far"), [("staff", "guests"), ("plain", "metro"), ("rest", "core")]
)
def test_packets_change_vlan_and_nothing_else(station: Station, near: str, far: str) -> None:
    for port in (far, near):
        station.meet(port)
    sent = IP(src=own(near), dst=own(far), ttl=9, id=77, flags="DF") / UDP(sport=5, dport=6)
    sent /= Raw(bytes(1472))
    before = station.lab.statistics()
    for _ in range(2):
        station.send(near, sent)
        got = station.receive(far, lambda packet: UDP in packet)
        expected = IP(bytes(sent))
        expected.ttl = 8
        del expected.chksum
        assert got == framed(STATION, station.gateways[far], far, expected)
    passed = station.lab.statistics().since(before)
    assert passed.ports[f"tags:{near}"].received["forwarded"].packets == 2


def test_errors_come_back_in_the_vlan(station: Station) -> None:
    station.meet("guests")
    sent = IP(src=own("guests"), dst="10.0.4.99", ttl=1) / UDP(sport=5, dport=6)
    station.send("guests", sent)
    answer = station.receive("guests", lambda packet: ICMP in packet and packet[ICMP].type == 11)
    error = IP(answer[18:])
    assert (error.src, error.dst) == (gateway("guests"), own("guests"))
    assert bytes(error[ICMP].payload)[:28] == bytes(sent)
    lost = IP(src=own("guests"), dst="203.0.113.1") / UDP(sport=5, dport=6)
    station.send("guests", lost)
    station.receive("guests", lambda packet: ICMP in packet and packet[ICMP].type == 3)


def test_rejections_come_back_in_the_vlan(station: Station) -> None:
    station.meet("guests")
    station.send("guests", IP(src=own("guests"), dst="10.0.4.99") / TCP(sport=5, dport=23, seq=7))
    answer = station.receive("guests", lambda packet: TCP in packet)
    reset = IP(answer[18:])
    assert (reset[TCP].flags, reset[TCP].ack, reset.dst) == ("RA", 8, own("guests"))


@pytest.mark.parametrize(
    ("port", "tags"),
    [
        ("plain", "8100 a000"),
        ("staff", "8100 e00a"),
        ("staff", "8100 000a 8100 6000"),
        ("rest", "8100 00c8 8100 6000"),
    ],
    ids=["alone", "of a VLAN", "within a VLAN", "beside an inner tag"],
)
def test_priorities_are_accepted(station: Station, port: str, tags: str) -> None:
    station.meet(port)
    station.send(port, IP(src=own(port), dst=gateway(port)) / ICMP(id=8), tags=tags)
    station.receive(port, lambda packet: ICMP in packet and packet[ICMP].id == 8)


@pytest.mark.parametrize(
    "tags",
    ["8100 001e", "88a8 000a", "88a8 0064", "88a8 0064 8100 0006", "88a8 0064 88a8 0005"],
)
def test_frames_of_other_vlans_are_dropped(station: Station, tags: str) -> None:
    station.meet("staff")
    before = station.lab.statistics()
    station.send("staff", IP(src=own("staff"), dst=gateway("staff")) / ICMP(id=3), tags=tags)
    station.meet("staff")
    ended = station.lab.statistics().since(before).vnfs["tags"].ended
    assert ended["vlan"].packets == 1


def test_frames_that_are_cut_short_harm_nothing(station: Station) -> None:
    whole = framed(BROADCAST, STATION, "metro", IP(src=own("metro"), dst=gateway("metro")))
    for length in range(14, 40):
        station.wire.send(whole[:length])
    station.meet("metro")


def test_ports_and_their_tags_are_listed(station: Station) -> None:
    found = nfvctl("inspect", station.lab.name, "tags", "--format", "json")
    rows = {row["port"]: row["tags"] for row in json.loads(found.stdout)}
    assert (rows["plain"], rows["staff"], rows["metro"]) == (
        None,
        "802.1Q:10",
        "802.1ad:100 802.1Q:5",
    )


def test_a_router_on_a_stick() -> None:
    """The example: hosts behind a switch, whose trunk leads to the router."""
    with applied(example("vlans"), "vlans") as lab:
        for address in ("10.0.10.1", "10.0.20.11", "192.0.2.254", "2001:db8:20::11"):
            lab.run("alice", f"ping -c 3 -i 0.2 -W 10 {address}")
        lab.run("alice", "ping -c 1 -W 10 -M do -s 1472 10.0.20.11")
        hops = lab.run("alice", "traceroute -n -I -w 10 10.0.20.11").stdout
        assert [line.split()[1] for line in hops.splitlines()[1:]] == ["10.0.10.1", "10.0.20.11"]
        refused = lab.run("carol", "curl -m 10 http://10.0.10.11:22/", check=False)
        assert refused.returncode == 28, refused.stderr  # dropped by the firewall of that VLAN
        with lab.server("wan", "python3 -u -m http.server 80", "Serving"):
            fetched = lab.run(
                "carol", "curl -s -m 20 -o /dev/null -w %{http_code} http://192.0.2.254/"
            )
        assert fetched.stdout == "200"
