"""From the bytes of a query to those of its answer, whoever has it."""

from __future__ import annotations

from collections.abc import Callable

from dns.rcode import Rcode

from nfv.services.dns import message
from nfv.services.dns.authority import Authority

_MAX_KNOWN = 16384
_ID_SIZE = 2

Keep = Callable[[message.Query, bytes], None]
"""Takes a query and its answer."""


class Responder:
    """Answers queries; what was asked before in the same words is answered in the same."""

    def __init__(self, authority: Authority, keep: Keep) -> None:
        """`keep` is told of every answer to a datagram that can be given again."""
        self._authority = authority
        self._keep = keep
        self._known: dict[bytes, bytes] = {}  # query over UDP to its answer, without their ids

    def respond(self, wire: bytes, *, is_stream: bool = False) -> bytes | None:
        """The answer to a query; None if there is to be none."""
        if is_stream:
            return self._find(wire, True)
        ident, asked = wire[:_ID_SIZE], wire[_ID_SIZE:]
        known = self._known.get(asked)
        if known is not None:
            return ident + known
        answer = self._find(wire, False)
        if answer is not None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[asked] = answer[_ID_SIZE:]
        return answer

    def _find(self, wire: bytes, is_stream: bool) -> bytes | None:
        query = message.read(wire, is_stream=is_stream)
        if not isinstance(query, message.Query):
            return query
        reply = self._authority.answer(query)
        if reply is None:
            return message.render(query, message.Reply(Rcode.REFUSED))
        answer = message.render(query, reply)
        if not is_stream:
            self._keep(query, answer)
        return answer
