"""Addresses and ports of a packet exchanged, and its checksums updated (RFC 1624, equation 3)."""

from __future__ import annotations

from dataclasses import dataclass

from tests.property.model.packets import ETHERNET, ICMP, TCP, UDP, Packet

CHECKSUMS = {TCP: 16, UDP: 6, 33: 6, 136: 6}
"""Where a transport header has a checksum that covers the addresses; 33 is DCCP, 136 UDP-Lite."""


@dataclass(frozen=True)
class Edit:
    """Bytes of the frame that get another value."""

    place: int
    value: bytes


def address_edit(source: bool, address: int) -> Edit:
    """Another IPv4 address for the source, or for the destination."""
    return Edit(ETHERNET + (12 if source else 16), address.to_bytes(4, "big"))


def transport_edit(packet: Packet, offset: int, value: int) -> Edit:
    """Another value of two bytes in the transport header."""
    return Edit(packet.transport + offset, value.to_bytes(2, "big"))


def apply(packet: Packet, addresses: list[Edit], others: list[Edit]) -> None:
    """Write the edits into an IPv4 packet's frame."""
    frame = bytearray(packet.frame)
    _update(frame, ETHERNET + 10, addresses)
    place = CHECKSUMS.get(packet.protocol)
    if packet.complete and place is not None:
        at = packet.transport + place
        if packet.protocol != UDP or frame[at : at + 2] != b"\0\0":  # RFC 768: there is none
            _update(frame, at, addresses + others)
            if packet.protocol == UDP and frame[at : at + 2] == b"\0\0":
                frame[at : at + 2] = b"\xff\xff"
    elif packet.complete and packet.protocol == ICMP:
        _update(frame, packet.transport + 2, others)
    for edit in addresses + others:
        frame[edit.place : edit.place + len(edit.value)] = edit.value
    packet.frame = bytes(frame)


def _update(frame: bytearray, at: int, edits: list[Edit]) -> None:
    """HC' = ~(~HC + ~m + m'), for each half word m that becomes m'."""
    if not edits:
        return
    total = ~int.from_bytes(frame[at : at + 2], "big") & 0xFFFF
    for edit in edits:
        for offset in range(0, len(edit.value), 2):
            place = edit.place + offset
            total += ~int.from_bytes(frame[place : place + 2], "big") & 0xFFFF
            total += int.from_bytes(edit.value[offset : offset + 2], "big")
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    frame[at : at + 2] = (~total & 0xFFFF).to_bytes(2, "big")
