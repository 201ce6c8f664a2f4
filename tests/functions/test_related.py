"""ICMP errors: one passes if it quotes a packet of a known connection, and goes to its sender."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6Unknown, IPv6, IPv6ExtHdrFragment
from scapy.packet import Raw

from tests.functions.bench import Bench
from tests.functions.firewalling import counted, cross, firewall
from tests.functions.frames import back, ip

pytestmark = pytest.mark.root

TOPOLOGY = firewall(
    "name: errors, action: drop, proto: [icmp, icmpv6], direction: reverse",
    "name: out, action: accept, direction: forward",
)
ROUTERS = {4: "198.51.100.7", 6: "2001:db8:ffff::7"}
ERRORS = {4: [3, 4, 11, 12], 6: [1, 2, 3, 4]}
CASES = [(version, kind) for version, kinds in ERRORS.items() for kind in kinds]
TRANSPORTS = ["tcp", "udp", "echo"]


def packet(version: int, transport: str, sport: int = 40000) -> Any:
    """A packet from the left host to the right one."""
    inner = {
        "tcp": TCP(sport=sport, dport=80, flags="S"),
        "udp": UDP(sport=sport, dport=80),
        "echo": ICMP(id=sport) if version == 4 else ICMPv6EchoRequest(id=sport),
    }[transport]
    return ip(version) / inner / Raw(b"data")


def error(version: int, kind: int, quote: bytes, dst: str | None = None, code: int = 0) -> Any:
    """An ICMP error about a packet, from a router on the way, to the packet's sender."""
    quoted: Any = (IP if version == 4 else IPv6)(quote)
    header = ip(version, ROUTERS[version], dst or quoted.src)
    if version == 4:
        return header / ICMP(type=kind, code=code) / Raw(quote)
    return header / ICMPv6Unknown(type=kind, code=code, msgbody=b"\0\0\0\0" + quote)


@pytest.mark.parametrize(("version", "kind"), CASES)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_error_about_a_known_packet_passes(
    bench: Bench, version: int, kind: int, transport: str
) -> None:
    about = bytes(packet(version, transport))
    assert cross(bench, error(version, kind, about), "right") == "invalid"
    assert cross(bench, about_packet(version, about)) == "pass"
    assert cross(bench, error(version, kind, about), "right") == "pass"
    assert counted(bench, error(version, kind, about), "right") == ["out"]


def about_packet(version: int, octets: bytes) -> Any:
    return (IP if version == 4 else IPv6)(octets)


@pytest.mark.parametrize("version", [4, 6])
def test_an_error_about_an_answer_passes(bench: Bench, version: int) -> None:
    """The left host's router cannot deliver what the right host sent."""
    assert cross(bench, packet(version, "udp")) == "pass"
    answer = bytes(back(version) / UDP(sport=80, dport=40000))
    assert cross(bench, error(version, ERRORS[version][0], answer)) == "pass"


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_quote_may_end_after_eight_bytes(bench: Bench, version: int, transport: str) -> None:
    """RFC 792: the header and 64 bits of the packet are enough; less is not."""
    about = bytes(packet(version, transport))
    assert cross(bench, about_packet(version, about)) == "pass"
    shortest = len(ip(version)) + 8
    kind = ERRORS[version][0]
    assert cross(bench, error(version, kind, about[:shortest]), "right") == "pass"
    for length in (0, 1, 19, 20, shortest - 1):
        whole = error(version, kind, about)
        cut = shorten(whole, len(about) - length)
        assert cross(bench, cut, "right") == "invalid", length


def shorten(whole: Any, octets: int) -> Any:
    """The packet without its last bytes, its length set right."""
    version = 4 if IP in whole else 6
    content = bytes(whole)[: len(bytes(whole)) - octets]
    parsed = about_packet(version, content)
    if version == 4:
        parsed.len, parsed.chksum = len(content), None
    else:
        parsed.plen = len(content) - 40
    return parsed


