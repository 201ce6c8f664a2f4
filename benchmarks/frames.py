"""The frames of the benchmarks, as templates in which the flow is left open. Pure."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, replace
from enum import Enum, IntFlag

PORT = 5201
"""Port of the far hosts in all flows; the firewalls accept it for TCP and UDP."""

NEAR_PORT = 20000
"""Port of the near host in IPv6 flows, which differ in the far address."""

SHORTEST = 60
"""Bytes of the shortest Ethernet frame, without its check sequence."""

IMIX = (60, 60, 60, 60, 60, 60, 60, 590, 590, 590, 590, 1514)
"""Frame sizes in bytes, as in the "simple IMIX", without the check sequence."""

STATION = "02:00:00:00:00:00"
"""MAC address of a far station, but for its last four bytes, which are those of its address."""

_TTL = 64
_WINDOW = 65535
_ETHERNET = 14
_TEMPLATE_HEAD = 80  # head of struct template


class Protocol(Enum):
    """Transport protocol, by its number."""

    TCP = socket.IPPROTO_TCP
    UDP = socket.IPPROTO_UDP


class _Tcp(IntFlag):
    """Flags of a TCP header (RFC 9293, section 3.1)."""

    SYN = 0x02
    ACK = 0x10


_L3_HEADER = {4: 20, 6: 40}
_L4_HEADER = {Protocol.TCP: 20, Protocol.UDP: 8}
_L4_CHECK = {Protocol.TCP: 16, Protocol.UDP: 6}
_ETH_P = {4: 0x0800, 6: 0x86DD}


@dataclass(frozen=True)
class Endpoint:
    """What a host's frames say of it: addresses by IP version."""

    mac: str
    next_hop_mac: str
    addresses: dict[int, str]


@dataclass(frozen=True)
class Translation:
    """What the far host sees of the near one's IPv4 flows: another address, other bits of ports."""

    address: str
    port_bits: int = 0


@dataclass(frozen=True)
class Kind:
    """What all frames of a traffic have in common."""

    protocol: Protocol = Protocol.UDP
    version: int = 4  # of IP
    sizes: tuple[int, ...] = (SHORTEST,)  # of frames in bytes; a flow's template is one of them
    stations: bool = False  # each far address has a MAC address of its own; IPv4 only
    subscribers: bool = False  # flows differ in the near address instead of the far; IPv4 only

    @property
    def head(self) -> int:
        """Bytes of all headers of a frame, or of the whole frame if it is not longer than 60."""
        headers = _ETHERNET + _L3_HEADER[self.version] + _L4_HEADER[self.protocol]
        return max(headers, SHORTEST)


@dataclass(frozen=True)
class Layout:
    """Where in a frame the flow is said, in bytes; 0 for what is not there."""

    address: int
    port: int
    l3_check: int
    l4_check: int
    mac: int = 0  # of a far station, its last four bytes


@dataclass(frozen=True)
class Template:
    """A frame's headers but for the flow and the checksums, whose places are 0.

    The sums are those of the words that a checksum covers, as they lie in memory.
    """

    head: bytes
    l3_sum: int
    l4_sum: int
    length: int

    def pack(self) -> bytes:
        """struct template of programs/generator.c."""
        values = self.l3_sum, self.l4_sum, self.length, 0
        return struct.pack("=4I", *values) + self.head.ljust(_TEMPLATE_HEAD, b"\0")


@dataclass(frozen=True)
class Leg:
    """What one of the hosts sends, once in every flow."""

    forward: bool  # from the near host
    templates: tuple[Template, ...]
    layout: Layout
    port_bits: int = 0  # that differ from the flow's port


