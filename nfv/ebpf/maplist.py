"""The mappings of a NAT, and its blocks of ports, as records for people and programs to read."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address

from nfv.ebpf import portblocks
from nfv.ebpf.connections import Table
from nfv.ebpf.mappings import MAPPING, NAMES, ORIGIN, TCP, Flag, is_transitory, outer

_INNER = struct.Struct("=4s4s2s2sI")  # struct self_inner: address, remote, their ports, protocol
_PORT = struct.Struct("!H")


def records(
    maps: Mapping[str, Table], age: Callable[[int], float]
) -> Iterator[Mapping[str, object]]:
    """Each mapping: its endpoints, state, how old it is and how long nothing went out, in seconds.

    Then each block, which is held, or left by the inside address while its ports are in use.

    `age` turns jiffies, 32 bits, into seconds since then.
    """
    if "outward" not in maps:  # in no chain
        return
    for key, value in maps["outward"].items():
        address, remote, port, remote_port, protocol = _INNER.unpack(key)
        to, _to_port, flags, seen, since = MAPPING.unpack(value)
        origin = maps["inward"].lookup(outer(key, value))
        answered = ORIGIN.unpack(origin)[4] if origin else 0
        yield {
            "kind": "mapping",
            "proto": NAMES.get(protocol, str(protocol)),
            "inside": _endpoint(address, port),
            "outside": _endpoint(to, value[4:6]),
            "remote": _endpoint(remote, remote_port) if any(remote) else "any",
            "state": _state(protocol, flags, answered),
            "age": round(age(since)),
            "idle": round(age(seen)),
        }
    for block in portblocks.blocks(maps):
        low, high = block.ports
        yield {
            "kind": "block",
            "proto": "any",
            "inside": str(IPv4Address(block.subscriber)),
            "outside": f"{IPv4Address(block.address)}:{low}-{high}",
            "remote": "any",
            "state": "held" if block.is_held(maps) else "left",
            "age": round(age(block.since)),
            "idle": None,
        }


def _state(protocol: int, outward: int, inward: int) -> str:
    """What is known of a mapping by what went through it."""
    if not inward & Flag.ANSWERED:
        return "new"
    if protocol != TCP:
        return "answered"
    return "closing" if is_transitory(outward, inward) else "established"


def _endpoint(address: bytes, port: bytes) -> str:
    (number,) = _PORT.unpack(port)
    return f"{IPv4Address(address)}:{number}" if number else str(IPv4Address(address))