@pytest.mark.parametrize("version", [4, 6])
def test_what_follows_the_packet_is_no_quote(bench: Bench, version: int) -> None:
    """RFC 792: 8 bytes behind the quoted header; padding that looks like them does not count."""
    about = bytes(packet(version, "udp"))
    assert cross(bench, about_packet(version, about)) == "pass"
    whole = error(version, ERRORS[version][0], about)
    quoted = len(ip(version)) + 8
    cut = bytes(shorten(whole, len(about) - quoted + 1))
    assert cross(bench, cut + about[quoted - 1 :], "right") == "invalid"


@pytest.mark.parametrize("version", [4, 6])
def test_fragments_of_an_error_follow_its_first(bench: Bench, version: int) -> None:
    about = bytes(packet(version, "udp"))
    assert cross(bench, about_packet(version, about)) == "pass"
    whole = error(version, ERRORS[version][0], about)
    content = Raw(bytes(whole.payload))
    src, dst = whole.src, whole.dst
    later: Any
    if version == 4:
        first = ip(4, src, dst, flags="MF", id=7, proto=1) / content
        later = ip(4, src, dst, frag=9, id=7, proto=1) / b"more"
    else:
        first = ip(6, src, dst) / IPv6ExtHdrFragment(nh=58, m=1, id=7) / content
        later = ip(6, src, dst) / IPv6ExtHdrFragment(nh=58, offset=9, id=7) / b"more"
    assert cross(bench, first, "right") == "pass"
    assert cross(bench, later, "right") == "pass"


WRONG = {
    "port": lambda version: packet(version, "tcp", sport=40001),
    "protocol": lambda version: packet(version, "udp"),
    "ports exchanged": lambda version: ip(version) / TCP(sport=80, dport=40000),
    "other sender": lambda version: ip(version, src=ROUTERS[version]) / TCP(sport=40000, dport=80),
    "other receiver": lambda version: ip(version, dst=ROUTERS[version]) / TCP(sport=40000),
    "answer, to the wrong side": lambda version: back(version) / TCP(sport=80, dport=40000),
}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("wrong", WRONG)
def test_an_error_about_something_else_does_not(bench: Bench, version: int, wrong: str) -> None:
    assert cross(bench, packet(version, "tcp")) == "pass"
    quote = bytes(WRONG[wrong](version))
    dst = str(ip(version).src)
    assert cross(bench, error(version, ERRORS[version][0], quote, dst), "right") == "invalid"


@pytest.mark.parametrize("version", [4, 6])
def test_an_error_goes_to_nobody_but_the_sender(bench: Bench, version: int) -> None:
    assert cross(bench, packet(version, "tcp")) == "pass"
    about = bytes(packet(version, "tcp"))
    other = {4: "10.0.1.11", 6: "2001:db8:1::11"}[version]
    stray = error(version, ERRORS[version][0], about, dst=other)
    assert cross(bench, stray, "right") == "invalid"


def test_an_error_about_a_fragment_has_ports_only_in_the_first(bench: Bench) -> None:
    assert cross(bench, packet(4, "udp")) == "pass"
    ports = bytes(UDP(sport=40000, dport=80, len=8, chksum=0))
    for offset, expected in ((0, "pass"), (1, "invalid")):
        quote = bytes(ip(4, flags="MF", frag=offset, proto=17) / Raw(ports))
        assert cross(bench, error(4, 3, quote), "right") == expected


def test_the_same_in_ipv6(bench: Bench) -> None:
    assert cross(bench, packet(6, "udp")) == "pass"
    ports = bytes(UDP(sport=40000, dport=80, len=8, chksum=0))
    for offset, expected in ((0, "pass"), (1, "invalid")):
        fragment = IPv6ExtHdrFragment(nh=17, m=1, offset=offset, id=9)
        quote = bytes(ip(6) / fragment / Raw(ports))
        assert cross(bench, error(6, 2, quote), "right") == expected


def test_quoted_ipv4_options_are_skipped(bench: Bench) -> None:
    assert cross(bench, packet(4, "udp")) == "pass"
    quote = bytes(ip(4, options=[b"\x01" * 12]) / UDP(sport=40000, dport=80))
    assert cross(bench, error(4, 3, quote), "right") == "pass"