def conversation(
    kind: Kind, near: Endpoint, far: Endpoint, translation: Translation | None = None
) -> list[Leg]:
    """What the hosts send, in order, until flows are established; the last leg is measured."""
    if kind.protocol is Protocol.UDP:
        steps = [(True, _Tcp(0)), (False, _Tcp(0)), (True, _Tcp(0))]
    else:
        steps = [(True, _Tcp.SYN), (False, _Tcp.SYN | _Tcp.ACK), (True, _Tcp.ACK)]
    if kind.stations:
        near, far = replace(near, next_hop_mac=STATION), replace(far, mac=STATION)
    own = (far if kind.subscribers else near).addresses[kind.version]
    seen = Translation(own) if translation is None or kind.version == 6 else translation
    return [
        Leg(
            forward,
            tuple(
                _template(
                    kind,
                    near if forward else far,
                    own if forward else seen.address,
                    forward,
                    flags,
                    size,
                )
                for size in dict.fromkeys(kind.sizes)
            ),
            layout(kind, forward),
            0 if forward else seen.port_bits,
        )
        for forward, flags in steps
    ]


def layout(kind: Kind, forward: bool) -> Layout:
    """The address and the near host's port that flows differ in, seen from either side."""
    l4 = _ETHERNET + _L3_HEADER[kind.version]
    check = l4 + _L4_CHECK[kind.protocol]
    if kind.version == 6:
        return Layout(38 if forward else 22, 0, 0, check)
    mac = (2 if forward else 8) if kind.stations else 0
    address = 30 if forward != kind.subscribers else 26
    return Layout(address, l4 if forward else l4 + 2, 24, check, mac)


def stamp_at(kind: Kind) -> int:
    """Where the payload begins, in bytes."""
    return _ETHERNET + _L3_HEADER[kind.version] + _L4_HEADER[kind.protocol]


def _template(
    kind: Kind, sender: Endpoint, address: str, forward: bool, flags: _Tcp, size: int
) -> Template:
    """A frame of `size` bytes, or the shortest that holds its headers."""
    ports = (0, PORT) if forward else (PORT, 0)
    if kind.version == 6:
        ports = (NEAR_PORT, PORT) if forward else (PORT, NEAR_PORT)
    size = max(size, kind.head)
    l4_length = size - _ETHERNET - _L3_HEADER[kind.version]
    if kind.protocol is Protocol.UDP:
        transport = struct.pack("!4H", *ports, l4_length, 0)
    else:
        l4_length = _L4_HEADER[kind.protocol]
        sequence, acknowledged = _numbers(flags)
        transport = struct.pack("!2H", *ports)
        transport += struct.pack("!IIBBH4x", sequence, acknowledged, 5 << 4, flags, _WINDOW)
    addresses = _addresses(kind.version, address, forward != kind.subscribers)
    network = _network(kind, addresses, l4_length)
    pseudo = addresses + struct.pack("!II", l4_length, kind.protocol.value)
    macs = bytes.fromhex((sender.next_hop_mac + sender.mac).replace(":", ""))
    frame = macs + struct.pack("!H", _ETH_P[kind.version]) + network + transport
    l3_sum = _sum(network) if kind.version == 4 else 0
    return Template(frame.ljust(kind.head, b"\0"), l3_sum, _sum(pseudo + transport), size)


def _numbers(flags: _Tcp) -> tuple[int, int]:
    """Sequence and acknowledgement numbers of a handshake that begins at 0 on both sides."""
    return {
        _Tcp.SYN: (0, 0),
        _Tcp.SYN | _Tcp.ACK: (0, 1),
        _Tcp.ACK: (1, 1),
    }[flags]


def _addresses(version: int, fixed: str, is_source: bool) -> bytes:
    """Source and destination, of which one is fixed; what the flow says is 0."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    own = socket.inet_pton(family, fixed)
    other = bytes(4) if version == 4 else bytes(15) + b"\1"
    return own + other if is_source else other + own


def _network(kind: Kind, addresses: bytes, l4_length: int) -> bytes:
    protocol = kind.protocol.value
    if kind.version == 6:
        return struct.pack("!IHBB", 6 << 28, l4_length, protocol, _TTL) + addresses
    return struct.pack("!BBHIBBH", 0x45, 0, 20 + l4_length, 0, _TTL, protocol, 0) + addresses


def _sum(data: bytes) -> int:
    """The sum of 16-bit words in the machine's order: checksums do not depend on it (RFC 1071)."""
    return sum(struct.unpack(f"={len(data) // 2}H", data))
