"""What functions have edited of a packet, written into its frame as commit.h writes it."""

from __future__ import annotations

from enum import IntFlag
from typing import NamedTuple

_IP = 14  # where the IP header begins
_TCP, _UDP, _UDPLITE, _DCCP, _ICMP, _ICMP6 = 6, 17, 136, 33, 1, 58
_CHECKSUMS = {_TCP: 16, _UDP: 6, _UDPLITE: 6, _DCCP: 6, _ICMP: 2, _ICMP6: 2}
"""Where a transport header has its checksum, by protocol."""


class Edit(IntFlag):
    """enum nf_edit of nf.h."""

    HOP = 1
    SRC = 2
    DST = 4
    SPORT = 8
    DPORT = 16
    ECHO = 32
    DSCP = 64


class Edits(NamedTuple):
    """The edited members of a struct nf_packet; addresses and ports as they are in a frame."""

    src: bytes  # 16 bytes, of which IPv4 uses 4
    dst: bytes
    sport: bytes
    dport: bytes
    echo_id: bytes
    l4_offset: int
    macs: bytes
    edits: int  # which of these differ from the frame (Edit)
    ttl: int
    family: int
    protocol: int
    has_l4: int
    dscp: int


class _Patch:
    """A frame that is being edited; places behind its end are left alone."""

    def __init__(self, frame: bytes) -> None:
        self.frame = bytearray(frame)
        self.gain = 0  # of the complement of a checksum over what was put in place so far

    def put(self, at: int, value: bytes) -> None:
        """Write whole 16-bit words."""
        if at + len(value) > len(self.frame):
            return
        for place in range(0, len(value), 2):
            old = int.from_bytes(self.frame[at + place : at + place + 2], "big")
            self.gain += int.from_bytes(value[place : place + 2], "big") + (old ^ 0xFFFF)
        self.frame[at : at + len(value)] = value

    def update(self, at: int, *, is_udp: bool = False) -> None:
        """Let a checksum take in the gain (RFC 1624); UDP may have none, written as 0 (RFC 768)."""
        if at + 2 > len(self.frame):
            return
        old = int.from_bytes(self.frame[at : at + 2], "big")
        if not self.gain or (is_udp and not old):
            return
        total = (old ^ 0xFFFF) + self.gain
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        new = total ^ 0xFFFF
        self.frame[at : at + 2] = (0xFFFF if is_udp and not new else new).to_bytes(2, "big")


def commit(frame: bytes, edits: Edits) -> bytes:
    """The frame as it would be if the walk ended there. What was not captured stays out of it."""
    patch = _Patch(frame)
    if edits.edits & Edit.HOP:
        patch.put(0, edits.macs)
    addresses = _network(patch, edits)
    if edits.edits & ~Edit.HOP and edits.has_l4:
        _transport(patch, edits, addresses)
    return bytes(patch.frame)


def _network(patch: _Patch, edits: Edits) -> int:
    """TTL and addresses; returns what the addresses are to the checksum of what is above."""
    is_ipv4 = edits.family == 4
    size, ttl, src = (4, 8, 12) if is_ipv4 else (16, 7, 8)
    patch.gain = 0
    if edits.edits & Edit.SRC:
        patch.put(_IP + src, edits.src[:size])
    if edits.edits & Edit.DST:
        patch.put(_IP + src + size, edits.dst[:size])
    addresses = patch.gain
    if edits.edits & Edit.DSCP:
        patch.put(_IP, _with_dscp(patch.frame[_IP : _IP + 2], edits.dscp, 2 if is_ipv4 else 6))
    if edits.edits & Edit.HOP:
        if is_ipv4:
            patch.put(_IP + ttl, bytes([edits.ttl, edits.protocol]))
        elif _IP + ttl < len(patch.frame):
            patch.frame[_IP + ttl] = edits.ttl
    if is_ipv4:
        patch.update(_IP + 10)
    return addresses


def _with_dscp(first: bytes | bytearray, dscp: int, shift: int) -> bytes:
    """The first 16 bits of an IP header with another DSCP, 6 bits at `shift` (RFC 2474)."""
    return (int.from_bytes(first, "big") & ~(0x3F << shift) | dscp << shift).to_bytes(2, "big")


def _transport(patch: _Patch, edits: Edits, addresses: int) -> None:
    """Ports or echo identifier, and the checksum of the transport header."""
    protocol = edits.protocol
    patch.gain = 0 if protocol == _ICMP else addresses
    for edit, place, value in (
        (Edit.SPORT, 0, edits.sport),
        (Edit.DPORT, 2, edits.dport),
        (Edit.ECHO, 4, edits.echo_id),
    ):
        if edits.edits & edit:
            patch.put(edits.l4_offset + place, value)
    other = {_ICMP: 6, _ICMP6: 4}.get(protocol)  # IP version that has the protocol not
    if protocol in _CHECKSUMS and edits.family != other:
        patch.update(edits.l4_offset + _CHECKSUMS[protocol], is_udp=protocol == _UDP)
