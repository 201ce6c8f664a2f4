"""The source NAT of tests/vnfs: one prefix becomes another, and bits of ports are exchanged."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any

from tests.property.model.edits import Edit, address_edit, apply, transport_edit
from tests.property.model.packets import ICMP, TCP, UDP, Packet
from tests.property.model.verdicts import NEXT, Count, Verdict


class Snat:
    """Without state: the way back is found by the same arithmetic."""

    def __init__(self, name: str, config: Mapping[str, Any], count: Count) -> None:
        self._name = name
        self._count = count
        self._inside, self._outside = IPv4Network(config["inside"]), IPv4Network(config["outside"])
        self._ports = int(config.get("ports", 0))

    def process(self, packet: Packet, forward: bool) -> Verdict:
        """Translate the source along the path, and the destination against it."""
        before, after = (self._inside, self._outside) if forward else (self._outside, self._inside)
        address = packet.src if forward else packet.dst
        if packet.family == 4 and _is_in(address, before):
            self._translate(packet, forward, address - int(before[0]) + int(after[0]))
        self._count(("rule", self._name, "translated"), len(packet.frame))
        return NEXT

    def _translate(self, packet: Packet, source: bool, address: int) -> None:
        apply(packet, [address_edit(source, address)], self._port(packet, source))
        if source:
            packet.src = address
        else:
            packet.dst = address

    def _port(self, packet: Packet, source: bool) -> list[Edit]:
        """The port or echo identifier of the side that is translated."""
        if not packet.complete:
            return []
        if packet.protocol == ICMP:
            packet.echo_id ^= self._ports
            return [transport_edit(packet, 4, packet.echo_id)]
        if packet.protocol not in (TCP, UDP):
            return []
        if source:
            packet.sport ^= self._ports
            return [transport_edit(packet, 0, packet.sport)]
        packet.dport ^= self._ports
        return [transport_edit(packet, 2, packet.dport)]


def _is_in(address: int, network: IPv4Network) -> bool:
    return int(network[0]) <= address <= int(network[-1])
