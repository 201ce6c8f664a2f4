"""DHCPv6 in a relay agent (RFC 9915, section 19).

What clients send to the group of servers and relay agents goes to the servers by UDP, from a Linux
stack at the function's addresses. Option 18 says which access point a message came from; the answer
comes back with it. What kind of message it is, the agent does not ask (RFC 7283).
"""

from __future__ import annotations

import socket
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address

from nfv.services.dhcp6.wire import (
    CLIENT_PORT,
    MAX_RELAYS,
    SERVER_PORT,
    Malformed,
    Option,
    Relay,
    Type,
    build_relay,
    parse_relay,
)
from nfv.services.packets6 import Datagram6, build_udp6, link_local

_MOST_STATIONS = 4096
_GROUP = 64  # answers at most in one go
_ETHERNET = b"\0\1"
_FROM_SERVERS = (Type.ADVERTISE, Type.REPLY, Type.RECONFIGURE, Type.RELAY_REPL)


@dataclass(frozen=True)
class Ways:
    """Where a relay agent hands messages on to."""

    servers: Sequence[IPv6Address]
    own: Mapping[str, IPv6Address]  # by access point: an address of the agent on its link
    stages: Mapping[str, int]  # by access point: where what is for it resumes
    remote: bytes | None  # content of option 37
    mac: bytes


class RelayAgent:
    """Hands messages on between the clients at one function's tap and servers."""

    def __init__(self, out: socket.socket, send: Callable[[int, bytes], None]) -> None:
        self._socket = out
        self._send = send
        self._ways = Ways((), {}, {}, None, bytes(6))
        self._stations: OrderedDict[tuple[str, IPv6Address], bytes] = OrderedDict()
        self.counted: Counter[str] = Counter()

    def configure(self, ways: Ways) -> None:
        self._ways = ways

    def up(self, datagram: Datagram6, port: str) -> None:
        """Hand a client's or another agent's message on to the servers."""
        message = self._handed_on(datagram, port)
        if message is None:
            self.counted["ignored"] += 1
            return
        self._remember(port, datagram)
        self.counted["requests"] += 1
        for server in self._ways.servers:
            try:
                self._socket.sendto(message, (str(server), SERVER_PORT))
            except OSError:  # no route, or too much at once: lost as on a wire
                self.counted["unreachable"] += 1

    def _handed_on(self, datagram: Datagram6, port: str) -> bytes | None:
        payload = datagram.payload
        if port not in self._ways.own or not payload or payload[0] in _FROM_SERVERS:
            return None
        hops, link = 0, self._ways.own[port]
        options = [(int(Option.INTERFACE_ID), port.encode())]
        if payload[0] == Type.RELAY_FORW:
            if len(payload) < 2 or payload[1] >= MAX_RELAYS:
                return None
            hops = payload[1] + 1
            if not datagram.src.is_link_local:  # its agent has said where it is (19.1.2)
                link = IPv6Address(0)
        else:
            options.append((Option.LINK_LAYER_ADDRESS, _ETHERNET + datagram.src_mac))
        if self._ways.remote is not None:
            options.append((Option.REMOTE_ID, self._ways.remote))
        relay = Relay(hops, link, datagram.src, tuple(options))
        return build_relay(Type.RELAY_FORW, relay, payload)

    def _remember(self, port: str, datagram: Datagram6) -> None:
        """Which station an address is: answers name the address only."""
        self._stations[port, datagram.src] = datagram.src_mac
        self._stations.move_to_end((port, datagram.src))
        if len(self._stations) > _MOST_STATIONS:
            self._stations.popitem(last=False)

    def down(self) -> None:
        """Hand on what servers have sent."""
        for _ in range(_GROUP):
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return
            self._deliver(data)

    def _deliver(self, data: bytes) -> None:
        try:
            kind, relay, payload = parse_relay(data)
        except Malformed:
            self.counted["malformed"] += 1
            return
        port = (relay.get(Option.INTERFACE_ID) or b"").decode(errors="replace")
        station = self._stations.get((port, relay.peer))
        if kind is not Type.RELAY_REPL or station is None or not payload:
            self.counted["ignored"] += 1
            return
        self.counted["answers"] += 1
        is_agents = payload[0] == Type.RELAY_REPL
        ends = link_local(self._ways.mac), relay.peer
        ports = SERVER_PORT, SERVER_PORT if is_agents else CLIENT_PORT
        datagram = Datagram6(self._ways.mac, station, *ends, *ports, payload)
        self._send(self._ways.stages[port], build_udp6(datagram))
