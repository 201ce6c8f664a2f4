"""The frames of the benchmarks: flows between two hosts, as both hosts send them. Pure."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, IntFlag

PORT = 5201
"""Destination port of all flows; the quickstart firewall accepts it for TCP and UDP."""

_FIRST_SOURCE_PORT = 20000
_TTL = 64
_ETH_P = {4: 0x0800, 6: 0x86DD}
_PAYLOAD = {4: 18, 6: 0}  # bytes in a UDP datagram, so that no frame needs padding
_MIN_FRAME = 60  # bytes of the shortest Ethernet frame without its check sequence
_WINDOW = 65535


class Protocol(Enum):
    """Transport protocol, by its number."""

    TCP = socket.IPPROTO_TCP
    UDP = socket.IPPROTO_UDP


class _Tcp(IntFlag):
    """Flags of a TCP header (RFC 9293, section 3.1)."""

    SYN = 0x02
    ACK = 0x10


@dataclass(frozen=True)
class Endpoint:
    """What a host's frames say of it. Addresses by IP version."""

    mac: str
    next_hop_mac: str
    addresses: dict[int, str]


@dataclass(frozen=True)
class Traffic:
    """Flows of one kind that are sent in turn, packet by packet."""

    protocol: Protocol
    version: int  # of IP
    flows: int

    @property
    def name(self) -> str:
        """Such as "UDP, IPv4, 64 flows"."""
        kind = "TCP ACK" if self.protocol is Protocol.TCP else "UDP"
        return f"{kind}, IPv{self.version}, {self.flows} flow{'s' if self.flows > 1 else ''}"


@dataclass(frozen=True)
class Leg:
    """One frame of each flow, all sent by the same host."""

    forward: bool  # from the near host to the far one
    frames: tuple[bytes, ...]


def conversation(traffic: Traffic, near: Endpoint, far: Endpoint) -> list[Leg]:
    """What both hosts send, in order, until the flows are established; the last leg is measured."""
    ports = range(_FIRST_SOURCE_PORT, _FIRST_SOURCE_PORT + traffic.flows)

    def leg(forward: bool, segment: Callable[[int, int], bytes]) -> Leg:
        def frame(port: int) -> bytes:
            pair = (port, PORT) if forward else (PORT, port)
            ends = (near, far) if forward else (far, near)
            return _frame(*ends, traffic, segment(*pair))

        return Leg(forward, tuple(frame(port) for port in ports))

    if traffic.protocol is Protocol.UDP:
        datagram = _udp(_PAYLOAD[traffic.version])
        return [leg(True, datagram), leg(False, datagram), leg(True, datagram)]
    return [
        leg(True, _tcp(_Tcp.SYN, 0, 0)),
        leg(False, _tcp(_Tcp.SYN | _Tcp.ACK, 0, 1)),
        leg(True, _tcp(_Tcp.ACK, 1, 1)),
    ]


def _udp(payload: int) -> Callable[[int, int], bytes]:
    def segment(source_port: int, destination_port: int) -> bytes:
        length = 8 + payload
        return struct.pack("!4H", source_port, destination_port, length, 0).ljust(length, b"\0")

    return segment


def _tcp(flags: int, sequence: int, acknowledged: int) -> Callable[[int, int], bytes]:
    def segment(source_port: int, destination_port: int) -> bytes:
        ports = struct.pack("!2H", source_port, destination_port)
        return ports + struct.pack("!IIBBH4x", sequence, acknowledged, 5 << 4, flags, _WINDOW)

    return segment


def _frame(source: Endpoint, destination: Endpoint, traffic: Traffic, segment: bytes) -> bytes:
    version = traffic.version
    packet = _packet(
        source.addresses[version],
        destination.addresses[version],
        traffic,
        segment,
    )
    macs = bytes.fromhex((source.next_hop_mac + source.mac).replace(":", ""))
    return (macs + struct.pack("!H", _ETH_P[version]) + packet).ljust(_MIN_FRAME, b"\0")


def _packet(source: str, destination: str, traffic: Traffic, segment: bytes) -> bytes:
    family = socket.AF_INET if traffic.version == 4 else socket.AF_INET6
    addresses = socket.inet_pton(family, source) + socket.inet_pton(family, destination)
    protocol = traffic.protocol.value
    pseudo = addresses + struct.pack("!II", len(segment), protocol)
    place = 6 if traffic.protocol is Protocol.UDP else 16
    segment = _with_checksum(segment, place, pseudo)
    if traffic.version == 6:
        return struct.pack("!IHBB", 6 << 28, len(segment), protocol, _TTL) + addresses + segment
    length = 20 + len(segment)
    header = struct.pack("!BBHIBBH", 0x45, 0, length, 0, _TTL, protocol, 0) + addresses
    return _with_checksum(header, 10, b"") + segment


def _with_checksum(data: bytes, place: int, pseudo: bytes) -> bytes:
    """Set the Internet checksum over a header and its pseudo-header; 0 is sent as all ones."""
    value = checksum(pseudo + data) or 0xFFFF
    return data[:place] + struct.pack("!H", value) + data[place + 2 :]


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def same_size(frames: Sequence[bytes]) -> int:
    """The length that all the frames have, in bytes."""
    (length,) = {len(frame) for frame in frames}
    return length
