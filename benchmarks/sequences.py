"""Which flow a packet is of: flows, and the order in which they are drawn. Pure.

A sequence lies in memory as the sender reads it: 8 bytes a packet, one after the other, so that it
takes few of the cache lines of what is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LENGTH = 1 << 22
"""Packets in a drawn sequence, which is then sent again."""

_SEED = 1
_FIRST_PORT = 1024
_PORTS = 65536 - _FIRST_PORT

_FLOW4 = np.dtype([("address", ">u4"), ("port", ">u2"), ("kind", "=u2")])
_FLOW6 = np.dtype([("address", ">u8")])

Addresses = NDArray[np.unsignedinteger]
"""Far addresses as numbers, of IPv6 ones the upper half."""


@dataclass(frozen=True)
class Draw:
    """How many flows there are, and how they are drawn."""

    flows: int
    zipf: float = 0  # exponent; 0 draws all flows equally often
    once: bool = False  # each flow in its turn

    @property
    def how(self) -> str:
        """How they are drawn, in words."""
        if self.once:
            return "each once"
        return f"Zipf {self.zipf}" if self.zipf else "uniform"


def flows4(addresses: Addresses, count: int) -> NDArray[np.void]:
    """IPv4 flows that differ in far address and near port; `ValueError` for too many."""
    if count > len(addresses) * _PORTS:
        raise ValueError(f"{len(addresses)} addresses are too few for {count} flows")
    number = np.arange(count)
    found = np.zeros(count, _FLOW4)
    found["address"] = addresses[number % len(addresses)]
    found["port"] = _FIRST_PORT + number // len(addresses)
    return found


def flows6(addresses: Addresses, count: int) -> NDArray[np.void]:
    """IPv6 flows, each with a far address of its own; `ValueError` for too many."""
    if count > len(addresses):
        raise ValueError(f"{len(addresses)} addresses are too few for {count} flows")
    found = np.zeros(count, _FLOW6)
    found["address"] = addresses[:count]
    return found


def drawn(flows: NDArray[np.void], draw: Draw, templates: Sequence[int] = (0,)) -> NDArray[np.void]:
    """Flows in the order in which they are sent; `templates` are their numbers, in turn."""
    if draw.once:
        return flows
    random = np.random.default_rng(_SEED)
    if draw.zipf:
        weights = np.arange(1, len(flows) + 1) ** -draw.zipf
        steps = np.cumsum(weights)
        order = np.searchsorted(steps, random.random(LENGTH) * steps[-1])
        order = random.permutation(len(flows))[order]  # so that neighbours are not alike
    else:
        order = random.integers(len(flows), size=LENGTH)
    found: NDArray[np.void] = flows[order]
    if len(templates) > 1:
        found["kind"] = np.resize(templates, LENGTH)
    return found
