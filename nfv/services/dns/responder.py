"""From the bytes of a query to those of its answer, whoever has it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_address

from dns.flags import Flag
from dns.name import Name
from dns.rcode import Rcode

from nfv.chain.fields import Network
from nfv.services.dns.authority import Authority
from nfv.services.dns.forwarder import Forwarder
from nfv.services.dns.message import Query, Reply, read, render

_MAX_KNOWN = 16384
_ID_SIZE = 2

Keep = Callable[[Query, bytes, bool], None]
"""Takes a query and its answer; whether that holds until the zones change, or for a second."""

Answer = bytes | None | Awaitable[bytes]


@dataclass(frozen=True)
class Recursion:
    """Who resolves names that are in none of our zones, and for whom."""

    forwarder: Forwarder
    clients: Sequence[Network]

    def serves(self, client: str) -> bool:
        """Whether a client may ask about any name."""
        return _is_in(client, tuple(self.clients))


@lru_cache(maxsize=4096)
def _is_in(client: str, networks: Sequence[Network]) -> bool:
    address = ip_address(client.partition("%")[0])
    return address.is_link_local or any(address in network for network in networks)


class Responder:
    """Answers queries; what was asked before in the same words is answered in the same."""

    def __init__(self, authority: Authority, keep: Keep, recursion: Recursion | None) -> None:
        """`keep` is told of every answer to a datagram that can be given again."""
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
        query = read(wire, is_stream=is_stream)
        if not isinstance(query, Query):
            return query
        recursion = self._recursion
        if recursion and not (query.wants_recursion and recursion.serves(client)):
            recursion = None
        reply = self._authority.answer(query)
        if reply is None:
            return self._elsewhere(query, recursion)
        target = self._authority.leads_to(query, reply)
        if target is not None and recursion is not None:
            return self._follow(query, reply, target, recursion)
        return self._tell(wire, query, reply)

    def _tell(self, wire: bytes, query: Query, reply: Reply) -> bytes:
        """An answer from our zones: it is the same until they change."""
        answer = render(query, reply)
        if not query.is_stream:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[wire[_ID_SIZE:]] = answer[_ID_SIZE:]
            self._keep(query, answer, True)
        return answer

    def _elsewhere(self, query: Query, recursion: Recursion | None) -> Answer:
        if recursion is None:
            return render(query, Reply(Rcode.REFUSED, self._authority.flags))
        known = recursion.forwarder.known(query)
        if known is None:
            return self._resolve(query, recursion)
        answer = render(query, known)
        is_plain = not (query.wants_dnssec or query.disables_checking or known.flags & Flag.AD)
        if known.rcode != Rcode.SERVFAIL and is_plain and not query.is_stream:
            self._keep(query, answer, False)
        return answer

    async def _resolve(self, query: Query, recursion: Recursion) -> bytes:
        return render(query, await recursion.forwarder.resolve(query))

    async def _follow(
        self, query: Query, reply: Reply, target: Name, recursion: Recursion
    ) -> bytes:
        """Our aliases, and what they lead to."""
        rest = await recursion.forwarder.resolve(replace(query, name=target))
        reply.rcode = rest.rcode
        reply.answer += rest.answer
        reply.authority += rest.authority
        return render(query, reply)
