"""What a server does with a message (RFC 9915, section 18.3): leases change, an answer is made.

Nothing here waits, writes or sends. The answers of a group of messages may leave once the leases
are committed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv6Network

from nfv.services.dhcp.leases import Lease, Lease6, Leases6, State
from nfv.services.dhcp.server import OFFER_LIFE
from nfv.services.dhcp6.allocation import Allocation
from nfv.services.dhcp6.answers import answered, build_answer, refused
from nfv.services.dhcp6.client import Client
from nfv.services.dhcp6.plan import Link, Place, Plan
from nfv.services.dhcp6.wire import (
    Association,
    Granted,
    Malformed,
    Message,
    Option,
    Relay,
    Status,
    Type,
    parse_association,
    status,
)

_MAX_ASSOCIATIONS = 16  # in one message
_DUID_LENGTHS = range(3, 131)  # section 11.1

_NAMING_THE_SERVER = (Type.REQUEST, Type.RENEW, Type.RELEASE, Type.DECLINE)
_FOR_ANY_SERVER = (Type.SOLICIT, Type.CONFIRM, Type.REBIND)

_NOTHING_FREE = {
    Option.IA_NA: (Status.NO_ADDRESSES, "no free address"),
    Option.IA_PD: (Status.NO_PREFIXES, "no free prefix"),
}


@dataclass(frozen=True)
class Asked:
    """A message and how it came."""

    message: Message
    relays: Sequence[Relay]  # the one next to the server first
    chain: str
    port: str  # access point where it entered
    source: bytes  # MAC address of the frame


@dataclass(frozen=True)
class _Case:
    """A message with all that was looked up for it."""

    message: Message
    client: Client
    link: Link | None
    port: str  # that its leases count at
    associations: Sequence[Association]


class _Unanswered(Exception):
    """A message that is not answered, and why."""


class Server:
    """The DHCPv6 server of one function."""

    def __init__(
        self, plan: Plan, duid: bytes, leases: Leases6, clock: Callable[[], float]
    ) -> None:
        self._plan = plan
        self._duid = duid
        self._leases = leases
        self._clock = clock
        self._allocation = Allocation(leases)
        self.counted: Counter[str] = Counter()  # messages by type, and what was not answered, why

    def configure(self, plan: Plan, duid: bytes) -> None:
        """Take over a configuration. Leases stay, also those that no pool has any more."""
        self._plan = plan
        self._duid = duid
        self._allocation.spares.forget()

    def expire(self) -> None:
        """Free what has run out."""
        for lease in self._leases.expire(self._clock(), lambda lease: lease.ends):
            self._allocation.spares.give_back(lease)

    def release(self, network: IPv6Network) -> Lease6 | None:
        """Free an address or prefix by hand; return its lease, None if there is none in force."""
        lease = self._leases.at(network)
        if lease is None or not lease.is_taken(self._clock()):
            return None
        self._free(lease)
        return lease

    def handle(self, asked: Asked) -> Message | None:
        """Treat a message; None if it is not answered."""
        try:
            return self._handle(asked)
        except Malformed:
            self.counted["malformed"] += 1
        except _Unanswered as why:
            self.counted[str(why)] += 1
        return None

    def _handle(self, asked: Asked) -> Message:
        message = asked.message
        handlers: Mapping[Type, Callable[[_Case], Message]] = {
            Type.SOLICIT: self._solicit,
            Type.REQUEST: self._request,
            Type.CONFIRM: self._confirm,
            Type.RENEW: self._extend,
            Type.REBIND: self._extend,
            Type.RELEASE: self._release,
            Type.DECLINE: self._decline,
            Type.INFORMATION_REQUEST: self._inform,
        }
        if message.type not in handlers:
            raise _Unanswered("not a request")
        self.counted[message.type.name.lower()] += 1
        self._validate(message)
        answer = handlers[message.type](self._case(asked))
        self.counted[answer.type.name.lower()] += 1
        return answer

    def _validate(self, message: Message) -> None:
        """Section 16: who a message must say that it is from, and for."""
        duid, server = message.get(Option.CLIENT_ID), message.get(Option.SERVER_ID)
        if duid is None and message.type is not Type.INFORMATION_REQUEST:
            raise _Unanswered("without a client")
        if duid is not None and len(duid) not in _DUID_LENGTHS:
            raise _Unanswered("without a client")
        if server is not None and (message.type in _FOR_ANY_SERVER or server != self._duid):
            raise _Unanswered("another server's")
        if server is None and message.type in _NAMING_THE_SERVER:
            raise _Unanswered("for no server")

    def _case(self, asked: Asked) -> _Case:
        client = Client(asked.message, asked.relays, asked.source)
        if asked.relays:
            link = self._plan.link_with(client.link) if client.link else None
            port = str(client.link or asked.relays[0].peer)
        else:
            link, port = self._plan.link_on(asked.chain), asked.port
        associations = _associations(asked.message)
        return _Case(asked.message, client, link, port, associations)

    # Messages ------------------------------------------------------------------------------------

    def _solicit(self, case: _Case) -> Message:
        has_rapid = case.message.get(Option.RAPID_COMMIT) is not None
        if has_rapid and self._plan.config.rapid_commit:
            granted = [self._grant(case, asked, State.BOUND) for asked in case.associations]
            return self._answer(case, Type.REPLY, granted, [(Option.RAPID_COMMIT, b"")])
        offered = [self._grant(case, asked, State.OFFERED) for asked in case.associations]
        preference = self._plan.config.preference
        more = [(Option.PREFERENCE, bytes((preference,)))] if preference is not None else []
        return self._answer(case, Type.ADVERTISE, offered, more)

    def _request(self, case: _Case) -> Message:
        granted = []
        for asked in case.associations:
            if self._is_elsewhere(case, asked):
                granted.append(refused(asked, Status.NOT_ON_LINK, "not on this link"))
            else:
                granted.append(self._grant(case, asked, State.BOUND))
        return self._answer(case, Type.REPLY, granted)

    def _confirm(self, case: _Case) -> Message:
        """Whether the client is still on the link of its addresses (section 18.3.3)."""
        addresses = [
            one.network.network_address
            for asked in case.associations
            if asked.kind == Option.IA_NA
            for one in asked.granted
        ]
        if case.link is None or not addresses:
            raise _Unanswered("no subnet")
        if all(case.link.has(address) for address in addresses):
            return self._answer(case, Type.REPLY, (), [status(Status.SUCCESS, "on this link")])
        more = [status(Status.NOT_ON_LINK, "not on this link")]
        return self._answer(case, Type.REPLY, (), more)

    def _extend(self, case: _Case) -> Message:
        """Renew or Rebind. What is of no subnet any more runs out, and is not renewed."""
        granted = []
        for asked in case.associations:
            is_known = any(
                lease.state is State.BOUND for lease in self._leases.of(case.client.key(asked))
            )
            if is_known or self._is_elsewhere(case, asked) or self._plan.function.authoritative:
                granted.append(self._extended(case, asked))
            elif case.message.type is Type.RENEW:
                granted.append(refused(asked, Status.NO_BINDING, "unknown"))
        if case.message.type is Type.REBIND and not granted:
            raise _Unanswered("unknown client")
        return self._answer(case, Type.REPLY, granted)

    def _extended(self, case: _Case, asked: Association) -> Association:
        """An association with what it gets from now on, and what it has besides."""
        if self._is_elsewhere(case, asked):
            gone = tuple(Granted(one.network) for one in asked.granted)
            return Association(asked.kind, asked.iaid, gone)
        answer = self._grant(case, asked, State.BOUND)
        given = {one.network for one in answer.granted}
        others = [one.network for one in asked.granted if one.network not in given]
        kept = tuple(self._kept(case, asked, network) for network in others)
        return replace(
            answer,
            granted=answer.granted + kept,
            status=(Status.NO_BINDING, "unknown") if not given and not kept else None,
        )

    def _kept(self, case: _Case, asked: Association, network: IPv6Network) -> Granted:
        """An address or prefix that is not renewed: valid as long as was promised, if it was."""
        lease = self._leases.at(network)
        if lease is None or lease.client != case.client.key(asked):
            return Granted(network)
        left = max(0, int(lease.ends - self._clock())) if lease.state is State.BOUND else 0
        return Granted(network, 0, left)

    def _release(self, case: _Case) -> Message:
        return self._given_back(case, self._free, "released")

    def _decline(self, case: _Case) -> Message:
        return self._given_back(case, self._quarantine, "declined")

    def _given_back(self, case: _Case, end: Callable[[Lease6], None], words: str) -> Message:
        answers = []
        for asked in case.associations:
            held = [lease for one in asked.granted if (lease := self._held(case, asked, one))]
            for lease in held:
                end(lease)
            if not held:
                answers.append(refused(asked, Status.NO_BINDING, "unknown"))
        return self._answer(case, Type.REPLY, answers, [status(Status.SUCCESS, words)])

    def _inform(self, case: _Case) -> Message:
        """The client wants no address (section 18.3.6)."""
        if case.associations:
            raise _Unanswered("not a request")
        return self._answer(case, Type.REPLY, ())

    # Leases --------------------------------------------------------------------------------------

    def _held(self, case: _Case, asked: Association, one: Granted) -> Lease6 | None:
        """The lease of an address or prefix, if the association has it."""
        lease = self._leases.at(one.network)
        is_held = lease and lease.client == case.client.key(asked) and lease.state is State.BOUND
        return lease if is_held else None

    def _is_elsewhere(self, case: _Case, asked: Association) -> bool:
        """Whether an association has addresses, and none of them is of the client's link."""
        if asked.kind != Option.IA_NA or case.link is None or not asked.granted:
            return False
        return not any(case.link.has(one.network.network_address) for one in asked.granted)

    def _grant(self, case: _Case, asked: Association, state: State) -> Association:
        """Offer an association an address or prefix, or bind it."""
        now = self._clock()
        chosen = case.link and self._allocation.choose(case.link, case.client, asked, now)
        if not chosen:
            return refused(asked, *_NOTHING_FREE[Option(asked.kind)])
        place, network = chosen
        former = self._leases.at(network)
        is_known = former is not None and former.client == case.client.key(asked)
        if not (is_known and former and former.is_taken(now)) and not self._has_room(case):
            self.counted["too many leases"] += 1
            return refused(asked, *_NOTHING_FREE[Option(asked.kind)])
        is_bound = is_known and former is not None and former.state is State.BOUND
        if state is State.BOUND or not is_bound:
            started = former.starts if former is not None and is_bound else now
            life = place.valid if state is State.BOUND else OFFER_LIFE
            self._leases.put(self._lease(case, asked, network, state, started, now + life))
        return answered(asked, Granted(network, place.preferred, place.valid))

    def _has_room(self, case: _Case) -> bool:
        """Whether one more lease may be given where the client is."""
        return self._leases.taken(case.port) < self._plan.function.limit

    def _lease(
        self,
        case: _Case,
        asked: Association,
        network: IPv6Network,
        state: State,
        starts: float,
        ends: float,
    ) -> Lease6:
        client = case.client
        hostname = client.hostname
        reservation = case.link.reservation(client) if case.link else None
        if reservation and reservation[1].hostname:
            hostname = reservation[1].hostname
        return Lease(
            network,
            state,
            client.key(asked),
            client.hardware,
            hostname if asked.kind == Option.IA_NA else "",
            client.interface,
            case.port,
            starts,
            ends,
            ends,
        )

    def _free(self, lease: Lease6) -> None:
        self._allocation.spares.free(lease, self._clock())

    def _quarantine(self, lease: Lease6) -> None:
        self._leases.quarantine(lease, self._clock())

    # Answers -------------------------------------------------------------------------------------

    def _answer(
        self,
        case: _Case,
        kind: Type,
        associations: Sequence[Association],
        more: Sequence[tuple[int, bytes]] = (),
    ) -> Message:
        reservation = case.link.reservation(case.client) if case.link else None
        place = self._place(case, reservation[0] if reservation else None, associations)
        told = self._plan.options(place, reservation[1] if reservation else None)
        return build_answer(case.client, kind, self._duid, associations, more, told)

    def _place(
        self, case: _Case, reserved: Place | None, associations: Sequence[Association]
    ) -> Place | None:
        """The subnet whose options a client is told: of its address, or the first of its link."""
        if case.link is None:
            return None
        addresses = [one.network.network_address for ia in associations for one in ia.granted]
        for place in case.link.places:
            if any(address in place for address in addresses):
                return place
        return reserved or case.link.places[0]


def _associations(message: Message) -> list[Association]:
    """The associations that a message is about, each once. Raises `Malformed`."""
    found: dict[tuple[int, bytes], Association] = {}
    for code, content in message.options:
        if code in (Option.IA_NA, Option.IA_PD):
            one = parse_association(code, content)
            found.setdefault((code, one.iaid), one)
    if len(found) > _MAX_ASSOCIATIONS:
        raise Malformed("more associations than a client has")
    return list(found.values())
