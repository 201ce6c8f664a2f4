"""Frames compared: each way in which they can differ is found, shown and told from the others."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from nfv.testing import fields
from nfv.testing.compare import Kind, Order, compare
from nfv.testing.latency import latencies, percentile

MACS = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")


def udp(number: int, sport: int = 1000, **words: Any) -> bytes:
    ip = IP(src="10.0.0.1", dst="10.0.0.2", **words)
    return bytes(MACS / ip / UDP(sport=sport, dport=5300) / Raw(bytes([number]) * 20))


def kinds(
    expected: list[bytes], actual: list[bytes], order: Order = "per-flow", ignore: str = ""
) -> list[tuple[Kind, int | None, int | None]]:
    names = [fields.parse(name) for name in ignore.split()]
    return [(one.kind, one.expected, one.actual) for one in compare(expected, actual, names, order)]


FRAMES = [udp(number) for number in range(4)]


@pytest.mark.parametrize("order", ["strict", "per-flow", "any"])
def test_same_frames(order: Order) -> None:
    assert kinds(FRAMES, list(FRAMES), order) == []


@pytest.mark.parametrize("order", ["strict", "per-flow", "any"])
@pytest.mark.parametrize("place", [0, 14, 22, 33, 41, 61])
def test_changed_byte(order: Order, place: int) -> None:
    changed = bytearray(FRAMES[2])
    changed[place] ^= 0x10
    actual = [*FRAMES[:2], bytes(changed), FRAMES[3]]
    assert kinds(FRAMES, actual, order) == [(Kind.CHANGED, 2, 2)]


@pytest.mark.parametrize("order", ["strict", "per-flow", "any"])
@pytest.mark.parametrize("place", range(4))
def test_missing_frame(order: Order, place: int) -> None:
    actual = FRAMES[:place] + FRAMES[place + 1 :]
    assert kinds(FRAMES, actual, order) == [(Kind.MISSING, place, None)]


@pytest.mark.parametrize("order", ["strict", "per-flow", "any"])
def test_extra_frame(order: Order) -> None:
    actual = [FRAMES[0], udp(9), *FRAMES[1:]]
    assert kinds(FRAMES, actual, order) == [(Kind.EXTRA, None, 1)]


@pytest.mark.parametrize("order", ["strict", "per-flow", "any"])
def test_frame_twice(order: Order) -> None:
    assert kinds(FRAMES, [*FRAMES, FRAMES[3]], order) == [(Kind.EXTRA, None, 4)]


def test_order_within_a_flow() -> None:
    actual = [FRAMES[1], FRAMES[0], *FRAMES[2:]]
    for order in ("strict", "per-flow"):
        ((kind, expected, actual_place),) = kinds(FRAMES, actual, order)
        assert kind is Kind.MOVED
        assert (expected, actual_place) in {(0, 1), (1, 0)}
    assert kinds(FRAMES, actual, "any") == []


def test_order_among_flows() -> None:
    expected = [udp(0, 1), udp(1, 2), udp(2, 1), udp(3, 2)]
    actual = [expected[1], expected[0], expected[3], expected[2]]
    assert kinds(expected, actual, "per-flow") == []
    assert {kind for kind, _, _ in kinds(expected, actual, "strict")} == {Kind.MOVED}


def test_fragments_are_a_flow() -> None:
    """Ports are in the first one only, and datagrams may overtake each other."""

    def fragments(ident: int) -> list[bytes]:
        return [
            bytes(MACS / IP(src="10.0.0.1", dst="10.0.0.2", id=ident, **words) / Raw(b"x" * 24))
            for words in ({"flags": "MF"}, {"frag": 3})
        ]

    one, other = fragments(1), fragments(2)
    assert kinds([*one, *other], [*other, *one]) == []
    assert kinds(one, one[::-1])[0][0] is Kind.MOVED


def test_ignored_fields() -> None:
    actual = [udp(number, id=number + 7, ttl=9) for number in range(4)]
    assert len(kinds(FRAMES, actual)) == 4
    assert len(kinds(FRAMES, actual, ignore="IP.id IP.chksum")) == 4
    assert kinds(FRAMES, actual, ignore="IP.id IP.chksum IP.ttl") == []


def test_ignored_ports_do_not_part_flows() -> None:
    """As an address translator chooses them."""
    expected = [udp(0, 1000), udp(1, 1000)]
    actual = [udp(0, 2000), udp(1, 2000)]
    assert kinds(expected, actual, ignore="UDP.sport UDP.chksum") == []
    assert len(kinds(expected, actual[::-1], "strict", ignore="UDP.sport UDP.chksum")) == 1


def test_other_frame_is_missing_and_extra() -> None:
    other = bytes(MACS / IPv6(src="2001:db8::1", dst="2001:db8::2") / ICMPv6EchoRequest(data="z"))
    found = kinds([FRAMES[0]], [other])
    assert found == [(Kind.MISSING, 0, None), (Kind.EXTRA, None, 0)]


def test_words() -> None:
    actual = [FRAMES[0], udp(1, ttl=63)]
    (found,) = compare(FRAMES[:2], actual, [], "strict")
    assert found.words.startswith("packet 2 of 2 differs: Ether / IP / UDP 10.0.0.1")
    assert found.lines[0] == "IP.ttl expected 64, got 63"
    assert found.lines[1].startswith("IP.chksum expected 0x")
    assert len(found.lines) == 2


@pytest.mark.parametrize(
    ("frame", "name", "value"),
    [
        (IP(src="1.1.1.1", dst="2.2.2.2") / UDP(), "IP.ttl", 7),
        (IP(src="1.1.1.1", dst="2.2.2.2") / TCP(), "TCP.seq", 0x01020304),
        (IP(src="1.1.1.1", dst="2.2.2.2") / TCP(), "TCP.dataofs", 15),
        (IP(src="1.1.1.1", dst="2.2.2.2") / UDP(), "Ether.src", "02:00:00:00:00:07"),
        (IPv6(src="::1", dst="::2") / UDP(), "IPv6.hlim", 3),
        (IPv6(src="::1", dst="::2") / UDP(), "IPv6.fl", 0xABCDE),
        (Dot1Q(vlan=5) / IP(src="1.1.1.1", dst="2.2.2.2") / UDP(), "Dot1Q.vlan", 9),
        (
            IP(src="1.1.1.1", dst="2.2.2.2") / UDP(sport=68, dport=67) / BOOTP() / DHCP(options=[]),
            "BOOTP.xid",
            77,
        ),
    ],
)
def test_mask_covers_the_field_and_nothing_else(frame: Packet, name: str, value: int | str) -> None:
    """Scapy writes the field; the masks of both frames make them equal, no other mask does."""
    before = bytes(MACS / frame)
    packet = Ether(before)
    field = fields.parse(name)
    found = packet.getlayer(field.layer)
    assert found is not None
    assert field.field is not None
    found.setfieldval(field.field, value)
    after = bytes(packet)
    assert before != after
    assert fields.masked(before, [field]) == fields.masked(after, [field])
    assert fields.masked(before, [fields.parse("IP.id")]) != fields.masked(
        after, [fields.parse("IP.id")]
    )


def test_written_fields_and_checksums() -> None:
    """A number with a sign is added; checksums are those that Scapy computes."""
    found = fields.written(FRAMES[0], {fields.parse("IP.ttl"): -1, fields.parse("UDP.dport"): 54})
    whole = Ether(FRAMES[0])
    whole[IP].ttl, whole[UDP].dport = 63, 54
    del whole[IP].chksum, whole[UDP].chksum
    assert found == bytes(whole)
    assert Ether(fields.written(FRAMES[0], {fields.parse("IP.ttl"): "+5"}))[IP].ttl == 69
    assert fields.written(FRAMES[0], {fields.parse("TCP.seq"): 1}) == FRAMES[0]


def test_written_checksum_stays() -> None:
    found = Ether(fields.written(FRAMES[0], {fields.parse("UDP.chksum"): 0x1234}))
    assert found[UDP].chksum == 0x1234


def test_latencies() -> None:
    """Frames are known by their payload, whatever was done to addresses and TTL."""
    sent = [(0, udp(0)), (1000, udp(1)), (2000, udp(2))]
    back = [(500, udp(0, ttl=9)), (4000, udp(2, sport=7)), (4500, udp(8))]
    assert latencies(sent, back) == [500, 2000]


def test_latencies_of_frames_that_are_alike() -> None:
    frame = udp(0)
    assert latencies([(0, frame), (10, frame)], [(100, frame), (200, frame)]) == [100, 190]


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_percentile(share: float, value: int) -> None:
    assert percentile(range(1, 101), share) == value
