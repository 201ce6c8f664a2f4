"""The service of a function `dns`: a Linux stack at its addresses, and a name server on that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import dns.name

from nfv.chain import names
from nfv.chain.graph import SERVICE, entries
from nfv.chain.path import Attachment
from nfv.chain.topology import Topology
from nfv.dataplane.wiring import HEADER_SIZE, service_mtu
from nfv.errors import KernelError
from nfv.functions.dns import Dns
from nfv.services.base import Answer, Place, Service
from nfv.services.dns import directory
from nfv.services.dns.authority import Authority
from nfv.services.dns.listener import Listener
from nfv.services.dns.maps import FastPath
from nfv.services.dns.responder import Responder
from nfv.services.dns.zone import Zone
from nfv.services.frames import Frame, answers_at
from nfv.services.stack import Stack


class DnsService(Service):
    """Runs the name server of one function."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._stack: Stack | None = None
        self._mac = ""
        self._listeners: dict[str, Listener] = {}
        self._fast: FastPath | None = None
        self._responder: Responder | None = None
        self._queries = 0

    def configure(self, topology: Topology) -> None:
        function = topology.vnfs[self._place.function]
        assert isinstance(function, Dns)
        authority = Authority(_zones(topology, function))
        self._set_up_stack(topology, function)
        former, self._fast = self._fast, FastPath(self._place, function, self._mac)
        if former is not None:
            former.close()
        self._responder = Responder(authority, self._fast.keep)
        self._fast.prepare(authority)
        self._listen([str(address.ip) for address in function.addresses])

    def receive(self, frames: Sequence[Frame]) -> None:
        if self._stack is not None:
            for frame in frames:
                self._stack.deliver(answers_at(frame.stage), frame.data)

    def status(self) -> Answer:
        prepared = self._fast.prepared if self._fast else None
        return {"queries": self._queries, "prepared": prepared}

    async def close(self) -> None:
        for listener in self._listeners.values():
            listener.close()
        if self._fast is not None:
            self._fast.close()
        if self._stack is not None:
            self._drop_stack()

    def _set_up_stack(self, topology: Topology, function: Dns) -> None:
        """Have the stack that the function's addresses need."""
        mac = function.config.mac or names.mac(topology.name, function.name)
        if self._stack is not None and mac != self._mac:
            self._listen([])
            self._drop_stack()
        if self._stack is None:
            mtu = service_mtu(topology) - HEADER_SIZE
            self._stack, self._mac = Stack(mac, mtu, self._place.send), mac
            asyncio.get_running_loop().add_reader(self._stack.fileno(), self._stack.forward)
        walks = entries(topology)[Attachment(function.name, SERVICE)].walks
        self._stack.configure(function.addresses, function.config.gateway, range(len(walks)))

    def _drop_stack(self) -> None:
        assert self._stack is not None
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
                    listener = Listener(address, self._stack.socket, self._respond)
                except OSError as error:
                    raise KernelError(f"cannot listen at {address}: {error.strerror}") from error
                self._listeners[address] = listener

    def _respond(self, wire: bytes, _client: str, is_stream: bool) -> bytes | None:
        assert self._responder is not None
        self._queries += 1
        return self._responder.respond(wire, is_stream=is_stream)


def start(place: Place) -> DnsService:
    """The service, not yet configured."""
    return DnsService(place)


def _zones(topology: Topology, function: Dns) -> list[Zone]:
    """The zones of a function: those that were declared, and the directory's."""
    declared = function.zones
    zone = dns.name.from_text(function.config.zone)
    server = dns.name.from_text(function.name, zone)
    made = directory.zones(directory.hosts(topology, zone), zone, server, int(time.time()))
    return [*declared.values(), *(one for one in made if one.origin not in declared)]
