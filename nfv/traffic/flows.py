"""The frames of a profile's flows: templates in which stamp and checksum are left open. Pure.

Every flow is drawn by the same generator of random numbers, so the same profile gives the same
flows; destinations are taken in turn, so that all prefixes are met.
"""

from __future__ import annotations

import itertools
import random
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from nfv.chain.pattern import Range
from nfv.errors import InputError
from nfv.traffic.link import ETHERNET_HEADER, Macs
from nfv.traffic.profile import IMIX, IMIX_SIZES, Profile

FCS = 4
"""Bytes of the frame check sequence, which frames in memory are without."""

STAMP_SIZE = 18  # struct stamp of stamp.h

_SEED = 2544
_TTL = 64
_WINDOW = 65535
_TRIES = 100
_ETHERTYPE = {4: 0x0800, 6: 0x86DD}
_IP_HEADER = {4: 20, 6: 40}
_TRANSPORT_HEADER = {"udp": 8, "tcp": 20}
_CHECK_AT = {"udp": 6, "tcp": 16}
_PROTOCOL = {"udp": socket.IPPROTO_UDP, "tcp": socket.IPPROTO_TCP}

SYN, RST, ACK = 0x02, 0x04, 0x10
"""Flags of a TCP header (RFC 9293, section 3.1)."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Flow:
    """Addresses and ports of a flow."""

    src: Address
    dst: Address
    sport: int
    dport: int

    @property
    def reverse(self) -> Flow:
        """The same, as the far end sends it."""
        return Flow(self.dst, self.src, self.dport, self.sport)


@dataclass(frozen=True)
class Template:
    """A frame up to the stamp's end; what follows are zeros.

    Places are in bytes. `sum` is that of the 16-bit words, as they lie in memory, that the
    transport checksum covers, but for the stamp and, if `port` is not 0, the source port.
    """

    flow: int
    head: bytes
    length: int  # without FCS
    stamp: int
    check: int
    port: int
    sum: int


def flows(profile: Profile) -> list[Flow]:
    """The flows of a profile that says all addresses. Raises `InputError` if there are too few."""
    draw = random.Random(_SEED)
    first, count = profile.ports
    found: dict[Flow, None] = {}
    for number in range(profile.flows):
        for _ in range(_TRIES):
            flow = Flow(
                _host(draw.choice(profile.src), draw),
                _host(profile.dst[number % len(profile.dst)], draw),
                first + number % count,
                draw.randint(*_in_turn(profile.dport, number)),
            )
            if flow not in found:
                break
        else:
            raise InputError(
                f"the profile has not as many as {profile.flows} different flows",
                "add addresses or ports, or ask for fewer flows",
            )
        found[flow] = None
    return list(found)


def _in_turn(ports: Sequence[Range], number: int) -> Range:
    return ports[number % len(ports)]


def _host(network: Network, draw: random.Random) -> Address:
    """An address of a network that is neither its own nor its broadcast address."""
    size = network.num_addresses
    margin = int(network.version == 4 and size > 2)
    return network[draw.randrange(margin, size - margin)]


def templates(profile: Profile, size: str, macs: Macs) -> list[Template]:
    """The frames of one size, or of the mix, in the order in which they are sent."""
    found = flows(profile)
    pattern = IMIX_SIZES if size == IMIX else (int(size),)
    count = -(-len(found) // len(pattern)) * len(pattern)
    return [
        template(profile, found[number % len(found)], number % len(found), length, macs)
        for number, length in zip(range(count), itertools.cycle(pattern), strict=False)
    ]


def shortest(profile: Profile) -> int:
    """Bytes with FCS of the shortest frame that has room for its headers and the stamp."""
    return _stamp_at(profile) + STAMP_SIZE + FCS


def _stamp_at(profile: Profile) -> int:
    headers = _IP_HEADER[profile.version] + _TRANSPORT_HEADER[profile.proto]
    return ETHERNET_HEADER + headers


def template(
    profile: Profile, flow: Flow, number: int, size: int, macs: Macs, flags: int = ACK
) -> Template:
    """The frames of a flow of `size` bytes with FCS, or of the shortest that is possible.

    `flags` are those of TCP segments, by default of an established connection.
    """
    version = profile.version
    length = max(size, shortest(profile)) - FCS
    transport_at = ETHERNET_HEADER + _IP_HEADER[version]
    payload = bytes(STAMP_SIZE)
    transport = _transport(profile, flow, length - transport_at, flags)
    addresses = flow.src.packed + flow.dst.packed
    protocol = _PROTOCOL[profile.proto]
    pseudo = addresses + struct.pack("!II", length - transport_at, protocol)
    network = _network(version, addresses, protocol, length - transport_at)
    ethernet = macs.destination + macs.source + struct.pack("!H", _ETHERTYPE[version])
    covered = bytes(2) + transport[2:] if profile.churn else transport
    return Template(
        flow=number,
        head=ethernet + network + transport + payload,
        length=length,
        stamp=_stamp_at(profile),
        check=transport_at + _CHECK_AT[profile.proto],
        port=transport_at if profile.churn else 0,
        sum=_sum(pseudo + covered),
    )


def _transport(profile: Profile, flow: Flow, length: int, flags: int) -> bytes:
    """The header without checksum; both ends of TCP connections count from 0."""
    ports = struct.pack("!HH", flow.sport, flow.dport)
    if profile.proto == "udp":
        return ports + struct.pack("!HH", length, 0)
    numbers = int(not flags & SYN), int(bool(flags & ACK))
    return ports + struct.pack("!IIBBHHH", *numbers, 5 << 4, flags, _WINDOW, 0, 0)


def _network(version: int, addresses: bytes, protocol: int, length: int) -> bytes:
    if version == 6:
        return struct.pack("!IHBB", 6 << 28, length, protocol, _TTL) + addresses
    size = _IP_HEADER[4] + length
    fields = struct.pack("!BBHIBBH", 0x45, 0, size, 0, _TTL, protocol, 0)
    check = _fold(_sum(fields + addresses))
    return fields[:-2] + struct.pack("=H", check) + addresses


def _sum(data: bytes) -> int:
    """The sum of 16-bit words in the machine's order: checksums do not depend on it (RFC 1071)."""
    return sum(struct.unpack(f"={len(data) // 2}H", data))


def _fold(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
