"""Blocks of ports that include/portblocks.h gives: what is logged of them, and when they end. Pure.

A block ends in two passes. One that has no port in use is taken from its holder, so that no further
mapping is made in it; at the next pass, when nobody is at it any more, it is free for another.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from nfv.ebpf.connections import Table
from nfv.ebpf.natplan import BLOCKS, WORD, Numbers, bits_of

_BLOCK = struct.Struct("=4sHH")  # struct self_block: address, first 64 of ports, how many
_TENANT = struct.Struct("=4sIII")  # struct self_tenant: subscriber, ordinal, since, is_logged
_HOLDING = struct.Struct("=4sI")  # struct self_holding: subscriber, ordinal
_SETTLED = 1.0  # seconds after which programs have surely written both tables
_SLICE = 1024  # blocks between two breaks

Row = Mapping[str, object]


@dataclass(frozen=True)
class Block:
    """A block of ports, and whose it is."""

    key: bytes
    address: bytes
    word: int
    words: int
    subscriber: bytes
    ordinal: int
    since: int  # jiffies
    is_logged: bool

    @property
    def holding(self) -> bytes:
        """Its place in the table of what subscribers hold."""
        return _HOLDING.pack(self.subscriber, self.ordinal)

    def is_held(self, maps: Mapping[str, Table]) -> bool:
        """Whether mappings are still made in it."""
        found = maps["holdings"].lookup(self.holding)
        return found is not None and found.startswith(self.key)

    def is_last(self, maps: Mapping[str, Table]) -> bool:
        """Whether its subscriber holds none behind it; only such a one is taken away."""
        behind = _HOLDING.pack(self.subscriber, self.ordinal + 1)
        return maps["holdings"].lookup(behind) is None

    @property
    def ports(self) -> tuple[int, int]:
        """The first and the last."""
        return self.word * WORD, (self.word + self.words) * WORD - 1


def blocks(maps: Mapping[str, Table]) -> Iterator[Block]:
    """All that are given."""
    if "blocks" not in maps:
        return
    for key, value in maps["blocks"].items():
        subscriber, ordinal, since, is_logged = _TENANT.unpack(value)
        address, word, words = _BLOCK.unpack(key)
        logged = bool(is_logged)
        yield Block(key, address, word, words, subscriber, ordinal, since, logged)


def mark(maps: Mapping[str, Table], numbers: Numbers, taken: array[int]) -> None:
    """Say in a table of ports that are taken which blocks are, too."""
    for block in blocks(maps):
        number, pool = numbers.of(block.address), numbers.pool(block.address)
        if number is None or pool is None or block.words * WORD != pool.block:
            continue
        index = (block.word - pool.ports[0] // WORD) // block.words
        taken[bits_of(number, BLOCKS) + index // WORD] |= 1 << index % WORD


@dataclass(frozen=True)
class Tenancies:
    """One pass over the blocks of a NAT, after that over its mappings."""

    maps: Mapping[str, Table]
    age: Callable[[int], float]  # seconds since some jiffies
    numbers: Numbers

    def run(self) -> Generator[Row | None, bool | None, None]:
        """Yields what is to be logged, and is sent whether it is; None between short steps.

        No block changes hands that is not logged.
        """
        hints = self._hints()
        for count, block in enumerate(blocks(self.maps), 1):
            if self.age(block.since) >= _SETTLED:
                yield from self._attend(block, hints)
            if count % _SLICE == 0:
                yield None

    def _hints(self) -> array[int]:
        """The table of ports that are in use (outports.h)."""
        memory = self.maps["ports"].memory()
        hints = array("Q", bytes(memory))
        memory.close()
        return hints

    def _attend(self, block: Block, hints: array[int]) -> Generator[Row, bool | None, None]:
        if not block.is_logged:
            if not (yield self._record("allocated", block, self.age(block.since))):
                return
            value = _TENANT.pack(block.subscriber, block.ordinal, block.since, 1)
            self.maps["blocks"].update(block.key, value)
        if self._is_used(block, hints):
            return
        if not block.is_held(self.maps):
            if (yield self._record("released", block, 0.0)):
                self.maps["blocks"].delete(block.key)
        elif block.is_last(self.maps):
            self.maps["holdings"].delete(block.holding)

    def _is_used(self, block: Block, hints: array[int]) -> bool:
        """Whether one of its ports is in use, by any protocol."""
        number = self.numbers.of(block.address)
        if number is None:
            return False
        starts = (bits_of(number, kind) + block.word for kind in range(BLOCKS))
        return any(any(hints[start : start + block.words]) for start in starts)

    def _record(self, event: str, block: Block, age: float) -> Row:
        low, high = block.ports
        return {
            "event": event,
            "age": age,
            "inside": str(IPv4Address(block.subscriber)),
            "outside": str(IPv4Address(block.address)),
            "first_port": low,
            "last_port": high,
        }
