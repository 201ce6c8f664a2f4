"""The service of a function `dns`: a Linux stack at its addresses, and a name server on that."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dns.name
from dns.name import Name

from nfv.chain import names
from nfv.chain.fields import Network
from nfv.chain.graph import SERVICE, entries
from nfv.chain.path import Attachment
from nfv.chain.topology import Topology
from nfv.dataplane.wiring import HEADER_SIZE, service_mtu
from nfv.errors import KernelError
from nfv.functions.dns import Dns
from nfv.services import registration
from nfv.services.base import Answer, Place, Request, Service
from nfv.services.dns import directory
from nfv.services.dns.authority import Authority
from nfv.services.dns.clients import EVERYBODY, covers
from nfv.services.dns.config import ForwardConfig, ZoneConfig
from nfv.services.dns.datagrams import MIN_MTU, Datagram, Reader
from nfv.services.dns.history import History
from nfv.services.dns.holdings import Holdings
from nfv.services.dns.hosts import Hosts
from nfv.services.dns.listener import Listener
from nfv.services.dns.maps import FastPath
from nfv.services.dns.orders import Orders, is_order
from nfv.services.dns.recursion import clients, local_zones, recursion
from nfv.services.dns.responder import Answer as Reply
from nfv.services.dns.responder import Recursion, Responder
from nfv.services.dns.secondaries import Notifier, keys_of, secondaries_of
from nfv.services.dns.signatures import Keys
from nfv.services.dns.transfer import Secondaries
from nfv.services.dns.zone import Zone
from nfv.services.frames import Frame, answers_at
from nfv.services.stack import Stack

_PAUSE = 0.25  # seconds between changes of the directory


class DnsService(Service):
    """Runs the name server of one function."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._stack: Stack | None = None
        self._mac = ""
        self._reader: Reader | None = None  # of datagrams that need no stack
        self._replies: set[asyncio.Task[None]] = set()
        self._listeners: dict[str, Listener] = {}
        self._fast: FastPath | None = None
        self._views: list[tuple[Sequence[Network], Responder]] = []  # the first counts
        self._divided: list[Mapping[Name, Zone]] = []  # zones of each view
        self._recursion: Recursion | None = None
        self._forward: tuple[ForwardConfig | None, str | None] | None = None  # and certificates
        self._queries = 0
        self._topology: Topology | None = None
        self._hosts = Hosts()
        self._publishing: asyncio.TimerHandle | None = None
        self._published = 0.0
        self._serial = 0
        self._secret = secrets.randbits(64), secrets.randbits(64)
        self._holdings = Holdings(place, self._socket, self._publish)
        self._directory: list[Zone] = []
        self._local: list[Zone] = []
        self._history = History()
        self._notifier = Notifier(self._socket, place.log)
        self._orders: Orders | None = None

    def configure(self, topology: Topology) -> None:
        function = topology.vnfs[self._place.function]
        assert isinstance(function, Dns)
        self._set_up_stack(topology, function)
        self._set_up_recursion(topology, function)
        former, self._fast = self._fast, FastPath(self._place, function, self._mac, self._secret)
        if former is not None:
            former.close()
        assert self._stack is not None
        self._topology = topology
        self._serial = max(int(time.time()), self._serial + 1)
        self._local = list(local_zones(function))
        self._divided = [
            _numbered(function.views[name], view.zones, self._serial)
            for name, view in function.config.views.items()
        ]
        self._holdings.configure(function, keys_of(function), self._serial)
        self._renew_directory()
        self._listen([str(address.ip) for address in function.addresses])

    def receive(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            try:
                self._take(frame)
            except Exception as error:  # others' frames are to be answered all the same
                self._place.log("error", f"a frame failed: {error!r}: {frame.data.hex()}")

    def _take(self, frame: Frame) -> None:
        asked = self._reader.read(frame.data) if self._reader else None
        if asked is None:
            assert self._stack is not None
            self._stack.deliver(answers_at(frame.stage), frame.data)
        else:
            self._reply(asked, answers_at(frame.stage))

    def _reply(self, asked: Datagram, back: int) -> None:
        """Answer a datagram, at once or as soon as others have."""
        answer = self._respond(asked.message, asked.client, False)
        if isinstance(answer, bytes):
            self._place.send(back, asked.answered(answer))
        elif isinstance(answer, Awaitable):
            task = asyncio.get_running_loop().create_task(self._reply_later(asked, back, answer))
            self._replies.add(task)
            task.add_done_callback(self._replies.discard)

    async def _reply_later(self, asked: Datagram, back: int, answer: Awaitable[bytes]) -> None:
        self._place.send(back, asked.answered(await answer))

    def status(self) -> Answer:
        prepared = self._fast.prepared if self._fast else None
        found: dict[str, object] = {"queries": self._queries, "prepared": prepared}
        if self._recursion is not None:
            found.update(self._recursion.forwarder.status())
        if copies := self._holdings.status():
            found["copies"] = copies
        return found

    def requests(self) -> Mapping[str, Request]:
        return {registration.REQUEST: self._take_in}

    def namespace(self) -> int | None:
        return self._stack.namespace if self._stack else None

    async def close(self) -> None:
        if self._publishing is not None:
            self._publishing.cancel()
        for task in self._replies:
            task.cancel()
        self._notifier.close()
        self._holdings.close()
        for listener in self._listeners.values():
            listener.close()
        if self._fast is not None:
            self._fast.close()
        if self._stack is not None:
            self._drop_stack()

    def _renew_directory(self) -> None:
        """Have the directory as the hosts are at this moment."""
        assert self._topology is not None
        self._publishing, self._published = None, time.monotonic()
        self._directory = self._named(self._topology, self._function)
        self._publish()

    def _publish(self) -> None:
        """Answer from the zones as they are at this moment."""
        assert self._fast is not None
        function = self._function
        keys = keys_of(function)
        secondaries = secondaries_of(function, keys, self._history)
        own = {zone.origin: zone for zone in (*self._directory, *self._holdings.zones())}
        self._orders = Orders(self._holdings, keys)
        self._views = [
            (
                view.clients,
                self._responder(self._authority({**own, **zones}), secondaries, keys),
            )
            for view, zones in zip(function.config.views.values(), self._divided, strict=True)
        ]
        authority = self._authority(own)
        self._views.append((EVERYBODY, self._responder(authority, secondaries, keys)))
        self._fast.begin(authority)
        if secondaries is not None:
            for zone in own.values():
                self._history.note(zone)
            self._notifier.tell(own.values(), secondaries)

    def _authority(self, zones: Mapping[Name, Zone]) -> Authority:
        """What is told of zones to those who are told of these."""
        missing = [origin for origin in self._holdings.missing() if origin not in zones]
        divided = {origin for view in self._divided for origin in view}
        is_recursive = self._recursion is not None
        return Authority(
            [*self._local, *zones.values()], missing, divided, is_recursive=is_recursive
        )

    def _responder(
        self, authority: Authority, secondaries: Secondaries | None, keys: Keys
    ) -> Responder:
        assert self._fast is not None
        return Responder(
            authority, self._fast.keep, self._recursion, secondaries, keys, self._secret
        )

    @property
    def _function(self) -> Dns:
        assert self._topology is not None
        function = self._topology.vnfs[self._place.function]
        assert isinstance(function, Dns)
        return function

    def _named(self, topology: Topology, function: Dns) -> list[Zone]:
        """The directory's zones.

        Nobody can take a name or an address that the topology itself has.
        """
        zone = dns.name.from_text(function.config.zone)
        server = dns.name.from_text(function.name, zone)
        own = list(directory.hosts(topology, zone))
        taken = {name for name, _ in own} | {address.ip for _, address in own}
        subnets = [address for _, address in own]
        told = [
            (name, address)
            for name, address in self._hosts.below(zone, subnets)
            if not taken & {name, address.ip}
        ]
        return directory.zones([*own, *told], zone, server, self._serial)

    def _take_in(self, request: Mapping[str, Any]) -> Answer:
        """Hosts that came or went: at once, unless many do."""
        if self._hosts.take_in(request) and self._publishing is None:
            self._serial = max(int(time.time()), self._serial + 1)
            wait = max(0.0, self._published + _PAUSE - time.monotonic())
            self._publishing = asyncio.get_running_loop().call_later(wait, self._renew_directory)
        return {}

    def _set_up_stack(self, topology: Topology, function: Dns) -> None:
        """Have the stack that the function's addresses need."""
        mac = function.config.mac or names.mac(topology.name, function.name)
        mtu = service_mtu(topology) - HEADER_SIZE
        if self._stack is not None and mac != self._mac:
            self._listen([])
            self._drop_stack()
        if self._stack is None:
            self._stack, self._mac = Stack(mac, mtu, self._place.send), mac
            asyncio.get_running_loop().add_reader(self._stack.fileno(), self._stack.forward)
        addresses = [address.ip for address in function.addresses]
        self._reader = Reader(mac, addresses) if mtu >= MIN_MTU else None
        walks = entries(topology)[Attachment(function.name, SERVICE)].walks
        self._stack.configure(function.addresses, function.config.gateway, range(len(walks)))

    def _set_up_recursion(self, topology: Topology, function: Dns) -> None:
        """Have a forwarder, which keeps what it knows as long as its configuration is the same."""
        assert self._stack is not None
        forward = function.config.forward, function.certificates
        if self._recursion is not None and forward == self._forward:
            self._recursion = replace(self._recursion, clients=clients(topology, function))
            return
        if self._recursion is not None:
            self._recursion.forwarder.close()
        self._recursion = recursion(topology, function, self._socket)
        self._forward = forward

    def _drop_stack(self) -> None:
        assert self._stack is not None
        self._forward = None  # who was to be asked by that stack
        asyncio.get_running_loop().remove_reader(self._stack.fileno())
        self._stack.close()
        self._stack = None

    def _listen(self, addresses: Sequence[str]) -> None:
        """Serve at these addresses and no others."""
        assert self._stack is not None
        for address in set(self._listeners) - set(addresses):
            self._listeners.pop(address).close()
        for address in addresses:
            if address not in self._listeners:
                try:
                    listener = Listener(address, self._socket, self._respond)
                except OSError as error:
                    raise KernelError(f"cannot listen at {address}: {error.strerror}") from error
                self._listeners[address] = listener

    def _socket(self, family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
        """A socket of the stack as it is at this moment."""
        assert self._stack is not None
        return self._stack.socket(family, kind)

    def _respond(self, wire: bytes, client: str, is_stream: bool) -> Reply:
        assert self._orders is not None
        self._queries += 1
        if is_order(wire):
            return self._orders.take(wire, client)
        responder = next(one for clients, one in self._views if covers(clients, client))
        return responder.respond(wire, client, is_stream=is_stream)


def _numbered(
    zones: Mapping[Name, Zone], configs: Mapping[str, ZoneConfig], serial: int
) -> Mapping[Name, Zone]:
    """Zones, those without a number of their own with this one."""
    counted = {dns.name.from_text(name) for name, zone in configs.items() if zone.is_unnumbered}
    return {
        origin: zone.renumbered(serial) if origin in counted else zone
        for origin, zone in zones.items()
    }


def start(place: Place) -> DnsService:
    """The service, not yet configured."""
    return DnsService(place)
