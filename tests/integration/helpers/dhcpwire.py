"""Stations that say by DHCP whatever a test wants, built and read by Scapy."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from nfv.dataplane.kernel import netns
from nfv.dataplane.resident import servicectl
from tests.integration.helpers import traffic
from tests.integration.helpers.lab import Lab

PATIENCE = 30.0
"""Seconds within which an answer arrives."""

EVERYBODY = "ff:ff:ff:ff:ff:ff"

_LEAST = 300  # bytes of a message (RFC 1542, section 2.1)

LAST = 0xFFFFFF
"""Transaction of the message that is answered last."""

Transaction = Callable[[Any], int | None]
"""The transaction of a server's answer; None for other frames."""

_TYPES = {1: "discover", 2: "offer", 3: "request", 4: "decline", 5: "ack", 6: "nak"}


def mac(number: int) -> str:
    """The MAC address of client `number`."""
    return f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"


def message(kind: str, number: int, *options: Any, src: str = "0.0.0.0", **fields: Any) -> Any:
    """A client's message in its frame. Option numbers may stand for their names."""
    held = bytes.fromhex(mac(number).replace(":", ""))
    asked = BOOTP(chaddr=held, **{"xid": number + 1, **fields})
    told = DHCP(options=[("message-type", kind), *options, "end"])
    dst = fields.get("to", "255.255.255.255")
    frame = Ether(src=mac(number), dst=EVERYBODY) / IP(src=src, dst=dst)
    return frame / UDP(sport=68, dport=67) / bytes(asked / told).ljust(_LEAST, b"\0")


def options(answer: Any) -> list[tuple[int, bytes]]:
    """The options of a message by number and content, in their order, read by hand."""
    data = bytes(answer[BOOTP])
    found = _options(data[240:])
    overload = dict(found).get(52, b"\0")[0]
    fields = [area for bit, area in ((1, data[108:236]), (2, data[44:108])) if overload & bit]
    return [*found, *(option for area in fields for option in _options(area))]


def _options(area: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while area[at] != 255:
        if area[at]:
            found.append((area[at], area[at + 2 : at + 2 + area[at + 1]]))
            at += 1 + area[at + 1]
        at += 1
    return found


def counted(lab: Lab, what: str) -> int:
    """How often the service of the function dhcp says that something has happened."""
    status = servicectl.ask(lab.name, "dhcp", "status")["service"]
    assert isinstance(status, dict)
    return int(status["messages"].get(what, 0))


def kind(answer: Any) -> str:
    """The type of a message."""
    return _TYPES[dict(options(answer))[53][0]]


class Station:
    """A host's interface: frames as they are."""

    def __init__(self, sock: socket.socket, last: Any, transaction: Transaction) -> None:
        """`last` is a question whose answer tells that all before it are answered."""
        self._sock = sock
        self._last = last
        self._transaction = transaction

    def send(self, frames: Sequence[Any]) -> None:
        for frame in frames:
            self._sock.send(bytes(frame))

    def told(self, *frames: Any) -> list[Any]:
        """The answers to some frames: those that come before the answer to a last question."""
        self.send([*frames, self._last])
        found: list[Any] = []
        for answer in self.heard():
            if self._transaction(answer) == LAST:
                return found
            found.append(answer)
        raise AssertionError("the last question is not answered")

    def heard(self) -> Iterator[Any]:
        """Messages of servers as they come, as long as there is patience."""
        deadline = time.monotonic() + PATIENCE
        while (left := deadline - time.monotonic()) > 0:
            self._sock.settimeout(left)
            try:
                data, address = self._sock.recvfrom(1 << 16)
            except TimeoutError:
                return
            frame = Ether(data)
            if address[2] != socket.PACKET_OUTGOING and self._transaction(frame) is not None:
                yield frame


@contextmanager
def station(lab: Lab, host: str) -> Iterator[Station]:
    """The interface of a host that has one address of IPv4, which it is served at."""
    (device,) = json.loads(lab.run(host, "ip -j -4 address show dev eth0").stdout)
    address = device["addr_info"][0]["local"]
    with opened(lab, host) as sock:
        held = sock.getsockname()[4]
        last: Any = Ether(src=held, dst=EVERYBODY) / IP(src=address, dst="255.255.255.255")
        last /= UDP(sport=68, dport=67) / BOOTP(chaddr=held, xid=LAST, ciaddr=address)
        last /= DHCP(options=[("message-type", "inform"), "end"])
        yield Station(sock, last, _transaction)


@contextmanager
def opened(lab: Lab, host: str) -> Iterator[socket.socket]:
    """A socket for whole frames at a host's interface."""
    with netns.entered(lab.netns(host)):
        sock = traffic.raw("eth0")
    with sock:
        yield sock


def _transaction(frame: Any) -> int | None:
    return frame[BOOTP].xid if BOOTP in frame and frame[BOOTP].op == 2 else None
