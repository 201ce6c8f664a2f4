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
to date. A connection is kept for so much longer, so that no flow outlives it."""

_CONNECTION = struct.Struct("=IIBBHI")  # how struct self_connection begins
_PROTOCOL = struct.Struct("=I")  # the end of struct self_key4 and self_key6
_SLICE = 1024  # entries between two breaks

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58


class Timeouts(Protocol):
    """Seconds that a connection may be idle."""

    @property
    def tcp(self) -> int: ...
    @property
    def tcp_opening(self) -> int: ...
    @property
    def tcp_closing(self) -> int: ...
    @property
    def tcp_closed(self) -> int: ...
    @property
    def udp(self) -> int: ...
    @property
    def udp_unanswered(self) -> int: ...
    @property
    def icmp(self) -> int: ...
    @property
    def other(self) -> int: ...
    @property
    def other_unanswered(self) -> int: ...


@dataclass(frozen=True)
class Connection:
    """What a value of the map says."""

    seen: int  # jiffies of the last packet that walked
    counter: int  # place of the rule that admitted it
    state: int  # State, unless the map was tampered with
    flags: int  # SELF_ORIGIN_HIGH and those before it
    since: int  # jiffies of the first packet

    @classmethod
    def unpack(cls, value: bytes) -> Connection:
        seen, counter, state, flags, _reserved, since = _CONNECTION.unpack_from(value)
        return cls(seen, counter, state, flags, since)


def protocol_of(key: bytes) -> int:
    """The IP protocol in a key of either map."""
    (protocol,) = _PROTOCOL.unpack_from(key, len(key) - _PROTOCOL.size)
    return int(protocol)


def timeout(protocol: int, state: int, timeouts: Timeouts) -> int:
    """Seconds without a packet after which a connection ends."""
    if protocol == TCP:
        return {
            State.ESTABLISHED: timeouts.tcp,
            State.CLOSING: timeouts.tcp_closing,
            State.CLOSED: timeouts.tcp_closed,
        }.get(State(state), timeouts.tcp_opening)
    if protocol in (ICMP, ICMPV6):
        return timeouts.icmp
    if protocol == UDP:
        return timeouts.udp_unanswered if state == State.NEW else timeouts.udp
    return timeouts.other_unanswered if state == State.NEW else timeouts.other


def sweep(
    table: HashMap, age: Callable[[int], float], timeouts: Timeouts
) -> Generator[None, None, Occupancy]:
    """Remove what has been idle for too long; returns what remains.

    `age` turns the jiffies of a packet, 32 bits, into seconds since then. Yields every
    thousand entries, for the caller to do other things.
    """
    used = 0
    for number, (key, value) in enumerate(table.items(), 1):
        found = Connection.unpack(value)
        most = timeout(protocol_of(key), found.state, timeouts) + FLOW_LIFE
        if age(found.seen) > most and _is_unchanged(table, key, value):
            table.delete(key)
        else:
            used += 1
        if number % _SLICE == 0:
            yield
    return Occupancy(used, table.max_entries)


def _is_unchanged(table: HashMap, key: bytes, value: bytes) -> bool:
    """Whether no packet came since the entries were read, a batch at a time."""
    return table.lookup(key) == value
