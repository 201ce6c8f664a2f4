"""Aging of the connections that include/connections.h keeps. Pure: maps come as a protocol."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol


class HashMap(Protocol):
    """What is needed of a BPF hash map; keys and values as the machine lays them out."""

    max_entries: int

    def items(self) -> Iterator[tuple[bytes, bytes]]: ...

    def lookup(self, key: bytes, /) -> bytes | None: ...

    def delete(self, key: bytes, /) -> bool: ...


class Table(HashMap, Protocol):
    """What is needed of a map that is also written; `memory` is of an array map."""

    def update(self, key: bytes, value: bytes, /) -> None: ...

    def memory(self) -> mmap.mmap: ...


@dataclass(frozen=True)
class Occupancy:
    """How many entries of a map are in use, and how many it has room for."""

    used: int
    capacity: int


class State(IntEnum):
    """enum self_state of connections.h."""

    NEW = 0
    REPLIED = 1
    ESTABLISHED = 2
    CLOSING = 3
    CLOSED = 4


FLOW_LIFE = 8
"""Seconds that packets of a flow are sent on by the flow cache before one brings its connections up
to date. Less than any timeout, so that no flow outlives its connection."""

_CONNECTION = struct.Struct("=IIBB2x")  # struct self_connection: seen, counter, state, flags
_PROTOCOL = struct.Struct("=I")  # the end of struct self_key4 and self_key6
_SLICE = 1024  # entries between two breaks

_ICMP, _TCP, _UDP, _ICMPV6 = 1, 6, 17, 58

TIMEOUTS = {
    (_TCP, State.NEW): 120,
    (_TCP, State.REPLIED): 60,
    (_TCP, State.ESTABLISHED): 7440,  # RFC 5382, REQ-5: 2 hours 4 minutes
    (_TCP, State.CLOSING): 240,
    (_TCP, State.CLOSED): 10,
    (_UDP, State.NEW): 30,
    (_UDP, State.REPLIED): 180,  # RFC 4787, REQ-5: at least 2 minutes
    (_ICMP, State.NEW): 30,
    (_ICMP, State.REPLIED): 30,
    (_ICMPV6, State.NEW): 30,
    (_ICMPV6, State.REPLIED): 30,
}
"""Seconds that a connection may be idle, by protocol and state."""

OTHERWISE = {State.NEW: 60, State.REPLIED: 600}
"""The same for protocols that are not followed closely."""


def sweep(table: HashMap, age: Callable[[int], float]) -> Generator[None, None, Occupancy]:
    """Remove what has been idle for too long; returns what remains.

    `age` turns the jiffies of a packet, 32 bits, into seconds since then. Yields every
    thousand entries, for the caller to do other things.
    """
    used = 0
    for number, (key, value) in enumerate(table.items(), 1):
        if _is_over(key, value, age) and _is_unchanged(table, key, value):
            table.delete(key)
        else:
            used += 1
        if number % _SLICE == 0:
            yield
    return Occupancy(used, table.max_entries)


def _is_over(key: bytes, value: bytes, age: Callable[[int], float]) -> bool:
    seen, _counter, state, _flags = _CONNECTION.unpack(value)
    (protocol,) = _PROTOCOL.unpack_from(key, len(key) - _PROTOCOL.size)
    timeout = TIMEOUTS.get((protocol, state)) or OTHERWISE.get(state, OTHERWISE[State.NEW])
    return age(seen) > timeout + FLOW_LIFE


def _is_unchanged(table: HashMap, key: bytes, value: bytes) -> bool:
    """Whether no packet came since the entries were read, a batch at a time."""
    return table.lookup(key) == value
