"""The dhcp function's service: from frames to the server and back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Network, ip_network
from typing import Any

from nfv.chain import names
from nfv.chain.fields import Address
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
from nfv.services.dhcp.answers import Answer as ServerAnswer
from nfv.services.dhcp.events import Events, document
from nfv.services.dhcp.leases import KIND4, AnyLease, Lease4, Leases4, State
from nfv.services.dhcp.links import ends4
from nfv.services.dhcp.plan import Plan
from nfv.services.dhcp.probes import Probes
from nfv.services.dhcp.repeats import MOST, Repeats, Said
from nfv.services.dhcp.server import Asked, Server
from nfv.services.dhcp.wire import Malformed, Option, Type, build, parse
from nfv.services.dhcp6.endpoint import Endpoint
from nfv.services.dhcp6.endpoint import Reply as Reply6
from nfv.services.frames import Frame, answers_at
from nfv.services.packets import ETHERNET, IPV4, UDP, Datagram, build_udp, parse_udp
from nfv.services.packets6 import ETH_P_IPV6
from nfv.services.registration import Host, Registration

HEADERS = ETHERNET.size + IPV4.size + UDP.size

STORE = "leases.sqlite"
EVENTS = "events.jsonl"

_IPV6 = ETH_P_IPV6.to_bytes(2, "big")

_INTERVAL = 1.0  # seconds between looks at what has run out, and what was renewed
_SOON = 0.02  # if much has run out


def start(place: Place) -> DhcpService:
    """The service of a function. Raises `NfvError` if its leases cannot be read."""
    return DhcpService(place)


@dataclass(frozen=True)
class _Reply:
    """An answer that waits until the leases are on the disk, and what it answers."""

    frame: Frame
    datagram: Datagram
    answer: ServerAnswer

    @property
    def address(self) -> IPv4Address:
        return self.answer.message.yiaddr


class DhcpService(Service):
    """Serves DHCPv4, and DHCPv6 if that is declared, at one function's tap."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._clock = Clock()
        self._leases = Leases4(place.data / STORE, KIND4)
        self._six = Endpoint(place, STORE, self._clock)
        self._events = Events(place.data / EVENTS)
        self._server: Server | None = None
        self._registration: Registration | None = None
        self._own: frozenset[IPv4Address] = frozenset()
        self._mac = b""
        self._chains: list[str] = []  # by stage
        self._ports: dict[int, str] = {}
        self._repeats: Repeats | None = None  # None: no program has the maps
        self._probes = Probes(self._give)
        self._probe = 0.0  # seconds that a probe takes
        self._plan: Plan | None = None
        self._timer = asyncio.get_running_loop().call_later(_INTERVAL, self._attend)

    def configure(self, topology: Topology) -> None:
        function = topology.vnfs[self._place.function]
        assert isinstance(function, Dhcp)
        stages = entries(topology)[Attachment(function.name, SERVICE)].walks
        self._chains = [walk.chain for walk in stages]
        applied = state.load(self._place.topology)
        self._ports = {number: name for name, number in applied.ports.items()} if applied else {}
        mac = function.config.mac or names.mac(topology.name, function.name)
        self._mac = bytes.fromhex(mac.replace(":", ""))
        self._own = frozenset(address.ip for address in function.config.ip4)
        self._register(topology.name, function.config.name_server)
        plan = Plan(function.config, {chain: ends4(topology, chain) for chain in self._chains})
        self._plan, self._probe = plan, function.config.probe / 1000
        if self._server is None:
            self._server = Server(plan, self._leases, self._clock)
        else:
            self._server.configure(plan)
        self._six.configure(topology, function.config, self._chains, self._mac)
        self._take_over()

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
        for lease6 in self._six.leases:
            if lease6.state is State.BOUND and lease6.hostname:
                yield lease6.hostname, lease6.address.network_address

    def receive(self, frames: Sequence[Frame]) -> None:
        replies: list[_Reply | Reply6] = []
        for frame in frames:
            try:
                reply = self._take(frame)
            except Exception as error:  # others' frames are to be answered all the same
                self._place.log("error", f"a frame failed: {error!r}: {frame.data.hex()}")
                continue
            if reply is not None:
                replies.append(reply)
        former = {lease.address: before for before, lease in self._leases.changes()}
        if self._commit():
            for one in replies:
                if isinstance(one, Reply6):
                    self._place.send(one.stage, one.frame)
                elif self._is_to_be_probed(one, former):
                    self._begin_probe(one)
                else:
                    self._give(one)
                    self._remember(one, former)

    def _give(self, reply: _Reply) -> None:
        self._place.send(answers_at(reply.frame.stage), self._frame(reply.answer))

    def status(self) -> Answer:
        states = [lease.state for lease in (*self._leases, *self._six.leases)]
        counted = Counter(self._server.counted if self._server else {})
        counted.update(self._six.counted)
        return {kind.value: states.count(kind) for kind in State} | {"messages": dict(counted)}

    def requests(self) -> Mapping[str, Request]:
        return {"list": self._list, "release": self._release}

    async def close(self) -> None:
        if self._registration is not None:
            self._registration.close()
        self._timer.cancel()
        self._probes.close()
        if self._repeats:
            self._repeats.close()
        self._events.close()
        self._leases.close()
        self._six.leases.close()

    # Messages

    def _take(self, frame: Frame) -> _Reply | Reply6 | None:
        """Treat a frame; what it is answered with must wait for the leases."""
        if frame.data[12:14] == _IPV6:
            return self._six.take(frame, self._chain(frame), self._ports.get(frame.ingress, ""))
        datagram = parse_udp(frame.data)
        if datagram is None:
            answer = neighbours.answer(frame.data, self._own, self._mac)
            if answer:
                self._place.send(answers_at(frame.stage), answer)
            return self._hear(frame)
        if datagram.dport != SERVER_PORT:
            return None
        reply = self._treat(frame, datagram)
        return _Reply(frame, datagram, reply) if reply else None

    def _treat(self, frame: Frame, datagram: Datagram) -> ServerAnswer | None:
        assert self._server is not None
        try:
            message = parse(datagram.payload)
        except Malformed:
            self._server.counted["malformed"] += 1
            return None
        port = self._ports.get(frame.ingress, "")
        return self._server.handle(Asked(message, self._chain(frame), port, datagram.src_mac))

    def _chain(self, frame: Frame) -> str:
        return self._chains[frame.stage] if frame.stage < len(self._chains) else ""

    def _frame(self, answer: ServerAnswer) -> bytes:
        return self._framed(answer, build(answer.message, answer.room))

    def _framed(self, answer: ServerAnswer, message: bytes) -> bytes:
        ports = SERVER_PORT, answer.dport
        ends = self._mac, answer.dst_mac, answer.server, answer.dst
        return build_udp(Datagram(*ends, *ports, message))

    # Probes

    def _is_to_be_probed(self, reply: _Reply, former: Mapping[IPv4Address, Lease4 | None]) -> bool:
        """Whether an answer offers an address that its client does not have already."""
        message = reply.answer.message
        is_offer = message.type is Type.OFFER or Option.RAPID_COMMIT in message.options
        if not self._probe or not is_offer or int(message.giaddr):
            return False
        before = former.get(reply.address, self._leases.at(reply.address))
        return before is None or before.state is not State.BOUND

    def _begin_probe(self, reply: _Reply) -> None:
        """Ask the client's link who has the address; the answer waits."""
        assert self._plan is not None
        message = reply.answer.message
        if not self._probes.begin(message.yiaddr, message.chaddr, reply, self._probe):
            return
        asked = neighbours.request(reply.answer.server, self._mac, message.yiaddr)
        link = self._plan.link_on(self._chain(reply.frame))
        for stage, chain in enumerate(self._chains):
            if self._plan.link_on(chain) is link:
                self._place.send(stage, asked)

    def _hear(self, frame: Frame) -> _Reply | None:
        """An answer to a probe: the client is offered another address."""
        assert self._server is not None
        found = neighbours.holder(frame.data)
        reply = self._probes.heard(*found) if found else None
        if reply is None:
            return None
        self._server.found_in_use(reply.address)
        answer = self._treat(reply.frame, reply.datagram)
        return _Reply(reply.frame, reply.datagram, answer) if answer else None

    # Leases

    def _commit(self) -> bool:
        """Bring changed leases to the disk; False if that failed, and nothing has changed."""
        for before, lease in self._leases.changes():
            if before and not _is_same(before, lease):
                self._revoke(lease)
        try:
            changed6 = self._six.leases.commit()
            changed = self._leases.commit()
        except NfvError as error:
            self._place.log("error", error.message)
            return False
        self._events.note(self._clock(), [*changed6, *changed])
        for _, lease6 in changed6:
            self._tell(lease6, lease6.address.network_address)
        for _, lease in changed:
            self._tell(lease, lease.address)
            if self._repeats and lease.state is State.BOUND and lease.held > lease.ends:
                seconds = round(lease.held - lease.ends)
                self._repeats.hold(lease.address, self._clock.boot(lease.held), seconds)
        return True

    def _tell(self, lease: AnyLease, address: Address) -> None:
        """Tell the name server of a change of a lease."""
        if self._registration and lease.hostname and lease.state is not State.OFFERED:
            self._registration.note((lease.hostname, address), lease.state is State.BOUND)

    def _attend(self) -> None:
        if self._server:
            self._note_renewed()
        self._expire()

    def _expire(self) -> None:
        """Free what has run out; messages come first if that is much."""
        is_behind = False
        if self._server:
            self._server.expire(self._revoke)
            self._six.expire()
            now = self._clock()
            parts = self._leases.is_behind(now), self._six.leases.is_behind(now)
            is_behind = self._commit() and any(parts)
        again, seconds = (self._expire, _SOON) if is_behind else (self._attend, _INTERVAL)
        self._timer = asyncio.get_running_loop().call_later(seconds, again)

    # The fast path

    def _take_over(self) -> None:
        """Begin with the maps as they are; answers given so far may be out of date."""
        if self._repeats:
            self._repeats.close()
        self._repeats = Repeats.open(self._place.maps)
        for lease in self._leases:
            is_known = self._repeats is not None and lease.address in self._repeats
            if lease.state is State.BOUND and lease.held > lease.ends and not is_known:
                # The machine has started again: nobody knows when it was promised last.
                self._leases.put(replace(lease, ends=lease.held))
        self._note_renewed()
        self._commit()

    def _note_renewed(self) -> None:
        """Bring into the leases what the fast path has promised."""
        assert self._server is not None
        for address, moment, seconds in self._repeats.renewed() if self._repeats else ():
            self._server.renewed(address, self._clock.moment(moment), seconds)

    def _revoke(self, lease: Lease4) -> float:
        """Have the fast path promise an address no more; until when it, or the lease, did."""
        found = self._repeats.revoke(lease.address) if self._repeats else None
        if found is None:
            return lease.ends
        moment, seconds = found
        return max(lease.ends, self._clock.moment(moment) + seconds) if moment else lease.ends

    def _remember(self, reply: _Reply, former: Mapping[IPv4Address, Lease4 | None]) -> None:
        """Have the fast path give an answer again, if it is about a lease that was there before."""
        answer = reply.answer
        address = answer.message.yiaddr
        lease = self._leases.at(address)
        if self._repeats is None or lease is None or address not in self._repeats:
            return
        before = former.get(address, lease)
        if int(answer.message.giaddr) or before is None or not _is_same(before, lease):
            return
        seconds = answer.message.options.get(Option.LEASE_TIME, b"")
        message = build(replace(answer.message, xid=0), answer.room)
        message = message.ljust(-(-(len(message) + HEADERS) // 8) * 8 - HEADERS, b"\0")
        if len(message) <= min(answer.room, MOST):
            said = Said(
                reply.frame.stage,
                reply.datagram.src_mac,
                reply.datagram.payload,
                self._framed(answer, message),
                address,
                int.from_bytes(seconds, "big"),
                answer.message.type is Type.ACK,
            )
            self._repeats.remember(said)

    def _list(self, _request: Mapping[str, Any]) -> Answer:
        """All leases, by address."""
        self._note_renewed()
        self._commit()
        four = sorted(self._leases, key=lambda lease: lease.address)
        six = sorted(self._six.leases, key=lambda lease: lease.address)
        return {"rows": [*map(document, four), *map(document, six)]}

    def _release(self, request: Mapping[str, Any]) -> Answer:
        assert self._server is not None
        try:
            network = ip_network(str(request.get("ip")))
        except ValueError as error:
            raise InputError(f"{error}", "write ip=ADDRESS, or ip=PREFIX") from error
        released: AnyLease | None
        if isinstance(network, IPv6Network):
            released = self._six.release(network)
        else:
            released = self._server.release(network.network_address)
        if released is None:
            raise InputError(f"there is no lease of {request['ip']} in force")
        if not self._commit():
            raise NfvError("the lease store cannot be written")
        return {"rows": [document(released)]}


def _is_same(before: Lease4, lease: Lease4) -> bool:
    """Whether a client that had a lease still has it."""
    bound = before.state is State.BOUND and lease.state is State.BOUND
    return bound and before.client == lease.client
