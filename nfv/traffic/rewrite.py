"""What is changed in captured frames so that they fit the bench: MAC addresses and IP addresses.

Checksums are corrected by the difference (RFC 1624), so one that was wrong stays wrong.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from nfv.traffic.link import ARP, IPV4, IPV6, payload

_TCP, _UDP, _ICMP6, _UDP_LITE = 6, 17, 58, 136
_CHECKSUM_AT = {_TCP: 16, _UDP: 6, _ICMP6: 2, _UDP_LITE: 6}
"""Place of the checksum over addresses in the headers of transport protocols."""

_SKIPPED_HEADERS = frozenset({0, 43, 60})  # hop-by-hop, routing, destination options (RFC 8200)
_FRAGMENT_HEADER = 44
_FRAGMENT_OFFSET = 0x1FFF  # bits of the IPv4 header's flags and offset
_MAX_HEADERS = 8
_GROUP_BIT = 0x01  # of a MAC address's first byte

Network = IPv4Network | IPv6Network


@dataclass(frozen=True)
class AddressMap:
    """Addresses of one network that become those of another one, with the same host part."""

    old: Network
    new: Network

    def apply(self, address: bytes) -> bytes | None:
        """The new address; None if it is of another network."""
        value = int.from_bytes(address, "big")
        if len(address) * 8 != self.old.max_prefixlen or (
            value & int(self.old.netmask) != int(self.old.network_address)
        ):
            return None
        host = value & int(self.old.hostmask)
        return (int(self.new.network_address) | host).to_bytes(len(address), "big")


@dataclass(frozen=True)
class Rewriting:
    """What becomes of frames; None leaves a MAC address as it was captured."""

    source: bytes | None = None
    destination: bytes | None = None
    maps: Sequence[AddressMap] = ()

    def apply(self, frame: bytes) -> bytes:
        """The frame with new addresses. Group destinations stay."""
        if self.source is None and self.destination is None and not self.maps:
            return frame
        changed = bytearray(frame)
        if self.destination is not None and not frame[0] & _GROUP_BIT:
            changed[0:6] = self.destination
        if self.source is not None:
            changed[6:12] = self.source
        if self.maps:
            self._network(changed)
        return bytes(changed)

    def _network(self, frame: bytearray) -> None:
        ethertype, place = payload(frame)
        if ethertype == IPV4 and len(frame) >= place + 20:
            self._ipv4(frame, place)
        elif ethertype == IPV6 and len(frame) >= place + 40:
            self._ipv6(frame, place)
        elif ethertype == ARP and frame[place + 2 : place + 6] == b"\x08\x00\x06\x04":
            self._arp(frame, place)

    def _address(self, frame: bytearray, place: int, size: int) -> int:
        """Change one address; what a checksum over it has to be corrected by."""
        before = bytes(frame[place : place + size])
        for one in self.maps:
            after = one.apply(before)
            if after is not None:
                frame[place : place + size] = after
                return _words(after) - _words(before)
        return 0

    def _ipv4(self, frame: bytearray, place: int) -> None:
        change = sum(self._address(frame, place + at, 4) for at in (12, 16))
        if not change:
            return
        _correct(frame, place + 10, change)
        fragment = int.from_bytes(frame[place + 6 : place + 8], "big") & _FRAGMENT_OFFSET
        if not fragment:
            _transport(frame, frame[place + 9], place + (frame[place] & 0x0F) * 4, change)

    def _ipv6(self, frame: bytearray, place: int) -> None:
        change = sum(self._address(frame, place + at, 16) for at in (8, 24))
        protocol, at = frame[place + 6], place + 40
        for _ in range(_MAX_HEADERS):
            if at + 8 > len(frame):
                return
            if protocol == _FRAGMENT_HEADER:
                if int.from_bytes(frame[at + 2 : at + 4], "big") >> 3:
                    return
                protocol, at = frame[at], at + 8
            elif protocol in _SKIPPED_HEADERS:
                protocol, at = frame[at], at + (frame[at + 1] + 1) * 8
            else:
                _transport(frame, protocol, at, change)
                return

    def _arp(self, frame: bytearray, place: int) -> None:
        """Protocol addresses of sender and target; the sender's MAC address is the frame's."""
        if len(frame) < place + 28:
            return
        for at in (14, 24):
            self._address(frame, place + at, 4)
        if self.source is not None:
            frame[place + 8 : place + 14] = self.source


def _transport(frame: bytearray, protocol: int, place: int, change: int) -> None:
    at = _CHECKSUM_AT.get(protocol)
    if at is None or place + at + 2 > len(frame):
        return
    if protocol == _UDP and frame[place + at : place + at + 2] == b"\0\0":
        return  # none was computed (RFC 768)
    _correct(frame, place + at, change)
    if protocol in (_UDP, _UDP_LITE) and frame[place + at : place + at + 2] == b"\0\0":
        frame[place + at : place + at + 2] = b"\xff\xff"


def _correct(frame: bytearray, place: int, change: int) -> None:
    """Correct a checksum for a change in the sum of what it covers (RFC 1624, equation 3)."""
    (before,) = struct.unpack_from("!H", frame, place)
    total = (~before & 0xFFFF) + change
    while not 0 <= total <= 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into("!H", frame, place, ~total & 0xFFFF)


def _words(address: bytes) -> int:
    return sum(struct.unpack(f"!{len(address) // 2}H", address))
