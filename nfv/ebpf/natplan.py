"""What a NAT is told: pools, static translations and options, as the image of natplan.h."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntFlag
from ipaddress import IPv4Address, IPv4Network

from nfv.ebpf.sources import constant

SOURCES = constant("natplan.h", "SELF_SOURCES")
POOLS = constant("natplan.h", "SELF_POOLS")
RANGES = constant("natplan.h", "SELF_RANGES")
STATICS = constant("natplan.h", "SELF_STATICS")

WORD = 64
"""Ports in a word of bits."""

CLASS_WORDS = constant("outports.h", "SELF_CLASS_WORDS")
CLASSES = constant("outports.h", "SELF_CLASSES")
BLOCKS = constant("portblocks.h", "SELF_BLOCK_CLASS")
BLOCK_WORDS = constant("portblocks.h", "SELF_BLOCK_WORDS")

_HEAD = struct.Struct("=6I")
_SOURCE = struct.Struct("=3I")
_POOL = struct.Struct("=I6HI")
_RANGE = struct.Struct("=4I")
_STATIC = struct.Struct("=QQIHH")
_SITE = struct.Struct("=II")  # the beginning of struct self_site: image, masquerade


class Flags(IntFlag):
    """SELF_RANDOM and those that follow it."""

    RANDOM = 1
    PARITY = 2
    ARBITRARY = 4
    PASS = 8


@dataclass(frozen=True)
class Range:
    """Outside addresses in a row; 0 is the masquerade address, which stands alone."""

    first: int
    count: int


@dataclass(frozen=True)
class Pool:
    """Outside addresses with their ports, and the inside prefixes that use them."""

    sources: tuple[IPv4Network, ...]
    ranges: tuple[Range, ...]
    ports: tuple[int, int]  # multiples of WORD, but for the last, which is one less
    block: int = 0  # ports of a block that is an inside address's own
    most: int = 0  # blocks of an inside address; 0: one, which is reckoned from the address

    @property
    def addresses(self) -> int:
        """How many outside addresses there are."""
        return sum(each.count for each in self.ranges)

    @property
    def blocks(self) -> int:
        """How many blocks there are to give."""
        low, high = self.ports
        return self.addresses * ((high + 1 - low) // self.block) if self.most else 0


@dataclass(frozen=True)
class Static:
    """Endpoints outside and those inside that they stand for, one to one and in order.

    Without a protocol, of all of them, whole addresses; else ports of one address.
    """

    outside: int
    inside: int
    count: int  # of addresses, or of ports
    protocol: int = 0
    outside_port: int = 0
    inside_port: int = 0

    def turned(self) -> Static:
        """The same seen from the inside."""
        return Static(
            self.inside,
            self.outside,
            self.count,
            self.protocol,
            self.inside_port,
            self.outside_port,
        )

    @property
    def places(self) -> tuple[int, int]:
        """The first and the last outside endpoint, as `self_place` of natplan.h orders them."""
        if not self.protocol:
            return self.outside << 32, (self.outside + self.count - 1) << 32 | 0xFFFFFFFF
        low = self.outside << 32 | self.protocol << 16 | self.outside_port
        return low, low + self.count - 1

    def pack(self) -> bytes:
        """struct self_static."""
        return _STATIC.pack(*self.places, self.inside, self.inside_port, not self.protocol)


@dataclass(frozen=True)
class Plan:
    """All of it."""

    pools: tuple[Pool, ...]
    statics: tuple[Static, ...]
    flags: Flags
    mss: int = 0
    limit: int = 0  # mappings of an inside address; 0: any number

    @property
    def addresses(self) -> int:
        """Outside addresses of all pools."""
        return sum(pool.addresses for pool in self.pools)

    @property
    def blocks(self) -> int:
        """Blocks of ports of all pools."""
        return sum(pool.blocks for pool in self.pools)

    @property
    def port_words(self) -> int:
        """Size of the table of ports that are taken, a power of two."""
        return CLASSES * CLASS_WORDS * (1 << max(0, self.addresses - 1).bit_length())

    def image(self) -> bytes:
        """struct self_image."""
        sources = [
            _SOURCE.pack(int(net.network_address), int(net.netmask), number)
            for number, pool in enumerate(self.pools)
            for net in pool.sources
        ]
        ranges = list(self._ranges())
        outside = _sorted(self.statics)
        inside = _sorted(static.turned() for static in self.statics)
        return b"".join(
            [
                _HEAD.pack(
                    self.flags,
                    len(sources),
                    len(ranges),
                    len(self.statics),
                    self.mss,
                    self.limit,
                ),
                _padded(sources, SOURCES, _SOURCE.size),
                _padded(list(self._pools()), POOLS, _POOL.size),
                _padded(ranges, RANGES, _RANGE.size),
                bytes(-(_HEAD.size + SOURCES * _SOURCE.size + POOLS * _POOL.size) % 8),
                _padded([static.pack() for static in outside], STATICS, _STATIC.size),
                _padded([static.pack() for static in inside], STATICS, _STATIC.size),
            ]
        )

    def _pools(self) -> Iterable[bytes]:
        first = 0
        for pool in self.pools:
            low, high = pool.ports
            words = (high + 1 - low) // WORD
            is_reckoned = pool.block and not pool.most
            subscriber = int(pool.sources[0].network_address) if is_reckoned else 0
            yield _POOL.pack(
                pool.addresses,
                first,
                len(pool.ranges),
                low // WORD,
                words,
                pool.block // WORD,
                pool.most,
                subscriber,
            )
            first += len(pool.ranges)

    def _ranges(self) -> Iterable[bytes]:
        number = 0
        for index, pool in enumerate(self.pools):
            for each in pool.ranges:
                yield _RANGE.pack(each.first, each.count, number, index)
                number += each.count


class Numbers:
    """The number of each outside address of a plan, by the address as maps have it."""

    def __init__(self, plan: Plan, masqueraded: int) -> None:
        self._known: dict[bytes, tuple[int, Pool]] = {}
        number = 0
        for pool in plan.pools:
            for each in pool.ranges:
                first = each.first or masqueraded
                for place in range(each.count if first else 0):
                    address = (first + place).to_bytes(4, "big")
                    self._known.setdefault(address, (number + place, pool))
                number += each.count

    def of(self, address: bytes) -> int | None:
        """None for an address that is in no pool."""
        found = self._known.get(address)
        return found[0] if found else None

    def pool(self, address: bytes) -> Pool | None:
        """The pool that an address is in."""
        found = self._known.get(address)
        return found[1] if found else None


def bits_of(number: int, kind: int) -> int:
    """Where the words of an outside address's ports begin, in the table of those that are taken.

    Kinds of protocols are those of `self_first_bits` (outports.h); `BLOCKS` is that of blocks.
    """
    return (number * CLASSES + kind) * CLASS_WORDS


def publish(images: memoryview, site: memoryview, plan: Plan) -> None:
    """Write a plan into the image that is not read; then name it."""
    image = plan.image()
    current, address = _SITE.unpack_from(site)
    other = 1 - (current & 1)
    images[other * len(image) : (other + 1) * len(image)] = image
    _SITE.pack_into(site, 0, other, address)


def masquerade(site: bytes) -> int:
    """The masquerade address that a struct self_site has; 0 if there is none."""
    return int(_SITE.unpack_from(site)[1])


def set_masquerade(site: memoryview, address: IPv4Address) -> None:
    """Write the masquerade address into a struct self_site."""
    _SITE.pack_into(site, 0, _SITE.unpack_from(site)[0], int(address))


def ranges_of(networks: Iterable[IPv4Network | IPv4Address]) -> tuple[Range, ...]:
    """Addresses of prefixes and single addresses."""
    nets = [IPv4Network(each) for each in networks]
    return tuple(Range(int(net.network_address), net.num_addresses) for net in nets)


def _sorted(statics: Iterable[Static]) -> list[Static]:
    return sorted(statics, key=lambda static: static.places)


def _padded(entries: Sequence[bytes], count: int, size: int) -> bytes:
    return b"".join(entries).ljust(count * size, b"\0")
