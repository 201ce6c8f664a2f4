"""Fragments in a stateful firewall: they go the way of the first one of their datagram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.packet import Raw

from tests.functions.bench import Bench
from tests.functions.firewalling import counted, cross, firewall
from tests.functions.frames import back, ip, padded

pytestmark = pytest.mark.root

TOPOLOGY = firewall("name: dns, action: accept, proto: udp, dport: 53, direction: forward")
DATA = Raw(b"d" * 64)


def first(version: int, ident: int = 9, dport: int = 53) -> Any:
    content = UDP(sport=40000, dport=dport, len=200, chksum=1) / DATA
    if version == 4:
        return ip(4, flags="MF", id=ident, proto=17) / content
    return ip(6) / IPv6ExtHdrFragment(m=1, id=ident) / content


def later(version: int, ident: int = 9, more: bool = False, backwards: bool = False) -> Any:
    header = back if backwards else ip
    if version == 4:
        return header(4, flags="MF" if more else "", frag=9, id=ident, proto=17) / DATA
    return header(6) / IPv6ExtHdrFragment(m=int(more), offset=9, id=ident, nh=17) / DATA


@pytest.mark.parametrize("version", [4, 6])
def test_later_fragments_follow_the_first(bench: Bench, version: int) -> None:
    assert cross(bench, later(version)) == "fragment"
    assert cross(bench, first(version)) == "pass"
    assert cross(bench, later(version, more=True)) == "pass"
    assert cross(bench, later(version)) == "pass"
    assert counted(bench, later(version)) == ["dns"]


@pytest.mark.parametrize("version", [4, 6])
def test_fragments_of_another_datagram_do_not(bench: Bench, version: int) -> None:
    assert cross(bench, first(version)) == "pass"
    assert cross(bench, later(version, ident=10)) == "fragment"
    assert cross(bench, later(version, backwards=True), "right") == "fragment"
    assert cross(bench, later(10 - version)) == "fragment"


@pytest.mark.parametrize("version", [4, 6])
def test_a_first_fragment_is_matched_by_its_ports(bench: Bench, version: int) -> None:
    assert cross(bench, first(version, dport=54)) == "rule"
    assert cross(bench, later(version)) == "fragment"


@pytest.mark.parametrize("version", [4, 6])
def test_first_fragments_of_a_known_connection_open_the_way_too(bench: Bench, version: int) -> None:
    assert cross(bench, first(version)) == "pass"
    assert cross(bench, first(version, ident=11)) == "pass"
    assert cross(bench, later(version, ident=11)) == "pass"


@pytest.mark.parametrize("version", [4, 6])
def test_other_packets_in_between_make_no_difference(bench: Bench, version: int) -> None:
    for filler in (b"\x11", b"\x22"):
        address = {4: f"10.{filler[0]}.0.1", 6: "2001:db8:" + filler.hex() * 2 + "::1"}
        assert cross(bench, first(version)) == "pass"
        for other in (4, 6):
            assert cross(bench, ip(other, src=address[other]) / TCP()) == "rule"
        assert cross(bench, later(version)) == "pass"


def test_ipv6_headers_behind_the_fragment_header(bench: Bench) -> None:
    """RFC 8200, section 4.5: fragments belong together by addresses and identification alone."""
    content = IPv6ExtHdrDestOpt() / UDP(sport=1, dport=53, len=200, chksum=1) / DATA
    fragment = IPv6ExtHdrFragment(m=1, id=9)
    assert cross(bench, ip(6) / fragment / content) == "pass"
    rest = IPv6ExtHdrFragment(offset=10, id=9, nh=60) / DATA
    assert cross(bench, ip(6) / rest) == "pass"


def test_an_atomic_fragment_is_no_fragment(bench: Bench) -> None:
    """RFC 6946: a fragment header on a whole packet."""
    whole = ip(6) / IPv6ExtHdrFragment(id=9) / UDP(sport=40000, dport=53)
    assert cross(bench, whole) == "pass"
    assert cross(bench, later(6)) == "fragment"


CUT: list[tuple[int, Sequence[int]]] = [(6, (0, 8, 19)), (17, (0, 4, 7)), (1, (0, 4, 7))]


@pytest.mark.parametrize(("protocol", "lengths"), CUT)
@pytest.mark.parametrize("flags", ["", "MF"])
def test_a_transport_header_cut_short_hides_nothing(
    bench: Bench, protocol: int, lengths: Sequence[int], flags: str
) -> None:
    """RFC 1858, section 3: also where padding or anything else follows the packet."""
    header = bytes(TCP(sport=40000, dport=53, flags="S"))
    for length in lengths:
        packet = bytes(ip(4, proto=protocol, flags=flags) / Raw(header[:length]))
        assert cross(bench, packet) == "malformed", length
        assert cross(bench, padded(packet, 46, fill=b"\x12")) == "malformed", f"{length}, padded"


def test_the_same_in_ipv6(bench: Bench) -> None:
    header = bytes(UDP(sport=40000, dport=53))
    packet = bytes(ip(6, nh=17) / Raw(header[:4]))
    assert cross(bench, packet) == "malformed"
    assert cross(bench, packet + header[4:]) == "malformed"


def test_an_extension_header_ends_within_its_packet(bench: Bench) -> None:
    """RFC 8200, section 4: what follows the packet in the frame is no header."""
    packet = bytes(ip(6, plen=8) / IPv6ExtHdrDestOpt(len=1) / UDP(dport=53))
    assert cross(bench, packet) == "malformed"
