"""Frames for tests, built by Scapy; what comes out is compared with what Scapy would send.

Packets under construction are `Any`: mypy does not follow the types of Scapy's operators.
"""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from tests.functions.bench import Bench

MINIMUM = 60  # bytes of a frame on the wire, without its checksum
HOSTS = {4: ("10.0.1.10", "10.0.2.10"), 6: ("2001:db8:1::10", "2001:db8:2::10")}
"""Addresses of the two hosts of most topologies here, by IP version."""


def ether(bench: Bench, near: str, far: str) -> Any:
    """The link-layer header of a frame from one port's station to another's."""
    return Ether(src=bench.mac(near), dst=bench.mac(far))


def ip(version: int, /, src: str | None = None, dst: str | None = None, **fields: Any) -> Any:
    """The IP header of a packet from the first host to the second, unless said otherwise."""
    default = HOSTS[version]
    kind = IP if version == 4 else IPv6
    return kind(src=src or default[0], dst=dst or default[1], **fields)


def back(version: int, /, **fields: Any) -> Any:
    """The IP header of a packet from the second host to the first."""
    first, second = HOSTS[version]
    return ip(version, second, first, **fields)


def routed(frame: Packet, src_mac: str, dst_mac: str) -> bytes:
    """What a router makes of a frame: other stations, one hop less."""
    out: Any = frame.copy()
    out.src, out.dst = src_mac, dst_mac
    if IP in out:
        out[IP].ttl -= 1
        out[IP].chksum = None
    else:
        out[IPv6].hlim -= 1
    return bytes(out)


def padded(frame: Packet | bytes, length: int = MINIMUM, fill: bytes = b"\0") -> bytes:
    """The frame as a network card pads it."""
    return bytes(frame).ljust(length, fill)
