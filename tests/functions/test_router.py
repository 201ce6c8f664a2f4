"""What a router forwards, byte by byte."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from nfv.dataplane.kernel import bpf
from nfv.dataplane.routing.fib import own_bits
from nfv.dataplane.routing.routemsg import Prefix
from tests.functions.bench import Bench
from tests.functions.frames import MINIMUM, back, ether, ip, padded, routed

pytestmark = pytest.mark.root

TOPOLOGY = """
name: bench-router
saps:
  lan: {kind: host, ip: [10.0.1.10/24, 2001:db8:1::10/64]}
  wan: {kind: host, ip: [10.0.2.10/24, 2001:db8:2::10/64]}
vnfs:
  gw:
    type: router
    interfaces:
      lan: {ip: [10.0.1.1/24, 2001:db8:1::1/64]}
      wan: {ip: [10.0.2.1/24, 2001:db8:2::1/64]}
    routes:
      - {to: 0.0.0.0/0, via: 10.0.2.10}
      - {to: "::/0", via: 2001:db8:2::10}
chains:
  inside: {path: [lan, "gw:lan"]}
  outside: {path: ["gw:wan", wan]}
"""

LENGTH = Raw(bytes(range(97)))
TRANSPORTS: list[Packet] = [
    TCP(sport=40000, dport=80, flags="S") / LENGTH,
    UDP(sport=40000, dport=53) / LENGTH,
    Raw(b"no transport header that is known"),
]
EXTENSIONS: list[Packet] = [
    IPv6ExtHdrDestOpt() / UDP() / LENGTH,
    IPv6ExtHdrRouting(addresses=["2001:db8:9::1"], segleft=1) / TCP() / LENGTH,
    IPv6ExtHdrFragment(id=7, m=1) / UDP() / LENGTH,
    IPv6ExtHdrFragment(id=7, offset=9, nh=17) / LENGTH,
    IPv6ExtHdrDestOpt() / IPv6ExtHdrFragment(id=7, offset=9, nh=6) / LENGTH,
]


def lan_frame(bench: Bench, packet: Packet) -> Any:
    return ether(bench, "lan", "gw:lan") / packet


def check_forwarded(bench: Bench, frame: Packet) -> None:
    """The frame leaves by wan as Scapy would have it, and is counted once everywhere."""
    outcome = bench.run("lan", frame)
    expected = routed(frame, bench.mac("gw:wan"), bench.mac("wan"))
    assert outcome.egress == "wan"
    assert outcome.frame == expected
    once = (1, len(expected))
    assert outcome.counted == {
        ("received", "lan", "forwarded"): once,
        ("reason", "gw", "forwarded"): once,
        ("sent", "wan"): once,
    }


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("transport", TRANSPORTS, ids=lambda packet: packet.name)
def test_forwards(bench: Bench, version: int, transport: Packet) -> None:
    check_forwarded(bench, lan_frame(bench, ip(version) / transport))


@pytest.mark.parametrize("echo", [ip(4) / ICMP(id=1), ip(6) / ICMPv6EchoRequest(id=1)])
def test_forwards_echo(bench: Bench, echo: Packet) -> None:
    check_forwarded(bench, lan_frame(bench, echo / LENGTH))


@pytest.mark.parametrize("extension", EXTENSIONS, ids=lambda packet: packet.summary())
def test_forwards_ipv6_extension_headers(bench: Bench, extension: Packet) -> None:
    check_forwarded(bench, lan_frame(bench, ip(6) / extension))


@pytest.mark.parametrize("flags", ["", "DF", "MF"])
@pytest.mark.parametrize("offset", [0, 1, 185, 0x1F00])
def test_forwards_ipv4_fragments(bench: Bench, flags: str, offset: int) -> None:
    packet = ip(4, flags=flags, frag=offset, id=77, proto=17) / Raw(b"x" * 64)
    check_forwarded(bench, lan_frame(bench, packet))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("hops", [2, 3, 64, 128, 255])
def test_takes_one_hop(bench: Bench, version: int, hops: int) -> None:
    field: dict[str, Any] = {"ttl": hops} if version == 4 else {"hlim": hops}
    check_forwarded(bench, lan_frame(bench, ip(version, **field) / UDP() / LENGTH))


@pytest.mark.parametrize("tos", [0, 0x2E << 2, 3, 0xFF])
def test_leaves_the_traffic_class_alone(bench: Bench, tos: int) -> None:
    check_forwarded(bench, lan_frame(bench, ip(4, tos=tos) / UDP()))
    check_forwarded(bench, lan_frame(bench, ip(6, tc=tos, fl=0xFFFFF) / UDP()))


@pytest.mark.parametrize("version", [4, 6])
def test_forwards_to_the_interface_where_it_came_in(bench: Bench, version: int) -> None:
    frame = ether(bench, "lan", "gw:lan") / back(version) / UDP()
    outcome = bench.run("lan", frame)
    assert outcome.egress == "lan"
    assert outcome.frame == routed(frame, bench.mac("gw:lan"), bench.mac("lan"))


def test_keeps_the_padding_of_a_minimal_frame(bench: Bench) -> None:
    frame = lan_frame(bench, ip(4) / UDP() / b"x")
    expected = padded(routed(frame, bench.mac("gw:wan"), bench.mac("wan")), fill=b"\xa5")
    outcome = bench.run("lan", padded(frame, fill=b"\xa5"))
    assert (outcome.egress, outcome.frame) == ("wan", expected)
    assert outcome.counted["sent", "wan"] == (1, MINIMUM)


@pytest.mark.parametrize("version", [4, 6])
def test_forwards_up_to_the_mtu(bench: Bench, version: int) -> None:
    header = len(ip(version))
    check_forwarded(bench, lan_frame(bench, ip(version) / Raw(b"x" * (1500 - header))))


def with_checksum(header: bytes, checksum: int) -> bytes:
    """The IPv4 header with the identification that gives it this checksum."""
    blank = header[:4] + b"\0\0" + header[6:10] + b"\0\0" + header[12:]
    rest = sum(struct.unpack("!10H", blank))
    ident = (0xFFFF - checksum - rest) % 0xFFFF
    done = blank[:4] + struct.pack("!H", ident) + blank[6:10] + struct.pack("!H", checksum)
    return done + blank[12:]


NEAR_WRAP = sorted({value % 0xFFFF for value in range(-0x208, 0x209)} | set(range(0, 0xFFFF, 251)))


def test_checksum_is_right_wherever_it_wraps(bench: Bench) -> None:
    """One hop less adds 0x0100 to the sum: sweep the checksums before, above all near the wrap."""
    frame = bytes(lan_frame(bench, ip(4, ttl=64) / UDP()))
    for checksum in NEAR_WRAP:
        header = with_checksum(frame[14:34], checksum)
        verdict, out = bench.execute("lan", frame[:14] + header + frame[34:])
        assert verdict == bpf.XDP_REDIRECT, f"{checksum:#x}"
        expected = IP(header)
        expected.ttl -= 1
        expected.chksum = None
        assert out[14:] == bytes(expected) + frame[34:][len(expected.payload) :], f"{checksum:#x}"


def test_a_checksum_of_ffff_stands_for_zero(bench: Bench) -> None:
    """Both are minus and plus zero of one's complement: a packet with either is intact."""
    frame = bytes(lan_frame(bench, ip(4, ttl=64) / UDP()))
    header = with_checksum(frame[14:34], 0)
    minus_zero = header[:10] + b"\xff\xff" + header[12:]
    verdict, out = bench.execute("lan", frame[:14] + minus_zero + frame[34:])
    assert verdict == bpf.XDP_REDIRECT
    words = struct.unpack("!10H", out[14:34])
    assert sum(words) % 0xFFFF == 0


