"""A firewall as a bump in the wire between two hosts: its topology, and how to write its rules."""

from __future__ import annotations

from scapy.packet import Packet

from tests.functions.bench import Bench, Count
from tests.functions.frames import ether

SIDES = ("left", "right")
ETHERTYPES = {4: 0x0800, 6: 0x86DD}


def firewall(*rules: str, **keys: object) -> str:
    """A topology whose firewall has these rules, in YAML flow style; keys as in the file."""
    lines = [f"    {key}: {value}" for key, value in keys.items()]
    return "\n".join(
        [
            "name: bench-firewall",
            "saps:",
            "  left: {kind: host, ip: [10.0.1.10/16, 2001:db8:1::10/32]}",
            "  right: {kind: host, ip: [10.0.2.10/16, 2001:db8:2::10/32]}",
            "vnfs:",
            "  fw:",
            "    type: firewall",
            *lines,
            "    rules:" if rules else "",
            *(f"      - {{{rule}}}" for rule in rules),
            "chains:",
            "  wire: {path: [left, fw, right]}",
        ]
    )


def cross(bench: Bench, packet: Packet | bytes, side: str = "left") -> str:
    """Send a packet, or an IP packet's bytes, to the other side: "pass", or why it did not.

    What passes is unchanged, and nothing is counted but the frame, once in each place.
    """
    other = SIDES[1 - SIDES.index(side)]
    header = ether(bench, side, other)
    if isinstance(packet, bytes):
        header.type = ETHERTYPES[packet[0] >> 4]
    frame = bytes(header / packet)
    outcome = bench.run(side, frame)
    once: Count = (1, len(frame))
    assert set(outcome.counted.values()) == {once}
    if outcome.egress is None:
        return outcome.reason
    assert outcome.egress == other
    assert outcome.frame == frame
    assert outcome.reason == "forwarded"
    return "pass"


def counted(bench: Bench, packet: Packet, side: str = "left") -> list[str]:
    """Send a packet; return the rules that counted it."""
    frame = ether(bench, side, SIDES[1 - SIDES.index(side)]) / packet
    return [key[2] for key in bench.run(side, frame).counted if key[0] == "rule"]
