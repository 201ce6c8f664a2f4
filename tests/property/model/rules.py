"""Conditions of rules and classifiers, read from the topology file's own words; tried in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any

from tests.property.model.packets import ICMP, ICMPV6, TCP, WITH_PORTS, Packet

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "icmpv6": 58, "sctp": 132}
FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ece": 64, "cwr": 128}
ICMP_TYPES = {
    ICMP: {"echo-reply": 0, "destination-unreachable": 3, "echo-request": 8, "time-exceeded": 11},
    ICMPV6: {"destination-unreachable": 1, "packet-too-big": 2, "echo-request": 128,
             "echo-reply": 129},
}  # fmt: skip

Span = tuple[int, int]
Prefix = tuple[int, int, int]  # version, lowest and highest address


@dataclass(frozen=True)
class Conditions:
    """What must hold for a packet. An empty condition holds for any."""

    family: int = 0
    forward: bool | None = None
    protocols: frozenset[int] = frozenset()
    src: tuple[Prefix, ...] = ()
    dst: tuple[Prefix, ...] = ()
    sports: tuple[Span, ...] = ()
    dports: tuple[Span, ...] = ()
    icmp_types: tuple[Span, ...] = ()  # type * 256 + code
    tcp_flags: tuple[int, int] | None = None  # examined, set

    def hold(self, packet: Packet, forward: bool) -> bool:
        """Whether a packet fulfils all conditions; none may be fulfilled by what cannot be read."""
        if self.protocols and packet.protocol not in self.protocols:
            return False
        if self.forward not in (None, forward) or self.family not in (0, packet.family):
            return False
        if self.src and not _among(packet.family, packet.src, self.src):
            return False
        if self.dst and not _among(packet.family, packet.dst, self.dst):
            return False
        if self.sports or self.dports or self.icmp_types or self.tcp_flags:
            return packet.complete and self._transport(packet)
        return True

    def _transport(self, packet: Packet) -> bool:
        if self.sports or self.dports:
            if packet.protocol not in WITH_PORTS:
                return False
            if self.sports and not _within(packet.sport, self.sports):
                return False
            if self.dports and not _within(packet.dport, self.dports):
                return False
        if self.icmp_types and not _within(
            packet.icmp_type * 256 + packet.icmp_code, self.icmp_types
        ):
            return False
        if self.tcp_flags:
            examined, wanted = self.tcp_flags
            return packet.protocol == TCP and packet.tcp_flags & examined == wanted
        return True

    def turned(self) -> Conditions:
        """A classifier read against its path: ICMP types are then not looked at."""
        return replace(
            self,
            src=self.dst,
            dst=self.src,
            sports=self.dports,
            dports=self.sports,
            icmp_types=(),
        )


def read(text: Mapping[str, Any], lists: Mapping[str, Sequence[str]]) -> Conditions:
    """The conditions of a rule or of a `match` in a topology file."""
    protocols = [PROTOCOLS.get(str(name)) or int(name) for name in many(text.get("proto"))]
    direction = text.get("direction")
    return Conditions(
        family={None: 0, "ipv4": 4, "ipv6": 6}[text.get("family")],
        forward=None if direction is None else direction == "forward",
        protocols=frozenset(protocols),
        src=_prefixes(text.get("src"), lists),
        dst=_prefixes(text.get("dst"), lists),
        sports=tuple(_span(str(ports)) for ports in many(text.get("sport"))),
        dports=tuple(_span(str(ports)) for ports in many(text.get("dport"))),
        icmp_types=tuple(
            _icmp_span(str(kind), protocols[0]) for kind in many(text.get("icmp_type"))
        ),
        tcp_flags=_flags(text.get("tcp_flags")),
    )


def many(value: Any) -> list[Any]:
    """What is written as one value or as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _prefixes(value: Any, lists: Mapping[str, Sequence[str]]) -> tuple[Prefix, ...]:
    entries = [prefix for entry in many(value) for prefix in lists.get(entry, [entry])]
    return tuple(span_of(prefix) for prefix in entries)


def span_of(prefix: str) -> Prefix:
    """The version of a prefix, its lowest and its highest address."""
    network = ip_network(prefix)
    return network.version, int(network.network_address), int(network.broadcast_address)


def _span(text: str) -> Span:
    low, _, high = text.partition("-")
    return int(low), int(high or low)


def _icmp_span(text: str, protocol: int) -> Span:
    kind, slash, code = text.partition("/")
    number = ICMP_TYPES[protocol].get(kind)
    first = (int(kind) if number is None else number) * 256
    return (first + int(code), first + int(code)) if slash else (first, first + 255)


def _flags(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    wanted, slash, examined = text.partition("/")
    value = _bits(wanted)
    return (_bits(examined) if slash else value), value


def _bits(text: str) -> int:
    return sum(FLAGS[name] for name in text.split(",") if name != "none")


def _among(version: int, address: int, prefixes: Iterable[Prefix]) -> bool:
    return any(version == wanted and low <= address <= high for wanted, low, high in prefixes)


def _within(value: int, spans: Iterable[Span]) -> bool:
    return any(low <= value <= high for low, high in spans)
