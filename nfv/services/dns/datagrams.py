"""Queries and answers by UDP as whole frames, so that they need not pass a network stack.

What is unusual (options, fragments, wrong checksums) is left to the stack.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from nfv.chain.fields import Address

PORT = 53
MIN_MTU = 1280
"""Bytes of a packet: every answer by UDP fits."""

_MACS = 12  # bytes of both addresses
_LINK = 14
_IPV4, _IPV6 = b"\x08\0", b"\x86\xdd"
_IPV4_HEADER = struct.Struct("!BBHHHBBH4s4s")
_IPV6_HEADER = struct.Struct("!IHBB16s16s")
_UDP = struct.Struct("!4H")
_PLAIN_IPV4 = 0x45  # version 4, no options
_FRAGMENT = 0x3FFF  # offset, and whether more follow
_DONT_FRAGMENT = 0x4000
_HOPS = 64


@dataclass(frozen=True)
class Datagram:
    """A query: whence it comes, and its message."""

    client: str
    message: bytes
    link: bytes  # Ethernet header of the answer
    label: int  # first word of an IPv6 header
    source: bytes  # addresses of the query
    target: bytes
    port: int

    def answered(self, message: bytes) -> bytes:
        """The frame with an answer."""
        length = _UDP.size + len(message)
        pseudo = self.target + self.source + struct.pack("!HH", socket.IPPROTO_UDP, length)
        udp = _UDP.pack(PORT, self.port, length, 0) + message
        checksum = 0xFFFF - _sum(pseudo + udp) or 0xFFFF
        udp = udp[:6] + struct.pack("!H", checksum) + message
        if len(self.source) == 16:
            head = _IPV6_HEADER.pack(
                self.label, length, socket.IPPROTO_UDP, _HOPS, self.target, self.source
            )
            return self.link + head + udp
        total = _IPV4_HEADER.size + length
        flags, protocol = _DONT_FRAGMENT, socket.IPPROTO_UDP
        fields = _PLAIN_IPV4, 0, total, 0, flags, _HOPS, protocol
        unsummed = _IPV4_HEADER.pack(*fields, 0, self.target, self.source)
        checksum = 0xFFFF - _sum(unsummed)
        return self.link + _IPV4_HEADER.pack(*fields, checksum, self.target, self.source) + udp


class Reader:
    """Finds queries for a station with some addresses."""

    def __init__(self, mac: str, addresses: Iterable[Address]) -> None:
        self._mac = bytes.fromhex(mac.replace(":", ""))
        self._own = {address.packed for address in addresses}

    def read(self, frame: bytes) -> Datagram | None:
        """The query in a frame; None for whatever the stack has to see."""
        if frame[:6] != self._mac:
            return None
        kind = frame[_MACS:_LINK]
        try:
            if kind == _IPV4:
                return self._read4(frame)
            return self._read6(frame) if kind == _IPV6 else None
        except struct.error:  # cut short
            return None

    def _read4(self, frame: bytes) -> Datagram | None:
        head = _IPV4_HEADER.unpack_from(frame, _LINK)
        plain, _, total, _, fragment, _, protocol, _, source, target = head
        at = _LINK + _IPV4_HEADER.size
        if plain != _PLAIN_IPV4 or fragment & _FRAGMENT or _sum(frame[_LINK:at]) != 0xFFFF:
            return None
        return self._read_udp(frame, at, _LINK + total, protocol, 0, source, target)

    def _read6(self, frame: bytes) -> Datagram | None:
        label, length, protocol, _, source, target = _IPV6_HEADER.unpack_from(frame, _LINK)
        at = _LINK + _IPV6_HEADER.size
        return self._read_udp(frame, at, at + length, protocol, label, source, target)

    def _read_udp(
        self,
        frame: bytes,
        at: int,
        end: int,
        protocol: int,
        label: int,
        source: bytes,
        target: bytes,
    ) -> Datagram | None:
        if protocol != socket.IPPROTO_UDP or target not in self._own or end > len(frame):
            return None
        sport, dport, length, checksum = _UDP.unpack_from(frame, at)
        if dport != PORT or length != end - at or length < _UDP.size:
            return None
        if checksum or len(source) == 16:
            pseudo = source + target + struct.pack("!HH", protocol, length)
            if _sum(pseudo + frame[at:end]) != 0xFFFF:
                return None
        client = socket.inet_ntop(socket.AF_INET6 if len(source) == 16 else socket.AF_INET, source)
        link = frame[6:_MACS] + frame[:6] + frame[_MACS:_LINK]
        message = frame[at + _UDP.size : end]
        return Datagram(client, message, link, label, source, target, sport)


def _sum(data: bytes) -> int:
    """The sum of RFC 1071: 16-bit words, in ones' complement; 0xFFFF for 0."""
    return int.from_bytes(data + b"\0" * (len(data) & 1), "big") % 0xFFFF or 0xFFFF
