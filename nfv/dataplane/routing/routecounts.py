"""What a router has forwarded by each of its routes.

A route whose packets are counted alone has an adjacency, or several one after the other, with its
prefix beside it; programs count under the adjacency's number, and on paths of known flows. A number
that is given to another route keeps counting from where it is: what it has counted so far is taken
from it in `carried`, and added to another number of the former route.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from nfv.dataplane import paths
from nfv.dataplane.kernel.bpf import Map
from nfv.dataplane.paths import Total
from nfv.dataplane.routing.routemsg import WIDTHS, Prefix

SIZE = 64
"""Bytes of struct self_adjacency."""

_TAG = struct.Struct("=BBxx16s2Q")  # the end of it
_TAG_AT = SIZE - _TAG.size
_MODULUS = 1 << 64
_ZERO = (0, 0)


@dataclass(frozen=True)
class Tag:
    """The route that has an adjacency, None if it is shared; and what else was counted for it."""

    route: Prefix | None = None
    carried: Total = _ZERO  # modulo 2^64


def read_tag(memory: memoryview, number: int) -> Tag:
    """The tag of an adjacency."""
    version, length, key, *carried = _TAG.unpack_from(memory, number * SIZE + _TAG_AT)
    route = Prefix(version, int.from_bytes(key, "big"), length) if version in WIDTHS else None
    return Tag(route, (carried[0], carried[1]))


def write_tag(memory: memoryview, number: int, tag: Tag) -> None:
    """Set the tag of an adjacency."""
    version, key, length = tag.route or (0, 0, 0)
    carried = (value % _MODULUS for value in tag.carried)
    packed = _TAG.pack(version, length, key.to_bytes(16, "big"), *carried)
    memory[number * SIZE + _TAG_AT : (number + 1) * SIZE] = packed


def counted(pins: Path, number: int) -> list[Total]:
    """What programs have counted by adjacency, for the router `number` with maps at `pins`.

    Raises `KernelError` if a map is gone.
    """
    known = paths.read(pins.parent.parent).counted
    with closing(Map.open(pins / "routed")) as routed:
        walked = [paths.total(value) for _, value in routed.items(batch=routed.max_entries)]
    return [add(total, known.get((number, at), _ZERO)) for at, total in enumerate(walked)]


def by_route(pins: Path, number: int) -> Mapping[Prefix, Total]:
    """Packets and bytes by route, of those that are counted alone. Raises `KernelError`."""
    totals: dict[Prefix, Total] = defaultdict(lambda: _ZERO)
    with closing(Map.open(pins / "adjacencies")) as adjacencies:
        memory = adjacencies.memory()
        with memoryview(memory) as view:
            tags = [read_tag(view, at) for at in range(len(view) // SIZE)]
        memory.close()
    for tag, total in zip(tags, counted(pins, number), strict=False):
        if tag.route is not None:
            totals[tag.route] = add(totals[tag.route], add(total, tag.carried))
    return dict(totals)


def add(one: Total, other: Total) -> Total:
    """The sum, modulo 2^64."""
    return (one[0] + other[0]) % _MODULUS, (one[1] + other[1]) % _MODULUS


def negative(total: Total) -> Total:
    """What makes the sum with `total` zero, modulo 2^64."""
    return -total[0] % _MODULUS, -total[1] % _MODULUS
