"""How large the tables of a router's routes are made.

They begin small, since most routers have few routes, and grow in few steps, since each takes
seconds.
A root of 24 bits takes 64 MiB, about what an Internet table's nodes would take, and saves a step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

LINE_WORDS = 16
SLACK = 16
"""Lines behind the last, so that a reader in any line may read as much as a node."""

NODE_BITS = {4: 24, 6: 16}
"""By IP version, the bits of an address down to which a table has nodes and no buckets."""

_LEAST_POOL_BITS = 7  # a node, and the reserve
_SPARE = 1.25  # lines beyond those that are needed now


@dataclass(frozen=True)
class Shape:
    """A root, selected by 16 or 24 bits of the key, and a power of two of lines."""

    root_bits: int
    pool_bits: int

    @property
    def capacity(self) -> int:
        """Lines of 64 bytes in all."""
        return (1 << self.root_bits) // LINE_WORDS + (1 << self.pool_bits) + SLACK

    @property
    def shift(self) -> int:
        """What selects the word of the root from the first 64 bits of a key."""
        return 64 - self.root_bits

    @property
    def mask(self) -> int:
        """Of numbers of lines."""
        return (1 << self.pool_bits) - 1


SHAPES = {
    4: (Shape(16, 14), Shape(16, 18), Shape(24, 16), Shape(24, 18), Shape(24, 20), Shape(24, 22)),
    6: (Shape(16, 14), Shape(16, 18), Shape(16, 20), Shape(16, 22)),
}
"""By IP version, the smallest first."""


def shape_of(version: int, capacity: int) -> Shape:
    """The shape of a table of that many lines. Raises ValueError if it is none."""
    for root_bits in (24, 16) if version == 4 else (16,):
        lines = capacity - Shape(root_bits, 0).capacity + 1
        if lines >= 1 << _LEAST_POOL_BITS and lines.bit_count() == 1:
            return Shape(root_bits, lines.bit_length() - 1)
    raise ValueError(f"no table for IPv{version} has {capacity} lines")


def fitting(version: int, lines: Callable[[int], int]) -> Shape | None:
    """The smallest shape with room to spare for a table that needs `lines(root_bits)` lines."""
    for shape in SHAPES[version]:
        if lines(shape.root_bits) * _SPARE <= 1 << shape.pool_bits:
            return shape
    return None
