"""Stations on a segment: frames put on each wire, and what comes out of all others."""

from __future__ import annotations

import selectors
import socket
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from nfv.dataplane.kernel import netns
from tests.integration.helpers import traffic

EXPERIMENT = 0x88B5
"""The ethertype of test frames, which nobody else sends (IEEE Std 802, local experimental)."""

TAG = 0x8100

_PACKET_AUXDATA, _SOL_PACKET = 8, 263
_AUXDATA = struct.Struct("=IIIHHHH")  # struct tpacket_auxdata
_VLAN_VALID = 1 << 4
_RCVBUFFORCE = 33
_BUFFER = 1 << 22
_PATIENCE = 10.0  # seconds

Received = Mapping[str, "Counter[bytes]"]
Put = tuple[str, bytes]
"""A frame, and the wire that it is put on."""
Way = tuple[str, "int | None"]
"""A wire, and the tag that frames have there."""


def mac(number: int) -> bytes:
    """The address of a station."""
    return bytes((2, 0, 0)) + number.to_bytes(3, "big")


def group(number: int) -> bytes:
    """A group address that is none of IP's, and not reserved."""
    return bytes((3, 0, 0)) + number.to_bytes(3, "big")


BROADCAST = b"\xff" * 6
MARKER = mac(0xFFFFFF)


def frame(
    dst: bytes, src: bytes, payload: bytes = b"", *, tag: int | None = None, size: int = 60
) -> bytes:
    """A test frame; `tag` is what its VLAN tag says."""
    tagged = b"" if tag is None else struct.pack("!HH", TAG, tag)
    return (dst + src + tagged + struct.pack("!H", EXPERIMENT) + payload).ljust(size, b"\0")


@dataclass(frozen=True)
class Wire:
    """The end of a wire that a station would be at."""

    name: str
    socket: socket.socket

    def send(self, data: bytes) -> None:
        self.socket.send(data)

    def receive(self) -> bytes | None:
        """The next test frame with its tag, None for a frame of somebody else."""
        data = self.next_frame()
        if data is None:
            return None
        at = 16 if data[12:14] == struct.pack("!H", TAG) else 12
        return data if data[at : at + 2] == struct.pack("!H", EXPERIMENT) else None

    def next_frame(self) -> bytes | None:
        """The next frame with its tags, None for one that was sent from here."""
        data, extra, _flags, address = self.socket.recvmsg(1 << 16, 64)
        if address[2] == socket.PACKET_OUTGOING:
            return None
        for level, kind, value in extra:
            if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
                status, *_, tci, tpid = _AUXDATA.unpack(value[: _AUXDATA.size])
                if status & _VLAN_VALID:
                    data = data[:12] + struct.pack("!HH", tpid or TAG, tci) + data[12:]
        return data


class Segment:
    """Several wires; frames are sent one at a time, so that their order is known."""

    def __init__(self, wires: Iterable[Wire]) -> None:
        self.wires = {wire.name: wire for wire in wires}
        self._selector = selectors.DefaultSelector()
        for wire in self.wires.values():
            self._selector.register(wire.socket, selectors.EVENT_READ, wire)

    def close(self) -> None:
        self._selector.close()
        for wire in self.wires.values():
            wire.socket.close()

    def exchange(self, frames: Iterable[Put], number: int, ways: Iterable[Way]) -> Received:
        """Send frames, then marks; what each wire receives until its mark comes.

        Marks are broadcasts that have a number; the ways, each by a wire and with a tag, lead to
        all wires between them.
        """
        end = number.to_bytes(8, "big")
        marks = ((name, frame(BROADCAST, MARKER, end, tag=tag, size=0)) for name, tag in ways)
        with traffic.alone():
            for name, data in (*frames, *marks):
                self.wires[name].send(data)
        found: dict[str, Counter[bytes]] = {name: Counter() for name in self.wires}
        waiting = set(self.wires)
        while waiting:
            ready = self._selector.select(_PATIENCE)
            if not ready:
                pytest.fail(f"no mark comes at {', '.join(sorted(waiting))}")
            for key, _events in ready:
                wire = key.data
                data = wire.receive()
                if data and data[6:12] != MARKER:
                    found[wire.name][data] += 1
                elif data and data.endswith(end):
                    waiting.discard(wire.name)
        return found

    def drain(self) -> None:
        """Forget what has come."""
        while ready := self._selector.select(0):
            for key, _events in ready:
                key.data.receive()


@contextmanager
def segment(places: Mapping[str, tuple[str, str]]) -> Iterator[Segment]:
    """Open the wires that lead into devices, by namespace and name."""
    with ExitStack() as stack:
        wires = [_wire(name, *place) for name, place in places.items()]
        made = Segment(wires)
        stack.callback(made.close)
        yield made


def _wire(name: str, place: str, device: str) -> Wire:
    with netns.entered(place):
        opened = traffic.raw(device)
        opened.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        opened.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _BUFFER)
        netns.write_sysctl(f"net/ipv6/conf/{device}/disable_ipv6", 1)
        return Wire(name, opened)
