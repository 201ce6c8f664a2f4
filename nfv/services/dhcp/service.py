"""The dhcp function's service: from frames to the server and back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Interface
from typing import Any

from nfv.chain import names
from nfv.chain.graph import SERVICE, entries
from nfv.chain.path import Attachment
from nfv.chain.topology import Topology
from nfv.dataplane import state
from nfv.errors import InputError, NfvError
from nfv.functions.dhcp import Dhcp
from nfv.services import neighbours
from nfv.services.base import Answer, Place, Request, Service
from nfv.services.clock import Clock
from nfv.services.dhcp.answers import SERVER_PORT
from nfv.services.dhcp.answers import Answer as Reply
from nfv.services.dhcp.events import Events, document
from nfv.services.dhcp.leases import Leases, State
from nfv.services.dhcp.plan import Plan
from nfv.services.dhcp.server import Asked, Server
from nfv.services.dhcp.wire import Malformed, build, parse
from nfv.services.frames import Frame, answers_at
from nfv.services.packets import Datagram, build_udp, parse_udp
from nfv.services.registration import Host, Registration

STORE = "leases.sqlite"
EVENTS = "events.jsonl"

_EXPIRY_INTERVAL = 1.0  # seconds


def start(place: Place) -> DhcpService:
    """The service of a function. Raises `NfvError` if its leases cannot be read."""
    return DhcpService(place)


class DhcpService(Service):
    """Serves DHCPv4 at one function's tap."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._clock = Clock()
        self._leases = Leases(place.data / STORE)
        self._events = Events(place.data / EVENTS)
        self._server: Server | None = None
        self._registration: Registration | None = None
        self._own: frozenset[IPv4Address] = frozenset()
        self._mac = b""
        self._chains: list[str] = []  # by stage
        self._ports: dict[int, str] = {}
        self._timer = asyncio.get_running_loop().call_later(_EXPIRY_INTERVAL, self._expire)

    def configure(self, topology: Topology) -> None:
        function = topology.vnfs[self._place.function]
        assert isinstance(function, Dhcp)
        stages = entries(topology)[Attachment(function.name, SERVICE)].walks
        self._chains = [walk.chain for walk in stages]
        applied = state.load(self._place.topology)
        self._ports = {number: name for name, number in applied.ports.items()} if applied else {}
        mac = function.config.mac or names.mac(topology.name, function.name)
        self._mac = bytes.fromhex(mac.replace(":", ""))
        self._own = frozenset(address.ip for address in function.config.ip)
        self._register(topology.name, function.config.name_server)
        plan = Plan(function.config, {chain: _ends(topology, chain) for chain in self._chains})
        if self._server is None:
            self._server = Server(plan, self._leases, self._clock)
        else:
            self._server.configure(plan)

    def _register(self, topology: str, server: str | None) -> None:
        """Tell a name server of the leases, or none."""
        if self._registration is not None:
            if self._registration.server == server:
                return
            self._registration.close()
            self._registration = None
        if server is not None:
            source = self._place.function
            self._registration = Registration(topology, server, source, self._bound)

    def _bound(self) -> Iterator[Host]:
        """The clients that have an address and a name."""
        for lease in self._leases:
            if lease.state is State.BOUND and lease.hostname:
                yield lease.hostname, lease.address

    def receive(self, frames: Sequence[Frame]) -> None:
        replies = []
        for frame in frames:
            datagram = parse_udp(frame.data)
            if datagram is None:
                answer = neighbours.answer(frame.data, self._own, self._mac)
                if answer:
                    self._place.send(answers_at(frame.stage), answer)
            elif datagram.dport == SERVER_PORT and (reply := self._treat(frame, datagram)):
                replies.append((answers_at(frame.stage), reply))
        if self._commit():
            for stage, reply in replies:
                self._place.send(stage, self._frame(reply))

    def status(self) -> Answer:
        states = [lease.state for lease in self._leases]
        counted = dict(self._server.counted) if self._server else {}
        return {kind.value: states.count(kind) for kind in State} | {"messages": counted}

    def requests(self) -> Mapping[str, Request]:
        return {"list": self._list, "release": self._release}

    async def close(self) -> None:
        if self._registration is not None:
            self._registration.close()
        self._timer.cancel()
        self._events.close()
        self._leases.close()

    # Messages

    def _treat(self, frame: Frame, datagram: Datagram) -> Reply | None:
        assert self._server is not None
        try:
            message = parse(datagram.payload)
        except Malformed:
            self._server.counted["malformed"] += 1
            return None
        chain = self._chains[frame.stage] if frame.stage < len(self._chains) else ""
        port = self._ports.get(frame.ingress, "")
        return self._server.handle(Asked(message, chain, port, datagram.src_mac))

    def _frame(self, reply: Reply) -> bytes:
        return build_udp(
            Datagram(
                self._mac,
                reply.dst_mac,
                reply.server,
                reply.dst,
                SERVER_PORT,
                reply.dport,
                build(reply.message, reply.room),
            )
        )

    # Leases

    def _commit(self) -> bool:
        """Bring changed leases to the disk; False if that failed, and nothing has changed."""
        try:
            changed = self._leases.commit()
        except NfvError as error:
            self._place.log("error", error.message)
            return False
        now = self._clock()
        for before, lease in changed:
            self._events.note(now, before, lease)
            if self._registration and lease.hostname and lease.state is not State.OFFERED:
                is_there = lease.state is State.BOUND
                self._registration.note((lease.hostname, lease.address), is_there)
        return True

    def _expire(self) -> None:
        if self._server:
            self._server.expire()
            self._commit()
        self._timer = asyncio.get_running_loop().call_later(_EXPIRY_INTERVAL, self._expire)

    def _list(self, _request: Mapping[str, Any]) -> Answer:
        """All leases, by address."""
        ordered = sorted(self._leases, key=lambda lease: lease.address)
        return {"rows": [document(lease) for lease in ordered]}

    def _release(self, request: Mapping[str, Any]) -> Answer:
        assert self._server is not None
        try:
            address = IPv4Address(str(request.get("ip")))
        except AddressValueError as error:
            raise InputError(f"{error}", "write ip=ADDRESS") from error
        lease = self._server.release(address)
        if lease is None:
            raise InputError(f"there is no lease of {address} in force")
        if not self._commit():
            raise NfvError("the lease store cannot be written")
        return {"rows": [document(lease)]}


def _ends(topology: Topology, chain: str) -> list[IPv4Address]:
    """The addresses that are declared at both ends of a chain."""
    found = []
    for end in topology.chains[chain].attachments:
        if end.interface is None:
            found += list(topology.saps[end.node].addresses)
        else:
            found += list(topology.vnfs[end.node].interfaces[end.interface].ip)
    return [address.ip for address in found if isinstance(address, IPv4Interface)]
