"""Which connections the aging removes, and when."""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator

import pytest

from nfv.ebpf.connections import FLOW_LIFE, Occupancy, State, sweep
from nfv.functions.firewall import FirewallTimeouts

NOW = 100_000
TCP, UDP, ICMP, ICMPV6, GRE = 6, 17, 1, 58, 47


class Table:
    """A hash map with one connection for every idle time given, in seconds."""

    def __init__(self, protocol: int, state: State, idle: list[int], key_size: int = 16) -> None:
        self.max_entries = 1 << 16
        self.entries = {
            struct.pack("=I", number).ljust(key_size - 4, b"\0")
            + struct.pack("=I", protocol): struct.pack("=IIBB2xI", NOW - seconds, 0, state, 0, 0)
            for number, seconds in enumerate(idle)
        }

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(list(self.entries.items()))

    def lookup(self, key: bytes) -> bytes | None:
        return self.entries.get(key)

    def delete(self, key: bytes) -> bool:
        return self.entries.pop(key, None) is not None

    def idle(self) -> list[int]:
        """Idle times of what is left."""
        return [NOW - struct.unpack_from("=I", value)[0] for value in self.entries.values()]


def age(seen: int) -> float:
    return NOW - seen


def finish(steps: Generator[None, None, Occupancy]) -> tuple[int, Occupancy]:
    """Run to the end: how many breaks there were, and the result."""
    breaks = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return breaks, end.value
        breaks += 1


@pytest.mark.parametrize(
    ("protocol", "state", "timeout"),
    [
        (TCP, State.NEW, 240),
        (TCP, State.REPLIED, 240),
        (TCP, State.ESTABLISHED, 7440),
        (TCP, State.CLOSING, 240),
        (TCP, State.CLOSED, 10),
        (UDP, State.NEW, 30),
        (UDP, State.REPLIED, 180),
        (ICMP, State.NEW, 30),
        (ICMPV6, State.REPLIED, 30),
        (GRE, State.NEW, 60),
        (GRE, State.REPLIED, 600),
    ],
)
@pytest.mark.parametrize("key_size", [16, 40])
def test_a_connection_is_removed_after_its_timeout(
    protocol: int, state: State, timeout: int, key_size: int
) -> None:
    # What the flow cache sends on for a while is seen late.
    last = timeout + FLOW_LIFE
    table = Table(protocol, state, [0, last, last + 1], key_size)

    _, occupancy = finish(sweep(table, age, FirewallTimeouts()))

    assert table.idle() == [0, last]
    assert occupancy == Occupancy(2, table.max_entries)


def test_a_connection_that_wakes_up_meanwhile_is_kept() -> None:
    table = Table(UDP, State.NEW, [99])

    class Woken(Table):
        def items(self) -> Iterator[tuple[bytes, bytes]]:
            found = list(table.entries.items())
            (key,) = table.entries
            table.entries[key] = struct.pack("=IIBB2xI", NOW, 0, State.NEW, 0, 0)
            return iter(found)

    woken = Woken(UDP, State.NEW, [])
    woken.entries = table.entries
    finish(sweep(woken, age, FirewallTimeouts()))

    assert woken.idle() == [0]


def test_a_long_pass_makes_breaks() -> None:
    table = Table(UDP, State.NEW, [0] * 5000)

    breaks, occupancy = finish(sweep(table, age, FirewallTimeouts()))

    assert breaks == 4
    assert occupancy.used == 5000


@pytest.mark.parametrize(
    ("key", "protocol", "state"),
    [
        ("tcp", TCP, State.ESTABLISHED),
        ("tcp_opening", TCP, State.NEW),
        ("tcp_opening", TCP, State.REPLIED),
        ("tcp_closing", TCP, State.CLOSING),
        ("tcp_closed", TCP, State.CLOSED),
        ("udp", UDP, State.REPLIED),
        ("udp_unanswered", UDP, State.NEW),
        ("icmp", ICMP, State.REPLIED),
        ("other", GRE, State.REPLIED),
        ("other_unanswered", GRE, State.NEW),
    ],
)
def test_each_timeout_can_be_set(key: str, protocol: int, state: State) -> None:
    timeouts = FirewallTimeouts.model_validate({key: 5})
    table = Table(protocol, state, [5 + FLOW_LIFE, 6 + FLOW_LIFE])
    finish(sweep(table, age, timeouts))
    assert table.idle() == [5 + FLOW_LIFE]
