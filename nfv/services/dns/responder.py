"""From the bytes of a query to those of its answer, whoever has it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from dns.flags import Flag
from dns.name import Name
from dns.rcode import Rcode
from dns.rdatatype import RdataType

from nfv.chain.fields import Network
from nfv.services.dns import cookies
from nfv.services.dns.authority import Authority
from nfv.services.dns.clients import is_in
from nfv.services.dns.cookies import Secret
from nfv.services.dns.forwarder import Forwarder
from nfv.services.dns.message import Query, Reply, read, render
from nfv.services.dns.signatures import Keys
from nfv.services.dns.transfer import Secondaries, transfer

_MAX_KNOWN = 16384
_ID_SIZE = 2

Keep = Callable[[Query, bytes, bool], None]
"""Takes a query and its answer; whether that holds until the zones change, or for a second."""

Answer = bytes | None | Awaitable[bytes] | Iterator[bytes]
"""An answer, none, one that comes later, or one in several messages."""

_TRANSFERS = frozenset({RdataType.AXFR, RdataType.IXFR})


def _is_for_all(query: Query) -> bool:
    """Whether others who ask the same get the same bytes, but for their cookie."""
    return not query.is_stream and query.signature is None


@dataclass(frozen=True)
class Recursion:
    """Who resolves names that are in none of our zones, and for whom."""

    forwarder: Forwarder
    clients: Sequence[Network]

    def serves(self, client: str) -> bool:
        """Whether a client may ask about any name."""
        return is_in(client, self.clients)


class Responder:
    """Answers queries; what was asked before in the same words is answered in the same."""

    def __init__(
        self,
        authority: Authority,
        keep: Keep,
        recursion: Recursion | None = None,
        secondaries: Secondaries | None = None,
        keys: Keys = MappingProxyType({}),
        secret: Secret | None = None,
    ) -> None:
        """`keep` is told of every answer to a datagram that can be given again.

        Without `secret`, cookies are ignored.
        """
        self._secret = secret
        self._secondaries = secondaries
        self._keys = keys
        self._authority = authority
        self._keep = keep
        self._recursion = recursion
        self._known: dict[bytes, bytes] = {}  # query over UDP to its answer, without their ids

    def respond(self, wire: bytes, client: str, *, is_stream: bool = False) -> Answer:
        """The answer to a query, perhaps later; None if there is to be none."""
        if not is_stream:
            known = self._known.get(wire[_ID_SIZE:])
            if known is not None:
                return wire[:_ID_SIZE] + known
        bake = partial(self._bake, client) if self._secret else None
        query = read(wire, self._keys, is_stream=is_stream, bake=bake)
        if not isinstance(query, Query):
            return query
        if query.type in _TRANSFERS:
            return self._transfer(query, client)
        recursion = self._recursion
        if recursion and not (query.wants_recursion and recursion.serves(client)):
            recursion = None
        reply = self._authority.answer(query)
        if reply is None:
            return self._elsewhere(query, recursion, client)
        target = self._authority.leads_to(query, reply)
        if target is not None and recursion is not None:
            return self._follow(query, reply, target, recursion, client)
        return self._tell(wire, query, reply)

    def _transfer(self, query: Query, client: str) -> Answer:
        """A zone for those who may have it."""
        zone = self._authority.zones.get(query.name)
        secondaries = self._secondaries
        if zone and secondaries and secondaries.may_have(query, client):
            changes = None
            if query.type == RdataType.IXFR and query.serial is not None:
                changes = secondaries.history.since(zone, query.serial)
            messages = transfer(query, zone, changes)
            if query.is_stream:
                return messages
            if query.type == RdataType.IXFR:
                return next(messages)
        return render(query, Reply(Rcode.REFUSED, self._authority.flags))

    def _tell(self, wire: bytes, query: Query, reply: Reply) -> bytes:
        """An answer from our zones: it is the same until they change."""
        answer = render(query, reply)
        if _is_for_all(query):
            if not query.cookie:
                if len(self._known) >= _MAX_KNOWN:
                    self._known.clear()
                self._known[wire[_ID_SIZE:]] = answer[_ID_SIZE:]
            if self._authority.is_common(query, reply):
                self._keep(query, answer, True)
        return answer

    def _bake(self, client: str, part: bytes) -> bytes:
        assert self._secret is not None
        return cookies.answer(part, client, self._secret, cookies.now())

    def _elsewhere(self, query: Query, recursion: Recursion | None, client: str) -> Answer:
        if recursion is None:
            return render(query, Reply(Rcode.REFUSED, self._authority.flags))
        known = recursion.forwarder.known(query)
        if known is None:
            return self._resolve(query, recursion, client)
        answer = render(query, known)
        is_plain = not (query.wants_dnssec or query.disables_checking or known.flags & Flag.AD)
        is_common = _is_for_all(query) and self._authority.is_common(query, known)
        if known.rcode != Rcode.SERVFAIL and is_plain and is_common:
            self._keep(query, answer, False)
        return answer

    async def _resolve(self, query: Query, recursion: Recursion, client: str) -> bytes:
        return render(query, await recursion.forwarder.resolve(query, client))

    async def _follow(
        self, query: Query, reply: Reply, target: Name, recursion: Recursion, client: str
    ) -> bytes:
        """Our aliases, and what they lead to."""
        rest = await recursion.forwarder.resolve(replace(query, name=target), client)
        reply.rcode = rest.rcode
        reply.answer += rest.answer
        reply.authority += rest.authority
        return render(query, reply)
