"""The connections of a firewall as records, and which of them a request means."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from nfv.chain.match import PROTOCOLS
from nfv.ebpf.connections import (
    FLOW_LIFE,
    ICMP,
    ICMPV6,
    Connection,
    HashMap,
    State,
    Table,
    Timeouts,
    protocol_of,
    timeout,
)
from nfv.errors import InputError

_TABLES = ("connections4", "connections6")
_KEY4 = 16  # bytes of struct self_key4
_PORTS = struct.Struct("!HH")
_ORIGIN_HIGH = 4  # SELF_ORIGIN_HIGH: the higher endpoint sent the first packet
_NAMES = {number: name for name, number in PROTOCOLS.items()}
_PORTLESS = (ICMP, ICMPV6)

KEYS = ("proto", "src", "sport", "dst", "dport", "state")
"""What connections are chosen by."""

Record = Mapping[str, object]


@dataclass(frozen=True)
class Entry:
    """A connection, and where it is kept. Source is who sent the first packet."""

    table: HashMap
    key: bytes
    value: Connection

    @property
    def name(self) -> Record:
        """What it is chosen by: protocol, endpoints and state."""
        protocol = protocol_of(self.key)
        src, sport, dst, dport = self._endpoints()
        return {
            "proto": _NAMES.get(protocol, str(protocol)),
            "src": src,
            "sport": sport,
            "dst": dst,
            "dport": dport,
            "state": State(self.value.state).name.lower(),
        }

    def record(
        self, age: Callable[[int], float], rules: Mapping[int, str], timeouts: Timeouts
    ) -> Record:
        """For people and programs to read; times are in seconds.

        `rules` has the name of the rule that is counted at each place.
        """
        found = self.value
        idle = age(found.seen)
        left = timeout(protocol_of(self.key), found.state, timeouts) + FLOW_LIFE - idle
        return {
            **self.name,
            "rule": rules.get(found.counter),
            "age": round(age(found.since)),
            "idle": round(idle),
            "expires": max(0, round(left)),
        }

    def _endpoints(self) -> tuple[str, int | None, str, int | None]:
        size, address = (4, IPv4Address) if len(self.key) == _KEY4 else (16, IPv6Address)
        low, high = address(self.key[:size]), address(self.key[size : 2 * size])
        low_port, high_port = _PORTS.unpack_from(self.key, 2 * size)
        ends = [(str(low), low_port), (str(high), high_port)]
        if self.value.flags & _ORIGIN_HIGH:
            ends.reverse()
        (src, sport), (dst, dport) = ends
        if protocol_of(self.key) in _PORTLESS:  # the identifier of an echo
            return src, sport or dport, dst, None
        return (src, sport, dst, dport) if sport or dport else (src, None, dst, None)


def entries(maps: Mapping[str, Table]) -> Iterator[Entry]:
    """All connections of both IP versions."""
    for name in _TABLES:
        if name in maps:
            table = maps[name]
            for key, value in table.items():
                yield Entry(table, key, Connection.unpack(value))


def is_meant(name: Record, wanted: Mapping[str, str]) -> bool:
    """Whether a connection has what is wanted: addresses may be prefixes, all else is whole."""
    return all(
        _is_in(str(name[key]), text) if key in ("src", "dst") else str(name[key]) == text
        for key, text in wanted.items()
    )


def check(wanted: Mapping[str, str]) -> None:
    """Raise `InputError` for what connections cannot be chosen by."""
    for key, text in wanted.items():
        if key not in KEYS:
            raise InputError(f"there is no '{key}' here", f"keys are {', '.join(KEYS)}")
        if key in ("src", "dst"):
            try:
                ip_network(text, strict=False)
            except ValueError:
                raise InputError(f"'{text}' is no address or prefix", f"{key}=10.0.0.0/8") from None


def _is_in(address: str, prefix: str) -> bool:
    return ip_address(address) in ip_network(prefix, strict=False)
