"""Frames in sequence: what hosts would send, its like, and what nobody should.

Answers are written to the frames that were delivered, so both directions of a flow meet the
functions as they would in a network, whatever these have changed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from random import Random
from typing import Any

from tests.property.generate import frames, mutations
from tests.property.generate.frames import Ends, Shape
from tests.property.generate.routes import stations
from tests.property.generate.rules import PORTS
from tests.property.generate.topologies import addresses_of
from tests.property.model.packets import (
    ACK,
    DESTINATION,
    FIN,
    HOP_BY_HOP,
    ICMP,
    ICMPV6,
    ROUTING,
    RST,
    SYN,
    TCP,
    UDP,
    Fragment,
    Malformed,
    Packet,
    parse,
)
from tests.property.model.router import octets

PSH, URG = 8, 32
DATA = bytes(range(256)) * 6
SIZES = (0, 0, 0, 1, 8, 20, 30, 64, 64, 600, 1300)
REMEMBERED = 12
"""Frames of which another may be made: few, so that flows go on."""

SPECIAL = (
    "0.0.0.0", "0.1.2.3", "127.0.0.1", "169.254.1.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "ff02::1", "2002::1",
)  # fmt: skip

FRESH_FLAGS = (SYN, SYN, SYN, SYN, SYN, ACK, ACK | PSH, RST, FIN | ACK, SYN | ACK, 0, FIN)


@dataclass(frozen=True)
class Input:
    """A frame, and the port where it comes in."""

    place: str
    frame: bytes


class Traffic:
    """An endless sequence of frames; `delivered` says what became of them."""

    def __init__(self, random: Random, spec: Mapping[str, Any]) -> None:
        self._random = random
        self._places = [station.place for station in stations(spec)]
        self._macs = {station.place: octets(station.mac) for station in stations(spec)}
        self._own = {
            station.place: [ip.partition("/")[0] for ip in station.ip] for station in stations(spec)
        }
        self._far = _far_ends(spec)
        self._pool = list(addresses_of(spec["saps"], spec["vnfs"]))
        self._sent: deque[Input] = deque(maxlen=REMEMBERED)
        self._arrived: deque[Input] = deque(maxlen=REMEMBERED)
        self._waiting: list[Input] = []

    def next(self) -> Input:
        """One more frame."""
        if self._waiting:
            return self._waiting.pop()
        found = self._choose()
        self._sent.append(found)
        again = self._random.choice((0, 0, 0, 1, 1, 2))
        self._waiting += [found] * again
        return found

    def begin(self, found: Input) -> None:
        """Send a frame soon, and others like it."""
        self._sent.append(found)
        self._waiting.append(found)

    def delivered(self, place: str, frame: bytes) -> None:
        """A frame has left by a port, where somebody may answer it."""
        if place in self._macs:
            self._arrived.append(Input(place, frame))

    def _choose(self) -> Input:
        kind = self._random.random()
        if kind < 0.45 and self._arrived:
            answered = self._answer(self._random.choice(self._arrived))
            if answered:
                return answered
        if kind < 0.6 and self._sent:
            return self._vary(self._random.choice(self._sent))
        if kind < 0.72 and self._sent:
            found = self._random.choice(self._sent)
            return replace(found, frame=mutations.mutated(self._random, found.frame))
        return self._fresh()

    # Fresh packets -------------------------------------------------------------------------------

    def _fresh(self) -> Input:
        random = self._random
        place = random.choice(self._places)
        ends = self._ends(place)
        protocol, content = self._content(ends)
        shape = self._shape(protocol, ends.version)
        frame = frames.packet(ends, protocol, content, shape)
        if shape.place and random.random() < 0.8:
            self._waiting += [Input(place, later) for later in self._rest(ends, protocol, shape)]
        return Input(place, frame)

    def _ends(self, place: str) -> Ends:
        random = self._random
        version = random.choice((4, 6))
        src = self._address(version, self._own[place], 0.75)
        dst = self._address(version, self._pool, 0.97)
        far = self._far.get(place) or random.choice([*self._macs.values(), mutations.STRANGER])
        return Ends(self._macs[place], far, src, dst)

    def _address(self, version: int, usual: list[str], how_often: float) -> bytes:
        pools = (usual, self._pool if self._random.random() < 0.9 else list(SPECIAL))
        pool = pools[0] if self._random.random() < how_often else pools[1]
        found = [address for address in map(ip_address, pool) if address.version == version]
        return self._random.choice(found).packed

    def _content(self, ends: Ends) -> tuple[int, bytes]:
        random = self._random
        sport, dport = random.choice(PORTS), random.choice(PORTS)
        data = DATA[: random.choice(SIZES)]
        kind = random.random()
        if kind < 0.4:
            flags = random.choice(FRESH_FLAGS)
            return TCP, self._segment(ends, sport, dport, flags, data)
        if kind < 0.75:
            return UDP, frames.udp(ends, sport, dport, data)
        if kind < 0.92:
            return frames.icmp_protocol(ends.version), self._message(ends, data)
        return random.choice((ICMP, ICMPV6, 33, 47, 51, 99, 132, 59)), DATA[: random.randrange(40)]

    def _segment(self, ends: Ends, sport: int, dport: int, flags: int, data: bytes) -> bytes:
        random = self._random
        seq, ack = random.getrandbits(32), random.getrandbits(32) if flags & ACK else 0
        return frames.tcp(ends, sport, dport, flags, seq, ack, data)

    def _message(self, ends: Ends, data: bytes) -> bytes:
        """ICMP: mostly echo requests."""
        random = self._random
        request = 8 if ends.version == 4 else 128
        others = (0, 3, 5, 11, 13, 14) if ends.version == 4 else (1, 2, 129, 131, 135, 136, 137)
        kind = request if random.random() < 0.6 else random.choice(others)
        return frames.icmp(ends, kind, 0, random.choice((1, 2)) << 16 | 1, data)

    def _shape(self, protocol: int, version: int) -> Shape:
        random = self._random
        kind = random.random()
        ttl = 255 if protocol == ICMPV6 and kind < 0.3 else random.choice((64, 64, 64, 9, 2, 1))
        shape = Shape(ttl=ttl, ident=random.randrange(1, 9))
        if kind < 0.88:
            return shape
        if kind < 0.92:
            more = 0x2000 if version == 4 else 1
            return replace(shape, place=random.choice((more, more, more, 0)), cut=True)
        if kind < 0.96:
            return replace(shape, options=b"\x01" * random.choice((4, 8, 40)))
        return self._extended(shape, protocol)

    def _extended(self, shape: Shape, protocol: int) -> Shape:
        """One to eight extension headers."""
        kinds = [HOP_BY_HOP, DESTINATION, ROUTING]
        chosen = [self._random.choice(kinds) for _ in range(self._random.choice((1, 1, 2, 6, 7)))]
        following = [*chosen[1:], protocol]
        size = self._random.choice((0, 0, 1, 30))
        extensions = b"".join(bytes((kind, size)).ljust(8 + 8 * size, b"\0") for kind in following)
        return replace(shape, extensions=extensions, first=chosen[0])

    def _rest(self, ends: Ends, protocol: int, first: Shape) -> list[bytes]:
        """Later fragments of a datagram, maybe in another order."""
        shapes = [replace(first, place=place) for place in _later_places(ends.version)]
        self._random.shuffle(shapes)
        chosen = shapes[: self._random.randint(0, 2)]
        return [frames.packet(ends, protocol, DATA[:48], shape) for shape in chosen]

    # Of what was there ---------------------------------------------------------------------------

    def _vary(self, found: Input) -> Input:
        """Another packet of the same flow."""
        packet = _parsed(found.frame)
        if packet is None or packet.protocol not in (TCP, UDP) or not packet.complete:
            return found
        random, ends = self._random, _ends_of(packet)
        data = DATA[: random.choice((0, 5, 100))]
        if packet.protocol == UDP:
            content = frames.udp(ends, packet.sport, packet.dport, data)
        else:
            flags = random.choice((ACK, ACK, ACK | PSH, ACK | URG, packet.tcp_flags, RST))
            content = self._segment(ends, packet.sport, packet.dport, flags, data)
        shape = Shape(ttl=random.choice((64, 63, packet.ttl)), ident=random.randrange(9))
        return replace(found, frame=frames.packet(ends, packet.protocol, content, shape))

    def _answer(self, found: Input) -> Input | None:
        """What the receiver of a frame would send back, if anything."""
        packet = _parsed(found.frame)
        if packet is None or packet.fragment is not Fragment.NONE:
            return None
        ends = _ends_of(packet).turned()
        if self._random.random() < 0.08:
            return Input(found.place, self._error(packet, ends))
        if packet.protocol == UDP and packet.complete:
            content = frames.udp(ends, packet.dport, packet.sport, DATA[:20])
        elif packet.protocol == TCP and packet.complete:
            flags = self._reply_flags(packet.tcp_flags)
            content = self._segment(ends, packet.dport, packet.sport, flags, b"")
        elif packet.is_icmp and packet.complete and packet.icmp_type in (8, 128):
            kind = 0 if packet.icmp_type == 8 else 129
            content = frames.icmp(ends, kind, 0, packet.echo_id << 16 | 1, DATA[:8])
        else:
            return None
        return Input(found.place, frames.packet(ends, packet.protocol, content, Shape()))

    def _reply_flags(self, flags: int) -> int:
        """The next step of a TCP connection."""
        if self._random.random() < 0.05:
            return RST | ACK
        if flags & SYN:
            return ACK if flags & ACK else SYN | ACK
        if flags & FIN:
            return self._random.choice((ACK, FIN | ACK))
        return self._random.choice((ACK, ACK | PSH, ACK | PSH, FIN | ACK, SYN))

    def _error(self, packet: Packet, ends: Ends) -> bytes:
        """An ICMP error about a packet, from its receiver or from somewhere on the way."""
        random = self._random
        quote = packet.frame[14 : packet.end][: random.choice((27, 28, 48, 60, 548))]
        kind = random.choice((3, 11, 4) if ends.version == 4 else (1, 2, 3))
        if random.random() < 0.3:
            ends = replace(ends, src=self._address(ends.version, self._pool, 1))
        content = frames.icmp(ends, kind, 0, 1280, quote)
        return frames.packet(ends, frames.icmp_protocol(ends.version), content, Shape())


def _parsed(frame: bytes) -> Packet | None:
    """The packet, if there is an IP packet in the frame."""
    try:
        packet = parse(frame)
    except Malformed:
        return None
    return packet if packet.family else None


def _ends_of(packet: Packet) -> Ends:
    size = 4 if packet.family == 4 else 16
    src, dst = packet.src.to_bytes(size, "big"), packet.dst.to_bytes(size, "big")
    return Ends(packet.frame[6:12], packet.frame[:6], src, dst)


def _later_places(version: int) -> list[int]:
    """Offsets of later fragments as the header writes them."""
    if version == 4:
        return [0x2000 | 6, 12]
    return [6 << 3 | 1, 12 << 3]


def _far_ends(spec: Mapping[str, Any]) -> dict[str, bytes]:
    """The MAC address at the other end of the chains of each port."""
    macs = {station.place: octets(station.mac) for station in stations(spec)}
    found: dict[str, bytes] = {}
    for chain in spec["chains"].values():
        near, far = chain["path"][0], chain["path"][-1]
        if near in macs and far in macs:
            found[near], found[far] = macs[far], macs[near]
    return found
