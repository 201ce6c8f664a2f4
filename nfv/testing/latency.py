"""How long frames were on their way: from when they were due to when they arrived."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

_KEPT = {"TCP": ("seq", "ack", "flags"), "ICMP": ("type", "code", "seq"), "UDP": ()}


def latencies(sent: Iterable[tuple[int, bytes]], arrived: Iterable[tuple[int, bytes]]) -> list[int]:
    """Nanoseconds, ascending, of frames that arrived and are recognised among those sent.

    Addresses, ports and TTL may change on the way, the payload and TCP's numbers do not. Of frames
    that are alike the first that was sent is the first that arrives.
    """
    due: dict[Hashable, list[int]] = defaultdict(list)
    for moment, data in sent:
        due[_signature(data)].append(moment)
    found = []
    for moment, data in arrived:
        if waiting := due[_signature(data)]:
            found.append(moment - waiting.pop(0))
    return sorted(found)


def percentile(values: Sequence[int], share: float) -> int:
    """The least value that this share of the values does not exceed."""
    return values[max(0, -(-int(share * 1000) * len(values) // 1000) - 1)]


def _signature(data: bytes) -> Hashable:
    packet = Ether(data)
    for kind in (TCP, UDP, ICMP):
        if kind in packet:
            return _kept(packet[kind])
    return bytes(packet.payload.payload)


def _kept(layer: Packet) -> Hashable:
    name = type(layer).__name__
    return name, *(int(getattr(layer, field)) for field in _KEPT[name]), bytes(layer.payload)
