"""What a server does with a message (RFC 2131, section 4.3): a lease changes, an answer is made.

Nothing here waits, writes or sends. The answers of a group of messages may leave once the leases
are committed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from nfv.functions.dhcp import Reservation
from nfv.services.dhcp import answers
from nfv.services.dhcp.allocation import Allocation
from nfv.services.dhcp.answers import Answer
from nfv.services.dhcp.client import Client
from nfv.services.dhcp.leases import Lease, Lease4, Leases4, State
from nfv.services.dhcp.plan import Link, Place, Plan
from nfv.services.dhcp.wire import ETHERNET, REQUEST, Message, Option, Type

OFFER_LIFE = 30.0
"""Seconds that an offered address is kept for the client."""

HOLD = 2
"""Lease times that an address is kept for, so that the fast path can promise it again."""

_NONE = IPv4Address(0)


@dataclass(frozen=True)
class Asked:
    """A message and how it came."""

    message: Message
    chain: str
    port: str  # access point where it entered
    source: bytes  # MAC address of the frame


@dataclass(frozen=True)
class _Case:
    """A message with all that was looked up for it."""

    asked: Asked
    client: Client
    link: Link
    classes: Sequence[str]
    port: str  # that its leases count at

    @property
    def message(self) -> Message:
        return self.asked.message


class _Unanswered(Exception):
    """A message that is not answered, and why."""


class Server:
    """The server of one function."""

    def __init__(self, plan: Plan, leases: Leases4, clock: Callable[[], float]) -> None:
        self._plan = plan
        self._leases = leases
        self._clock = clock
        self._allocation = Allocation(leases)
        self.counted: Counter[str] = Counter()  # messages by type, and what was not answered, why

    def configure(self, plan: Plan) -> None:
        """Take over a configuration. Leases stay, also those that no pool has any more."""
        self._plan = plan
        self._allocation.spares.forget()

    def expire(self, promised: Callable[[Lease4], float]) -> None:
        """Free what has run out; `promised` is as for `Leases.expire`."""
        for lease in self._leases.expire(self._clock(), promised):
            self._allocation.spares.give_back(lease)

    def renewed(self, address: IPv4Address, moment: float, seconds: int) -> None:
        """The fast path has promised an address to its client once more."""
        lease = self._leases.at(address)
        if lease is not None and lease.state is State.BOUND and moment + seconds > lease.ends:
            self._leases.put(replace(lease, ends=moment + seconds, held=moment + HOLD * seconds))
            self.counted["repeated"] += 1

    def release(self, address: IPv4Address) -> Lease4 | None:
        """Free an address by hand; return its lease, None if there is none in force."""
        lease = self._leases.at(address)
        if lease is None or not lease.is_taken(self._clock()):
            return None
        self._free(lease)
        return lease

    def found_in_use(self, address: IPv4Address) -> None:
        """Somebody without a lease uses an address that was offered."""
        lease = self._leases.at(address)
        if lease is not None:
            self.counted["in use"] += 1
            self._quarantine(lease)

    def handle(self, asked: Asked) -> Answer | None:
        """Treat a message; None if it is not answered."""
        try:
            return self._handle(asked)
        except _Unanswered as why:
            self.counted[str(why)] += 1
            return None

    def _handle(self, asked: Asked) -> Answer | None:
        message = asked.message
        kind = message.type
        if message.op != REQUEST or kind is None:
            raise _Unanswered("not a request")
        self.counted[kind.name.lower()] += 1
        case = self._case(asked)
        handlers: Mapping[Type, Callable[[_Case], Answer | None]] = {
            Type.DISCOVER: self._discover,
            Type.REQUEST: self._request,
            Type.DECLINE: self._decline,
            Type.RELEASE: self._release,
            Type.INFORM: self._inform,
        }
        handler = handlers.get(kind)
        if handler is None:
            raise _Unanswered("not a request")
        return handler(case)

    def _case(self, asked: Asked) -> _Case:
        message = asked.message
        client = Client(message)
        if message.htype != ETHERNET or len(message.chaddr) != 6:
            raise _Unanswered("hardware address")
        relayed = bool(int(message.giaddr))
        link = self._link(asked, client)
        if link is None:
            raise _Unanswered("no subnet")
        is_near = not relayed and link is self._plan.link_on(asked.chain)  # through no router
        if is_near and asked.source != message.chaddr:
            raise _Unanswered("hardware address")  # of another station than it came from
        port = str(message.giaddr) if relayed else asked.port
        return _Case(asked, client, link, self._plan.classes(client), port)

    def _link(self, asked: Asked, client: Client) -> Link | None:
        """Where the client is: as a relay agent says, by the chain, or by the address it has."""
        named = client.link
        if named is not None:
            return self._plan.link_with(named)
        link, ciaddr = self._plan.link_on(asked.chain), asked.message.ciaddr
        if int(ciaddr) and (link is None or link.place_of(ciaddr) is None):
            return self._plan.link_with(ciaddr) or link  # it came through a router
        return link

    # Messages ------------------------------------------------------------------------------------

    def _discover(self, case: _Case) -> Answer | None:
        now = self._clock()
        wanted = case.message.address(Option.REQUESTED_ADDRESS)
        found = self._allocation.choose(case.link, case.client, case.classes, wanted, now)
        if found is None:
            raise _Unanswered("no free address")
        place, address = found
        if not self._has_room(case, address):
            raise _Unanswered("too many leases")
        if self._plan.config.rapid_commit and Option.RAPID_COMMIT in case.message.options:
            return self._grant(case, place, address, {Option.RAPID_COMMIT: b""})
        former = self._held(case, address)
        if former is None or former.state is State.OFFERED:
            self._leases.put(self._lease(case, address, State.OFFERED, now, OFFER_LIFE))
        return self._answer(case, place, Type.OFFER, address)

    def _request(self, case: _Case) -> Answer | None:
        message = case.message
        server = message.address(Option.SERVER_ID)
        wanted = message.address(Option.REQUESTED_ADDRESS)
        if Option.SERVER_ID in message.options:
            if server not in self._plan.own:
                self._lose(case)
            return self._select(case, wanted or message.ciaddr)
        if wanted is not None and not int(message.ciaddr):
            return self._reboot(case, wanted)
        if int(message.ciaddr):
            return self._extend(case, message.ciaddr)
        raise _Unanswered("without an address")

    def _select(self, case: _Case, address: IPv4Address) -> Answer | None:
        """SELECTING: the client takes our offer."""
        place = case.link.place_of(address)
        if place is None or not self._may_have(case, place, address):
            return self._refuse(case, "address not available")
        if not self._has_room(case, address):
            raise _Unanswered("too many leases")
        return self._grant(case, place, address)

    def _reboot(self, case: _Case, address: IPv4Address) -> Answer | None:
        """INIT-REBOOT: the client asks whether what it had still holds (section 4.3.2)."""
        place = case.link.place_of(address)
        if place is None:
            return self._refuse_foreign(case)
        known = [lease for lease in self._leases.of(case.client.key) if lease.address in place]
        if not known and case.link.reservation(case.client) is None:
            raise _Unanswered("unknown client")
        if not self._may_have(case, place, address) or not (
            any(lease.address == address for lease in known) or self._reserved(case, address)
        ):
            return self._refuse(case, "another address is the client's")
        return self._grant(case, place, address)

    def _extend(self, case: _Case, address: IPv4Address) -> Answer | None:
        """RENEWING or REBINDING."""
        place = case.link.place_of(address)
        if place is None:
            return self._refuse_foreign(case)
        lease = self._leases.at(address)
        if lease is None and not self._reserved(case, address):
            raise _Unanswered("unknown client")
        if lease is not None and lease.client != case.client.key and lease.is_taken(self._clock()):
            return self._refuse(case, "address is another client's")
        if not self._may_have(case, place, address):
            raise _Unanswered("not in a pool any more")  # the lease runs out
        return self._grant(case, place, address)

    def _decline(self, case: _Case) -> None:
        address = case.message.address(Option.REQUESTED_ADDRESS)
        lease = self._leases.at(address) if address else None
        if not self._is_for_us(case) or lease is None or lease.client != case.client.key:
            raise _Unanswered("not the client's")
        if lease.state is not State.BOUND:
            raise _Unanswered("not the client's")
        self._quarantine(lease)

    def _release(self, case: _Case) -> None:
        lease = self._leases.at(case.message.ciaddr)
        if not self._is_for_us(case) or lease is None or lease.client != case.client.key:
            raise _Unanswered("not the client's")
        if lease.state is State.BOUND:
            self._free(lease)
        return

    def _inform(self, case: _Case) -> Answer | None:
        """The client has an address, and wants to be told the rest (section 4.3.5)."""
        place = case.link.place_of(case.message.ciaddr)
        if place is None:
            raise _Unanswered("no subnet")
        return self._answer(case, place, Type.ACK, None)

    # Leases --------------------------------------------------------------------------------------

    def _is_for_us(self, case: _Case) -> bool:
        """Whether a message that is not answered names this server."""
        return case.message.address(Option.SERVER_ID) in self._plan.own

    def _held(self, case: _Case, address: IPv4Address) -> Lease4 | None:
        """The lease of an address, if it is in force and the client's."""
        lease = self._leases.at(address)
        is_held = lease and lease.client == case.client.key and lease.is_taken(self._clock())
        return lease if is_held else None

    def _has_room(self, case: _Case, address: IPv4Address) -> bool:
        """Whether one more lease may be given where the client is, if it has not got it yet."""
        taken = self._leases.taken(case.port)
        return taken < self._plan.config.limit or self._held(case, address) is not None

    def _reserved(self, case: _Case, address: IPv4Address) -> Reservation | None:
        """The reservation of an address for the client."""
        found = case.link.reservation(case.client)
        return found[1] if found and found[1].ip == address else None

    def _may_have(self, case: _Case, place: Place, address: IPv4Address) -> bool:
        if self._reserved(case, address):
            lease = self._leases.at(address)
            return (
                lease is None
                or lease.client == case.client.key
                or not lease.is_taken(self._clock())
            )
        return self._allocation.is_open(
            place, address, case.classes, case.client.key, self._clock()
        )

    def _lose(self, case: _Case) -> None:
        """The client takes another server's offer: ours is free again."""
        for lease in self._leases.of(case.client.key):
            if lease.state is State.OFFERED:
                self._free(lease)
        raise _Unanswered("another server's")

    def _free(self, lease: Lease4) -> None:
        self._allocation.spares.free(lease, self._clock())

    def _quarantine(self, lease: Lease4) -> None:
        self._leases.quarantine(lease, self._clock())

    def _lease(
        self, case: _Case, address: IPv4Address, state: State, now: float, life: float
    ) -> Lease4:
        message = case.message
        agent = message.options.get(Option.AGENT, b"")
        former = self._leases.at(address)
        repeats = state is State.BOUND and not int(message.giaddr)
        same = former is not None and former.client == case.client.key
        started = former.starts if former and same and former.state is state else now
        hostname = case.client.hostname
        reservation = self._reserved(case, address)
        if reservation and reservation.hostname:
            hostname = reservation.hostname
        return Lease(
            address,
            state,
            case.client.key,
            message.chaddr,
            hostname,
            agent,
            case.port,
            started,
            now + life,
            now + life * (HOLD if repeats else 1),
        )

    def _grant(
        self,
        case: _Case,
        place: Place,
        address: IPv4Address,
        more: dict[int, bytes] | None = None,
    ) -> Answer:
        """Bind an address, and say so. Others that the client has on the link are free."""
        seconds = self._seconds(case, place)
        lease = self._lease(case, address, State.BOUND, self._clock(), seconds)
        for other in self._leases.of(case.client.key):
            is_here = other.address != address and case.link.place_of(other.address) is not None
            if is_here and other.state in (State.OFFERED, State.BOUND):
                self._free(other)
        self._leases.put(lease)
        return self._answer(case, place, Type.ACK, address, more)

    def _seconds(self, case: _Case, place: Place) -> int:
        """How long a lease is to last: what the client asks for, within bounds."""
        wanted = case.message.options.get(Option.LEASE_TIME, b"")
        if len(wanted) != 4:
            return place.lease
        return max(60, min(int.from_bytes(wanted, "big"), place.lease_max))

    # Answers -------------------------------------------------------------------------------------

    def _answer(
        self,
        case: _Case,
        place: Place,
        kind: Type,
        address: IPv4Address | None,
        more: dict[int, bytes] | None = None,
    ) -> Answer:
        """An OFFER or ACK; without an address it is about options alone."""
        reservation = self._reserved(case, address) if address else None
        told = self._plan.answering(place, case.classes, reservation)
        own: dict[int, bytes] = dict(more or {})
        if address is not None:
            config = self._plan.config
            seconds = self._seconds(case, place)
            own.update(answers.times(seconds, config.renew, config.rebind))
        self.counted[kind.name.lower()] += 1
        return answers.positive(
            case.client, kind, place.server, address or _NONE, told, own, case.asked.source
        )

    def _refuse_foreign(self, case: _Case) -> Answer:
        """The client is on another link than where it had its address."""
        if not self._plan.config.authoritative:
            raise _Unanswered("wrong subnet")
        return self._refuse(case, "wrong subnet")

    def _refuse(self, case: _Case, why: str) -> Answer:
        self.counted["nak"] += 1
        return answers.negative(case.client, case.link.places[0].server, why, case.asked.source)
