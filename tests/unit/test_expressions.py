"""Scapy expressions in case files: read, and nothing executed."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from nfv.traffic import expression


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        ('IP(src="1.1.1.1", dst="2.2.2.2")', IP(src="1.1.1.1", dst="2.2.2.2")),
        (
            'Ether(src="02:00:00:00:00:01")/IP(dst="2.2.2.2")/TCP(dport=23, flags="SA")',
            Ether(src="02:00:00:00:00:01") / IP(dst="2.2.2.2") / TCP(dport=23, flags="SA"),
        ),
        (
            'IP(dst="2.2.2.2")/UDP(dport=5)/("ab" * 3 + "c")',
            IP(dst="2.2.2.2") / UDP(dport=5) / Raw(b"abababc"),
        ),
        (
            'IP(dst="2.2.2.2", options=[IPOption_NOP()])/ICMP(id=-1 * -1)',
            None,
        ),
        (
            'IP(dst="2.2.2.2")/TCP(options=[("MSS", 1460)])/b"\\x00\\xff"',
            IP(dst="2.2.2.2") / TCP(options=[("MSS", 1460)]) / Raw(b"\x00\xff"),
        ),
        ("IP(dst='2.2.2.2')/ICMP(id=3)", IP(dst="2.2.2.2") / ICMP(id=3)),
    ],
)
def test_packet(text: str, packet: IP | None) -> None:
    if packet is None:
        with pytest.raises(ValueError, match="does not fit"):
            expression.packets(text)
    else:
        (found,) = expression.packets(text)
        assert bytes(found) == bytes(packet)


def test_many() -> None:
    found = expression.packets('IP(dst="2.2.2.2", ttl=[1, 2])/UDP(dport=(5, 7))')
    assert [(one.ttl, one.dport) for one in found] == [
        (ttl, port) for ttl in (1, 2) for port in (5, 6, 7)
    ]
    assert len(expression.packets('IP(dst="2.2.2.2") * 5')) == 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("__import__('os').system('id')", "no layer"),
        ("().__class__", "neither a layer nor a value"),
        ("conf.iface", "neither a layer nor a value"),
        ("IP", "neither a layer nor a value"),
        ("rdpcap('x')", "no layer 'rdpcap'"),
        ("[x for x in (1,)]", "neither a layer nor a value"),
        ("lambda: 0", "neither a layer nor a value"),
        ("IP(**IP())", r"IP has no field '\*\*'"),
        ("IP(ttx=1)", "IP has no field 'ttx'; it has"),
        ("IP(", "not an expression"),
        ("", "not an expression"),
        ("1", "this is no packet"),
        ("IP() / 5", "does not fit"),
        ("IP(ttl=300)", "cannot build"),
        ("'a' * 1000000", "does not fit"),
        ("IP() * 1000000", "does not fit"),
        ("IP(dst='10.0.0.0/8')", "more than 10,000 packets"),
        ("-" * 5000 + "1", "nested too deep|not an expression"),
    ],
)
def test_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        expression.packets(text)
