"""The service of the function dhcp as a relay agent (RFC 1542, section 4; RFC 3046; RFC 9915).

What clients broadcast goes to the servers by UDP, from a Linux stack at the function's addresses.
Option 82 says which access point a message came from; the answer comes back with it, so nothing
has to be remembered of a message.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from nfv.chain import names
from nfv.chain.graph import SERVICE, Walk, entries
from nfv.chain.path import Attachment
from nfv.chain.topology import Topology
from nfv.dataplane import state
from nfv.dataplane.wiring import HEADER_SIZE, service_mtu
from nfv.functions.dhcp import Dhcp, DhcpConfig
from nfv.services.base import Answer, Place, Service
from nfv.services.dhcp.answers import CLIENT_PORT, SERVER_PORT
from nfv.services.dhcp.client import Client
from nfv.services.dhcp.links import ends4, ends6
from nfv.services.dhcp.wire import (
    BROADCAST,
    REPLY,
    REQUEST,
    Malformed,
    Message,
    Option,
    build,
    parse,
)
from nfv.services.dhcp6.own import show_link_local
from nfv.services.dhcp6.relay import RelayAgent, Ways
from nfv.services.dhcp6.wire import SERVER_PORT as DHCPV6_PORT
from nfv.services.frames import Frame, answers_at
from nfv.services.packets import BROADCAST_MAC, Datagram, build_udp, parse_udp
from nfv.services.packets6 import parse_udp6
from nfv.services.stack import Stack

_MAX_HOPS = 16  # RFC 1542, section 4.1.1
_ROOM = 1472  # bytes of a message on a link with an MTU of 1500
_CIRCUIT = 1  # sub-option of option 82
_GROUP = 64  # answers at most in one go
_ALL, _NONE = IPv4Address("255.255.255.255"), IPv4Address(0)


def start(place: Place) -> RelayService:
    """The service, not yet configured."""
    return RelayService(place)


class RelayService(Service):
    """Hands messages on between the clients at one function's tap and servers."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._config: DhcpConfig | None = None
        self._stack: Stack | None = None
        self._socket: socket.socket | None = None
        self._socket6: socket.socket | None = None
        self._agent6: RelayAgent | None = None
        self._mac = b""
        self._own: dict[int, IPv4Address] = {}  # address on the link behind each stage
        self._stages: dict[str, int] = {}  # by access point: where what is for it resumes
        self._ports: dict[int, str] = {}
        self._counted: Counter[str] = Counter()

    def configure(self, topology: Topology) -> None:
        function = topology.vnfs[self._place.function]
        assert isinstance(function, Dhcp)
        config = function.config
        mac = config.mac or names.mac(topology.name, function.name)
        packed = bytes.fromhex(mac.replace(":", ""))
        if self._stack is None or packed != self._mac:
            self._close()
            self._open(mac, service_mtu(topology) - HEADER_SIZE)
        assert self._stack is not None
        walks = entries(topology)[Attachment(function.name, SERVICE)].walks
        self._stack.configure(config.ip, config.gateway, range(len(walks)))
        self._mac, self._config = packed, config
        applied = state.load(self._place.topology)
        self._ports = {number: name for name, number in applied.ports.items()} if applied else {}
        self._stages = {str(walk.end): stage for stage, walk in enumerate(walks)}
        for stage, walk in enumerate(walks):
            near = ends4(topology, walk.chain)
            self._own[stage] = next(
                (own.ip for own in config.ip4 if any(end in own.network for end in near)),
                config.ip4[0].ip if config.ip4 else _NONE,
            )
        self._configure6(topology, config, walks)

    def _configure6(self, topology: Topology, config: DhcpConfig, walks: Sequence[Walk]) -> None:
        """DHCPv6 goes to those servers that have an IPv6 address."""
        assert self._agent6 is not None
        show_link_local(self._place.maps, self._mac)
        own = {}
        for walk in walks:
            near = ends6(topology, walk.chain)
            on_link = [one.ip for one in config.ip6 if any(end in one.network for end in near)]
            if config.ip6:
                own[str(walk.end)] = (on_link or [config.ip6[0].ip])[0]
        servers = [one for one in config.servers if isinstance(one, IPv6Address)]
        remote = config.ipv6.remote_id if config.ipv6 else None
        content = remote.enterprise.to_bytes(4, "big") + remote.value if remote else None
        self._agent6.configure(Ways(servers, own, self._stages, content, self._mac))

    def receive(self, frames: Sequence[Frame]) -> None:
        assert self._stack is not None
        for frame in frames:
            datagram6 = parse_udp6(frame.data)
            if datagram6 is not None and datagram6.dst.is_multicast and self._agent6 is not None:
                self._agent6.up(datagram6, self._ports.get(frame.ingress, ""))
                continue
            datagram = parse_udp(frame.data)
            if datagram is None or datagram.dst in self._own.values():
                self._stack.deliver(answers_at(frame.stage), frame.data)
            else:
                self._up(frame, datagram)

    def status(self) -> Answer:
        ipv6 = self._agent6.counted if self._agent6 else {}
        return {**self._counted, "ipv6": dict(ipv6)} if ipv6 else dict(self._counted)

    async def close(self) -> None:
        self._close()

    # To the servers

    def _up(self, frame: Frame, datagram: Datagram) -> None:
        assert self._config is not None
        assert self._socket is not None
        try:
            message = parse(datagram.payload)
        except Malformed:
            self._counted["malformed"] += 1
            return
        handed = self._handed_on(message, frame)
        if handed is None:
            self._counted["ignored"] += 1
            return
        self._counted["requests"] += 1
        for server in self._config.servers:
            if server.version != 4:
                continue
            try:
                self._socket.sendto(build(handed, _ROOM), (str(server), SERVER_PORT))
            except OSError:  # no route, or too much at once: lost as on a wire
                self._counted["unreachable"] += 1

    def _handed_on(self, message: Message, frame: Frame) -> Message | None:
        """A client's message as the servers get it; None if it must not be handed on."""
        if message.op != REQUEST or message.hops >= _MAX_HOPS:
            return None
        if int(message.giaddr):
            return replace(message, hops=message.hops + 1)
        port = self._ports.get(frame.ingress, "")
        if Option.AGENT in message.options or port not in self._stages:
            return None  # RFC 3046, section 2.1: no client may say where it is
        circuit = port.encode()
        agent = bytes((_CIRCUIT, len(circuit))) + circuit
        return replace(
            message,
            hops=message.hops + 1,
            giaddr=self._own[frame.stage],
            options={**message.options, Option.AGENT: agent},
        )

    # To the clients

    def _down(self) -> None:
        """Hand on what servers have sent."""
        assert self._socket is not None
        for _ in range(_GROUP):
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return
            try:
                message = parse(data)
            except Malformed:
                self._counted["malformed"] += 1
                continue
            self._deliver(message)

    def _deliver(self, message: Message) -> None:
        """Send an answer to its client, at the access point that it names (RFC 3046, 2.2)."""
        circuit = Client(message).agent.get(_CIRCUIT, b"").decode(errors="replace")
        stage = self._stages.get(circuit)
        if message.op != REPLY or stage is None or len(message.chaddr) != len(self._mac):
            self._counted["ignored"] += 1
            return
        self._counted["answers"] += 1
        to = message.yiaddr if int(message.yiaddr) else message.ciaddr
        is_broadcast = message.flags & BROADCAST or not int(to)
        options = {code: held for code, held in message.options.items() if code != Option.AGENT}
        own = message.giaddr, _ALL if is_broadcast else to
        macs = self._mac, BROADCAST_MAC if is_broadcast else message.chaddr
        payload = build(replace(message, options=options), _ROOM)
        datagram = Datagram(*macs, *own, SERVER_PORT, CLIENT_PORT, payload)
        self._place.send(stage, build_udp(datagram))

    # The stack

    def _open(self, mac: str, mtu: int) -> None:
        loop = asyncio.get_running_loop()
        self._stack = Stack(mac, mtu, self._place.send)
        self._socket = self._stack.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("", SERVER_PORT))
        loop.add_reader(self._stack.fileno(), self._stack.forward)
        self._socket6 = self._stack.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._socket6.bind(("", DHCPV6_PORT))
        self._agent6 = RelayAgent(self._socket6, self._place.send)
        loop.add_reader(self._socket.fileno(), self._down)
        loop.add_reader(self._socket6.fileno(), self._agent6.down)

    def _close(self) -> None:
        loop = asyncio.get_running_loop()
        for opened in (self._socket, self._socket6):
            if opened is not None:
                loop.remove_reader(opened.fileno())
                opened.close()
        if self._stack is not None:
            loop.remove_reader(self._stack.fileno())
            self._stack.close()
        self._socket = self._socket6 = self._stack = self._agent6 = None
