"""What patterns say of a packet: read one after the other, and from the matcher's tables.

`first_match` is what the tables must do; `lookup` reads them as matcher.h does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network

from nfv.chain.pattern import MAC_SHIFT, Direction, Fragment, Pattern, Range
from nfv.ebpf.matcher import CHUNK, GROUP, HEAD, size_class
from nfv.ebpf.tries import NODE, SELECT, SLOTS
from nfv.ebpf.vectors import PORT_PROTOCOLS, TCP, WORD

DE_BRUIJN = 0x03F79D71B4CB0A89


@dataclass(frozen=True)
class Packet:
    """The fields that patterns look at. For ICMP dport is type * 256 + code and sport is 0."""

    family: int  # 4 or 6
    src: int
    dst: int
    protocol: int
    sport: int
    dport: int
    tcp_flags: int
    has_l4: bool  # false for fragments but the first, and where no transport header was read
    direction: Direction
    src_mac: int = 0
    dst_mac: int = 0
    length: int = 0  # of the IP packet
    dscp: int = 0
    fragment: Fragment = Fragment.NONE


def first_match(patterns: Sequence[Pattern], packet: Packet) -> int | None:
    """Return the index of the first pattern that the packet matches."""
    return next((i for i, pattern in enumerate(patterns) if _matches(pattern, packet)), None)


class Linear:
    """What `first_match` does, for many packets: of patterns with one value of each condition."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self._patterns = patterns
        self._dst = [_interval(pattern.dst) for pattern in patterns]

    def first_match(self, packet: Packet) -> int | None:
        """Return the index of the first pattern that the packet matches."""
        for index, (low, high) in enumerate(self._dst):
            if low <= packet.dst <= high and _matches(self._patterns[index], packet):
                return index
        return None


def _interval(networks: Sequence[IPv4Network | IPv6Network]) -> tuple[int, int]:
    if not networks:
        return 0, (1 << 128) - 1
    (network,) = networks
    return int(network.network_address), int(network.broadcast_address)


def lookup(image: bytes, patterns: int, packet: Packet, base: int = 0) -> int | None:
    """Return the index of the first pattern that the packet matches, read from the image alone.

    It was built of so many patterns, to stand at `base`.
    """
    return _Reader(image, base).match(patterns, packet)


