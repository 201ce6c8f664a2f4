"""The connections of a stateful firewall, and the packets that belong to them.

A connection is known by its protocol and its two endpoints, in any order.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.property.model.packets import (
    ACK,
    FIN,
    FRAGMENT,
    ICMP,
    ICMPV6,
    RST,
    SYN,
    TCP,
    Packet,
)

Endpoint = tuple[int, int]  # address, port
Name = tuple[int, frozenset[Endpoint]]  # protocol, endpoints

ERRORS = {ICMP: (3, 4, 11, 12), ICMPV6: (1, 2, 3, 4)}  # RFC 792; RFC 4443
ECHOES = {ICMP: (8, 0), ICMPV6: (128, 129)}  # request, reply


@dataclass
class Connection:
    """One that a rule admitted."""

    counter: int  # the rule's
    finished: set[Endpoint] = field(default_factory=set)  # who sent FIN
    closed: bool = False


class Table:
    """The connections of one IP version."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._found: dict[Name, Connection] = {}
        self.replaced = 0
        """Connections that began in the place of one that had ended."""

    def __len__(self) -> int:
        return len(self._found)

    def find(self, name: Name) -> Connection | None:
        """The connection of that name."""
        return self._found.get(name)

    def add(self, name: Name, counter: int) -> bool:
        """Begin a connection, in the place of one that has ended; False if the table is full."""
        if name not in self._found and len(self._found) >= self._size:
            return False
        self.replaced += name in self._found
        self._found[name] = Connection(counter)
        return True


def name_of(packet: Packet) -> Name:
    """The connection that a packet belongs to, or would begin."""
    if packet.is_icmp:
        return _echo_name(packet.protocol, packet.icmp_type, packet.src, packet.dst, packet.echo_id)
    return _name(packet.protocol, (packet.src, packet.sport), (packet.dst, packet.dport))


def _name(protocol: int, one: Endpoint, other: Endpoint) -> Name:
    return protocol, frozenset((one, other))


def _echo_name(protocol: int, kind: int, src: int, dst: int, ident: int) -> Name:
    """An echo's identifier is the port of the side that asks."""
    if kind == ECHOES[protocol][0]:
        return _name(protocol, (src, ident), (dst, 0))
    return _name(protocol, (src, 0), (dst, ident))


def is_error(packet: Packet) -> bool:
    """Whether it is an ICMP error."""
    return packet.is_icmp and packet.icmp_type in ERRORS[packet.protocol]


def is_echo(packet: Packet) -> bool:
    """Whether it is an echo request or its reply."""
    return packet.is_icmp and packet.icmp_type in ECHOES[packet.protocol]


def has_bad_flags(packet: Packet) -> bool:
    """Flags that no TCP sends (RFC 9293, section 3.10.7)."""
    if packet.protocol != TCP:
        return False
    flags = packet.tcp_flags
    if flags & SYN:
        return bool(flags & (FIN | RST))
    return not flags & (ACK | RST)


def is_answer(packet: Packet) -> bool:
    """A packet that only answers another: the SYN's acknowledgement, an echo reply."""
    if packet.protocol == TCP:
        return packet.tcp_flags & (SYN | ACK) == SYN | ACK
    return packet.is_icmp and packet.icmp_type == ECHOES[packet.protocol][1]


def begins(packet: Packet) -> bool:
    """Whether the packet, once admitted, begins a connection."""
    if packet.protocol == TCP:
        return not packet.tcp_flags & RST
    return is_echo(packet) if packet.is_icmp else True


def begins_anew(packet: Packet, known: Connection) -> bool:
    """A closed connection's ports may be used again: by a SYN."""
    return packet.protocol == TCP and known.closed and packet.tcp_flags & (SYN | ACK) == SYN


def follow(packet: Packet, known: Connection) -> None:
    """Let a segment end its connection: by RST, or by FIN both ways."""
    if packet.protocol != TCP:
        return
    if packet.tcp_flags & FIN:
        known.finished.add((packet.src, packet.sport))
    if packet.tcp_flags & RST or len(known.finished) == 2:
        known.closed = True


def quoted_name(packet: Packet) -> Name | None:
    """The connection of the packet that an ICMP error quotes, if the error goes to its sender.

    The quote must have the IP header and 8 bytes of what follows (RFC 792), and may have an IPv6
    fragment header in between, but of no later fragment.
    """
    quote = packet.frame[packet.transport + 8 : packet.end]
    found = _quoted_ipv4(quote) if packet.family == 4 else _quoted_ipv6(quote)
    if found is None:
        return None
    src, dst, protocol, header = found
    if src != packet.dst or len(header) < 8:
        return None
    if protocol in ECHOES:
        if header[0] not in ECHOES[protocol]:
            return None
        return _echo_name(protocol, header[0], src, dst, int.from_bytes(header[4:6], "big"))
    ports = int.from_bytes(header[:2], "big"), int.from_bytes(header[2:4], "big")
    return _name(protocol, (src, ports[0]), (dst, ports[1]))


Quoted = tuple[int, int, int, bytes]  # source, destination, protocol, the rest


def _quoted_ipv4(quote: bytes) -> Quoted | None:
    if len(quote) < 20 or quote[0] >> 4 != 4 or quote[0] & 15 < 5:
        return None
    if int.from_bytes(quote[6:8], "big") & 0x1FFF:
        return None
    src, dst = int.from_bytes(quote[12:16], "big"), int.from_bytes(quote[16:20], "big")
    return src, dst, quote[9], quote[(quote[0] & 15) * 4 :]


def _quoted_ipv6(quote: bytes) -> Quoted | None:
    if len(quote) < 40 or quote[0] >> 4 != 6:
        return None
    src, dst = int.from_bytes(quote[8:24], "big"), int.from_bytes(quote[24:40], "big")
    protocol, rest = quote[6], quote[40:]
    if protocol == FRAGMENT:
        if len(rest) < 8 or int.from_bytes(rest[2:4], "big") & 0xFFF8:
            return None
        protocol, rest = rest[0], rest[8:]
    return src, dst, protocol, rest
