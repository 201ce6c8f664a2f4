"""Answers to ARP and neighbour solicitations, beside what Scapy builds."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from nfv.testing import neighbours

OURS, THEIRS = "02:00:00:00:00:01", "02:00:00:00:00:02"


def answer(frame: Packet, has: bool = True) -> bytes | None:
    return neighbours.answer(bytes(frame), bytes.fromhex(OURS.replace(":", "")), lambda _: has)


def request(psrc: str = "10.0.0.2", pdst: str = "10.0.0.1") -> Packet:
    arp = ARP(op=1, hwsrc=THEIRS, psrc=psrc, pdst=pdst)
    return Ether(src=THEIRS, dst="ff:ff:ff:ff:ff:ff") / arp


def solicitation(src: str = "2001:db8::2", tgt: str = "2001:db8::1", hlim: int = 255) -> Packet:
    ip = IPv6(src=src, dst="ff02::1:ff00:1", hlim=hlim)
    return (
        Ether(src=THEIRS, dst="33:33:ff:00:00:01")
        / ip
        / ICMPv6ND_NS(tgt=tgt)
        / ICMPv6NDOptSrcLLAddr(lladdr=THEIRS)
    )


def test_arp() -> None:
    reply = ARP(op=2, hwsrc=OURS, psrc="10.0.0.1", hwdst=THEIRS, pdst="10.0.0.2")
    assert answer(request()) == bytes(Ether(src=OURS, dst=THEIRS) / reply)


def test_neighbour() -> None:
    advertisement = (
        Ether(src=OURS, dst=THEIRS)
        / IPv6(src="2001:db8::1", dst="2001:db8::2", hlim=255)
        / ICMPv6ND_NA(R=0, S=1, O=1, tgt="2001:db8::1")
        / ICMPv6NDOptDstLLAddr(lladdr=OURS)
    )
    assert answer(solicitation()) == bytes(advertisement)


@pytest.mark.parametrize(
    "frame",
    [
        request(psrc="0.0.0.0"),  # a probe (RFC 5227)
        request(psrc="10.0.0.1"),  # an announcement
        solicitation(src="::"),  # duplicate address detection
        solicitation(hlim=254),
        Ether(src=OURS, dst=THEIRS) / ARP(op=2, psrc="10.0.0.2", pdst="10.0.0.1"),
        Ether(src=OURS, dst=THEIRS) / IP(src="10.0.0.2", dst="10.0.0.1") / ICMP(),
        Ether(src=OURS, dst=THEIRS) / IPv6(src="::2", dst="::1") / ICMPv6EchoRequest(),
    ],
)
def test_no_answer(frame: Packet) -> None:
    assert answer(frame) is None


def test_no_answer_for_others() -> None:
    assert answer(request(), has=False) is None
    assert answer(solicitation(), has=False) is None


@pytest.mark.parametrize("frame", [request(), solicitation()])
def test_cut_short(frame: Packet) -> None:
    whole = bytes(frame)
    mac = bytes(6)
    needed = {0x0806: 42, 0x86DD: 78}[int.from_bytes(whole[12:14], "big")]
    for length in range(needed):
        assert neighbours.answer(whole[:length], mac, lambda _: True) is None
        neighbours.is_background(whole[:length])


def test_background() -> None:
    report = IPv6(src="fe80::1", dst="ff02::16") / IPv6ExtHdrHopByHop() / ICMPv6MLReport2()
    for frame in (request(), solicitation(), Ether() / report):
        assert neighbours.is_background(bytes(frame))
    for packet in (IP(dst="1.1.1.1") / UDP(), IPv6(dst="::1") / ICMPv6EchoRequest()):
        assert not neighbours.is_background(bytes(Ether() / packet))


def test_sender() -> None:
    assert str(neighbours.sender(bytes(Ether() / IP(src="10.0.0.7", dst="1.1.1.1")))) == "10.0.0.7"
    assert str(neighbours.sender(bytes(Ether() / IPv6(src="::7", dst="::1")))) == "::7"
    assert neighbours.sender(bytes(request())) is None
