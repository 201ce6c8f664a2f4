"""Filters: what libpcap matches is what tcpdump lets through."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from scapy.layers.dns import DNS
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw
from scapy.utils import PcapReader, wrpcap

from nfv.errors import InputError
from nfv.traffic.describe import Describer
from nfv.traffic.filter import Filter

FRAMES = [
    Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / rest
    for rest in (
        IP(src="10.0.0.1") / UDP(dport=53) / DNS(),
        IP(src="10.0.0.2") / TCP(flags="S"),
        IP(src="10.0.0.2") / TCP(flags="A", dport=443) / Raw(bytes(1000)),
        IPv6(src="2001:db8::1") / UDP(sport=53),
        IP() / ICMP(),
        ARP(),
        Dot1Q(vlan=7) / IP() / UDP(dport=53),
    )
]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "udp port 53",
        "tcp[tcpflags] & tcp-syn != 0",
        "ip6 or arp",
        "vlan 7 and udp",
        "greater 500",
        "not src net 10.0.0.0/8",
        "host 10.0.0.2 and not tcp port 443",
    ],
)
def test_matches_are_those_of_tcpdump(tmp_path: Path, text: str) -> None:
    whole, matching = tmp_path / "whole.pcap", tmp_path / "matching.pcap"
    wrpcap(str(whole), FRAMES)
    command = ["tcpdump", "-r", str(whole), "-w", str(matching), text]
    subprocess.run(command, check=True, capture_output=True)
    with PcapReader(str(matching)) as reader:
        expected = [bytes(frame) for frame in reader]
    chosen = Filter(text)
    assert [one for one in map(bytes, FRAMES) if chosen.matches(one, len(one))] == expected


def test_a_frame_that_is_cut_has_its_own_length() -> None:
    frame = bytes(FRAMES[2])
    assert Filter("greater 500").matches(frame[:64], len(frame))
    assert not Filter("greater 500").matches(frame[:64], 64)


@pytest.mark.parametrize("text", ["udp prot 53", "host", "port 70000", "(tcp"])
def test_what_libpcap_does_not_understand_is_told(text: str) -> None:
    with pytest.raises(InputError, match="filter '") as failure:
        Filter(text)
    assert failure.value.hint == "man pcap-filter explains filters"


def test_every_frame_has_one_line_in_words() -> None:
    """Also those that tcpdump prints byte by byte, and more of them than a pipe holds."""
    unknown = [
        bytes(Ether(dst="02:00:00:00:00:02", type=kind) / Raw(bytes([255]) * size))
        for kind, size in ((0x22F3, 60), (0x8847, 60), (0x0805, 16000))
    ]
    vxlan = bytes(IP() / UDP(dport=4789) / Raw(b"\x08" + bytes(9)))
    frames = [
        *map(bytes, FRAMES),
        *unknown,
        bytes(Ether(dst="02:00:00:00:00:02", type=0x0800) / Raw(vxlan)),
        bytes(14),
    ]
    with Describer() as describer:
        lines = describer.describe([(frame, len(frame)) for frame in frames] * 20)
    assert len(lines) == 20 * len(frames)
    for number, line in enumerate(lines):
        assert "\n" not in line
        assert len(line) < 200
        if number % len(frames) == 5:
            assert line.startswith("ARP, Request who-has")
    assert lines[1].startswith("IP 10.0.0.2.20 > 127.0.0.1.80: Flags [S]")
