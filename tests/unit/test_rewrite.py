"""Frames made to fit the bench: every byte as Scapy would have built it with the new addresses."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from nfv.traffic import link
from nfv.traffic.link import Macs
from nfv.traffic.rewrite import AddressMap, Rewriting

MAPS = [
    AddressMap(ip_network(old), ip_network(new))
    for old, new in (
        ("10.9.0.0/16", "10.1.0.0/16"),
        ("192.0.2.0/24", "198.51.100.0/24"),
        ("2001:db8:9::/48", "2001:db8:1::/48"),
    )
]
Fields = dict[str, Any]

FROM4: Fields
TO4: Fields
FROM6: Fields
TO6: Fields
MACS: Fields
FROM4, TO4 = {"src": "10.9.3.4", "dst": "192.0.2.7"}, {"src": "10.1.3.4", "dst": "198.51.100.7"}
FROM6 = {"src": "2001:db8:9::4", "dst": "2001:db8:7::7"}
TO6 = {"src": "2001:db8:1::4", "dst": "2001:db8:7::7"}
MACS = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
OWN, HOP = bytes.fromhex("020000000011"), bytes.fromhex("020000000022")


def whole(packet: Packet) -> bytes:
    return bytes(Ether(**MACS) / packet)


@pytest.mark.parametrize(
    "rest",
    [
        TCP(sport=1, dport=2, flags="PA") / Raw(b"odd"),
        UDP(sport=3, dport=4) / Raw(b"even"),
        UDP(sport=3, dport=4, chksum=0) / Raw(b"none"),
        ICMP() / Raw(b"no address in its checksum"),
        Raw(b"nothing known"),
    ],
    ids=["tcp", "udp", "udp without checksum", "icmp", "other"],
)
@pytest.mark.parametrize("tags", [0, 1, 2])
def test_ipv4_addresses_and_checksums(rest: Packet, tags: int) -> None:
    def frame(addresses: Fields) -> bytes:
        inner: Packet = IP(**addresses, ttl=9, options=[]) / rest
        for _ in range(tags):
            inner = Dot1Q(vlan=7) / inner
        return whole(inner)

    assert Rewriting(maps=MAPS).apply(frame(FROM4)) == frame(TO4)


@pytest.mark.parametrize(
    "rest",
    [
        TCP(sport=1, dport=2) / Raw(b"abc"),
        UDP(sport=1, dport=2) / Raw(b"abc"),
        ICMPv6EchoRequest(data=b"abc"),
        IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / UDP(sport=1, dport=2) / Raw(b"abc"),
    ],
    ids=["tcp", "udp", "icmpv6", "behind extension headers"],
)
def test_ipv6_addresses_and_checksums(rest: Packet) -> None:
    rewritten = Rewriting(maps=MAPS).apply(whole(IPv6(**FROM6) / rest))
    assert rewritten == whole(IPv6(**TO6) / rest)


def test_later_fragments_have_no_transport_header() -> None:
    for before, after in (
        (IP(**FROM4, frag=5, proto=17), IP(**TO4, frag=5, proto=17)),
        (
            IPv6(**FROM6) / IPv6ExtHdrFragment(offset=5, nh=17),
            IPv6(**TO6) / IPv6ExtHdrFragment(offset=5, nh=17),
        ),
    ):
        body = Raw(b"12345678")
        assert Rewriting(maps=MAPS).apply(whole(before / body)) == whole(after / body)


def test_a_wrong_checksum_stays_wrong() -> None:
    frame = whole(IP(**FROM4) / UDP(sport=1, dport=2, chksum=0x1234) / Raw(b"x"))
    found = Ether(Rewriting(maps=MAPS).apply(frame))
    right = Ether(whole(IP(**TO4) / UDP(sport=1, dport=2) / Raw(b"x")))
    assert found[UDP].chksum != right[UDP].chksum
    assert found[IP].chksum == right[IP].chksum


def test_arp_addresses() -> None:
    before = ARP(op=1, hwsrc=MACS["src"], psrc=FROM4["src"], pdst=FROM4["dst"])
    after = ARP(op=1, hwsrc=OWN.hex(":"), psrc=TO4["src"], pdst=TO4["dst"])
    broadcast: Fields = {"dst": "ff:ff:ff:ff:ff:ff"}
    expected = bytes(Ether(src=OWN.hex(":"), **broadcast) / after)
    frame = bytes(Ether(src=MACS["src"], **broadcast) / before)
    assert Rewriting(OWN, HOP, MAPS).apply(frame) == expected


def test_mac_addresses_and_nothing_else() -> None:
    packet = IP(**FROM4) / UDP() / Raw(b"x")
    assert Rewriting(OWN, HOP).apply(whole(packet)) == HOP + OWN + whole(packet)[12:]
    assert Rewriting(OWN).apply(whole(packet))[:12] == whole(packet)[:6] + OWN


def test_group_destinations_stay() -> None:
    frame = bytes(Ether(src=MACS["src"], dst="01:00:5e:00:00:05") / IP(dst="224.0.0.5"))
    assert Rewriting(OWN, HOP).apply(frame) == frame[:6] + OWN + frame[12:]


@pytest.mark.parametrize("length", range(14, 60, 3))
def test_frames_cut_short_are_not_written_beyond(length: int) -> None:
    for frame in (
        whole(IP(**FROM4, options=[]) / TCP()),
        whole(IPv6(**FROM6) / TCP()),
        whole(ARP(psrc=FROM4["src"])),
    ):
        assert len(Rewriting(OWN, HOP, MAPS).apply(frame[:length])) == len(frame[:length])


@pytest.mark.parametrize(
    ("kind", "header"),
    [
        (101, b""),
        (12, b""),
        (0, bytes.fromhex("02000000")),
        (108, bytes.fromhex("00000002")),
        (228, b""),
        (113, bytes.fromhex("0000 0001 0006 020000000009 0000 0800")),
        (276, bytes.fromhex("0800 0000 00000002 0001 00 06 020000000009 0000")),
    ],
)
def test_packets_without_ethernet_header_get_one(kind: int, header: bytes) -> None:
    packet = bytes(IP(**FROM4) / UDP())
    assert link.frame(kind, header + packet, Macs(HOP, OWN)) == HOP + OWN + b"\x08\0" + packet


def test_packets_that_can_be_no_frame_are_none() -> None:
    macs = Macs(HOP, OWN)
    assert link.frame(1, bytes(13), macs) is None
    assert link.frame(101, b"", macs) is None
    assert link.frame(101, b"\x55", macs) is None
    assert link.frame(0, bytes.fromhex("02000000"), macs) is None
    assert link.frame(113, bytes(15), macs) is None
    assert link.frame(276, bytes(19), macs) is None