def test_counts_all_bytes_of_a_frame(bench: Bench) -> None:
    for size in (62, 100, 1514):
        frame = lan_frame(bench, ip(6) / UDP() / Raw(b"x" * (size - 62)))
        assert bench.run("lan", frame).counted["sent", "wan"] == (1, size)


def test_scapy_reads_what_comes_out(bench: Bench) -> None:
    """The oracle itself: checksums of the output, computed from its bytes."""
    outcome = bench.run("lan", lan_frame(bench, ip(4) / TRANSPORTS[0]))
    found: Any = Ether(outcome.frame)
    rebuilt = found.copy()
    rebuilt[IP].chksum = rebuilt[TCP].chksum = None
    assert bytes(rebuilt) == outcome.frame
    assert IPv6 not in found


def sharing_a_bit(address: str) -> str:
    """Another address that the router takes for one that may be its own (`own_bits`)."""
    bits = own_bits([Prefix(4, int(IPv4Address(address)), 32)])
    first = int(IPv4Address("198.51.100.0"))
    return next(
        str(IPv4Address(other))
        for other in range(first, first + 100_000)
        if own_bits([Prefix(4, other, 32)]) == bits
    )


@pytest.mark.parametrize("own", ["10.0.1.1", "10.0.2.1"])
def test_drops_what_says_to_come_from_the_router(bench: Bench, own: str) -> None:
    for known in (False, True):
        for source in ("10.0.1.10", sharing_a_bit(own)):
            frame = lan_frame(bench, IP(src=source, dst="192.0.2.9") / UDP() / LENGTH)
            outcome = bench.run("lan", frame)
            assert outcome.egress == "wan", (source, known)
        spoofed = bench.run("lan", lan_frame(bench, IP(src=own, dst="192.0.2.9") / UDP() / LENGTH))
        assert spoofed.egress is None
        assert ("received", "lan", "source") in spoofed.counted