class _Reader:
    """An image as matcher.h reads it."""

    def __init__(self, image: bytes, base: int) -> None:
        self._image = image
        self._base = base
        head = HEAD.unpack_from(image)
        self._roots, (self._kinds, self._places) = head[:6], head[6:8]
        self._src_mac, self._dst_mac, self._length, self._traits = head[9:13]

    def match(self, patterns: int, packet: Packet) -> int | None:
        ipv6 = packet.family == 6
        size = 16 if ipv6 else 4
        src, dst = (key.to_bytes(size, "big") for key in (packet.src, packet.dst))
        walk = self._walk if ipv6 else self._step
        ports = [port.to_bytes(2, "big") for port in (packet.sport, packet.dport)]
        rows = [
            walk(self._roots[2 * ipv6], src),
            walk(self._roots[2 * ipv6 + 1], dst),
            *(self._step(root, port) for root, port in zip(self._roots[4:], ports, strict=True)),
            self._kind(packet),
            *self._further(packet),
        ]
        found = [
            self._u32(self._places + 4 * (word * WORD + entry(bits)))
            for word, bits in self._words(rows, patterns)
            if bits
        ]
        return min(found, default=None)

    def _u32(self, place: int) -> int:
        return int(struct.unpack_from("=I", self._image, place - self._base)[0])

    def _u64(self, place: int) -> int:
        return int(struct.unpack_from("=Q", self._image, place - self._base)[0])

    def _step(self, slot: int, key: bytes) -> int:
        for byte in key:
            slot = self._u32((slot & ~SELECT) + (4 * byte if slot & SELECT else 0))
        return slot

    def _walk(self, slot: int, key: bytes) -> int:
        while slot & NODE:
            place = slot & ~(NODE | 63)
            start = place - self._base
            prefix, mask = self._image[start : start + 16], self._image[start + 16 : start + 32]
            if any((a ^ b) & m for a, b, m in zip(key, prefix, mask, strict=True)):
                slot = self._u32(place + 32)
            else:
                byte = key[slot >> 1 & 15] if slot & SELECT else 0
                slot = self._u32(place + 36 + 4 * byte)
        return slot

    def _kind(self, packet: Packet) -> int:
        tcp = packet.has_l4 and packet.protocol == TCP
        table = (packet.direction * 2 + (packet.family == 6)) * 3 + packet.has_l4 + tcp
        slot = packet.tcp_flags if tcp else packet.protocol
        return self._u32(self._kinds + 4 * (table * SLOTS + slot))

    def _further(self, packet: Packet) -> Iterator[int]:
        """The rows of fields that some pattern asks for."""
        for root, mac in ((self._src_mac, packet.src_mac), (self._dst_mac, packet.dst_mac)):
            if root:
                yield self._walk(root, (mac << MAC_SHIFT).to_bytes(16, "big"))
        if self._length:
            yield self._step(self._length, packet.length.to_bytes(2, "big"))
        if self._traits:
            yield self._u32(self._traits + 4 * (packet.fragment << 6 | packet.dscp))

    def _words(self, rows: Sequence[int], patterns: int) -> Iterator[tuple[int, int]]:
        """The words that are looked at, with what all rows share in them."""
        size = size_class(patterns)
        if size.plain:
            for word in range(size.words):
                yield word, _and(self._u64(row + 8 * word) for row in rows)
            return
        groups = _and(self._u64(row) for row in rows)
        while groups:
            first = entry(groups) * GROUP
            groups &= groups - 1
            chunks = [self._u32(row + 8 + 4 * (first // CHUNK)) for row in rows]
            for word in range(first, first + GROUP):
                yield word, _and(self._u64(chunk + 8 * (word % CHUNK)) for chunk in chunks)


def entry(bits: int) -> int:
    """Where the entry of the lowest bit set stands, among 64."""
    return ((bits & -bits) * DE_BRUIJN & (1 << 64) - 1) >> 58


def _and(words: Iterator[int]) -> int:
    shared = (1 << 64) - 1
    for word in words:
        shared &= word
    return shared


def _matches(pattern: Pattern, packet: Packet) -> bool:
    has_ports = packet.has_l4 and packet.protocol in PORT_PROTOCOLS
    return (
        (not pattern.directions or packet.direction in pattern.directions)
        and (not pattern.families or packet.family in pattern.families)
        and (not pattern.protocols or packet.protocol in pattern.protocols)
        and (not pattern.src or any(_contains(net, packet, packet.src) for net in pattern.src))
        and (not pattern.dst or any(_contains(net, packet, packet.dst) for net in pattern.dst))
        and (not pattern.sports or (has_ports and _in_ranges(packet.sport, pattern.sports)))
        and (not pattern.dports or (has_ports and _in_ranges(packet.dport, pattern.dports)))
        and (pattern.tcp_flags is None or _has_flags(packet, *pattern.tcp_flags))
        and (not pattern.src_macs or _is_mac(packet.src_mac, pattern.src_macs))
        and (not pattern.dst_macs or _is_mac(packet.dst_mac, pattern.dst_macs))
        and (not pattern.lengths or _in_ranges(packet.length, pattern.lengths))
        and (not pattern.dscps or packet.dscp in pattern.dscps)
        and (not pattern.fragments or packet.fragment in pattern.fragments)
    )


def _is_mac(mac: int, prefixes: Sequence[IPv6Network]) -> bool:
    return any(IPv6Address(mac << MAC_SHIFT) in prefix for prefix in prefixes)


def _contains(network: IPv4Network | IPv6Network, packet: Packet, address: int) -> bool:
    first, last = int(network.network_address), int(network.broadcast_address)
    return network.version == packet.family and first <= address <= last


def _in_ranges(value: int, ranges: Sequence[Range]) -> bool:
    return any(low <= value <= high for low, high in ranges)


def _has_flags(packet: Packet, mask: int, value: int) -> bool:
    return packet.has_l4 and packet.protocol == TCP and packet.tcp_flags & mask == value
