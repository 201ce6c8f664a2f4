"""Frames at TC that stand for several on the wire: measured and counted as those."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.packet import Packet, Raw

from nfv.chain.sap import Hook
from tests.functions.bench import Bench
from tests.functions.frames import ether, ip, routed

pytestmark = pytest.mark.root

TOPOLOGY = """
name: bench-segments
saps:
  lan: {kind: host, ip: [10.0.1.10/24, 2001:db8:1::10/64]}
  wan: {kind: host, ip: [10.0.2.10/24, 2001:db8:2::10/64]}
vnfs:
  fw: {type: firewall, stateless: true, rules: [{name: all, action: accept}]}
  gw:
    type: router
    interfaces:
      lan: {ip: [10.0.1.1/24, 2001:db8:1::1/64]}
      wan: {ip: [10.0.2.1/24, 2001:db8:2::1/64]}
chains:
  inside: {path: [lan, fw, "gw:lan"]}
  outside: {path: ["gw:wan", wan]}
"""

PAYLOAD = Raw(b"s" * 2500)
IP_HEADER = {4: 20, 6: 40}

# struct __sk_buff of include/uapi/linux/bpf.h: offsets of members
_SIZE, _GSO_SIZE = 192, 176


@pytest.fixture(scope="module")
def tc() -> Iterator[Bench]:
    with closing(Bench(TOPOLOGY, hook=Hook.TC)) as bench:
        yield bench


def segmented(size: int) -> bytes:
    """What the kernel says of a frame whose segments shall have so many bytes of payload."""
    context = bytearray(_SIZE)
    struct.pack_into("=I", context, _GSO_SIZE, size)
    return bytes(context)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("transport", "header"),
    [
        (TCP(dport=80, flags="A"), 20),
        (TCP(flags="A", options=[("NOP", None)] * 12), 32),
        (UDP(), 8),
    ],
    ids=["TCP", "TCP with options", "UDP"],
)
@pytest.mark.parametrize(("size", "frames"), [(1000, 3), (1250, 2), (1400, 2), (2500, 1)])
def test_counted_as_on_the_wire(
    tc: Bench, version: int, transport: Packet, header: int, size: int, frames: int
) -> None:
    tc.clear()
    frame = ether(tc, "lan", "gw:lan") / ip(version) / transport / PAYLOAD
    copies = (frames - 1) * (14 + IP_HEADER[version] + header)
    once = (frames, len(frame) + copies)
    for _walked_and_cached in range(2):
        outcome = tc.run("lan", frame, segmented(size))
        if IP_HEADER[version] + header + size > 1500:
            assert (outcome.egress, outcome.reason) == ("gw:lan", "too_big")
            continue
        assert outcome.egress == "wan"
        assert outcome.frame == routed(frame, tc.mac("gw:wan"), tc.mac("wan"))
        assert outcome.counted["sent", "wan"] == once
        assert outcome.counted["received", "lan", "forwarded"] == once
        assert outcome.counted["rule", "fw", "all"] == once
        assert outcome.counted["reason", "gw", "forwarded"] == once


def test_the_largest_segment_fits_exactly(tc: Bench) -> None:
    tc.clear()
    frame = ether(tc, "lan", "gw:lan") / ip(4) / TCP(flags="A") / PAYLOAD
    assert tc.run("lan", frame, segmented(1460)).egress == "wan"
    refused = tc.run("lan", frame, segmented(1461))
    assert (refused.egress, refused.reason) == ("gw:lan", "too_big")
    assert tc.run("lan", frame).reason == "too_big"
