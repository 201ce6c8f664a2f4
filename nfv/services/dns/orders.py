"""Messages that are no queries: word of a change (NOTIFY, RFC 1996) and updates (RFC 2136)."""

from __future__ import annotations

import dns.message
import dns.tsig
import dns.update
from dns.flags import Flag
from dns.name import Name
from dns.opcode import Opcode
from dns.rcode import Rcode
from dns.rdataclass import RdataClass
from dns.rdatatype import RdataType

from nfv.errors import NfvError
from nfv.services.dns.holdings import Holdings
from nfv.services.dns.message import MAX_UDP, refuse
from nfv.services.dns.signatures import UNVERIFIED, Keys, distrust
from nfv.services.dns.update import Rejected, updated

_HEADER_SIZE = 12
_RESPONSE = 0x80  # in its third byte
_OPCODES = (Opcode.NOTIFY, Opcode.UPDATE)


def is_order(wire: bytes) -> bool:
    """Whether a message is one of these."""
    return len(wire) >= _HEADER_SIZE and wire[2] >> 3 in _OPCODES


class Orders:
    """Does what they ask for, if whoever sends them may."""

    def __init__(self, holdings: Holdings, keys: Keys) -> None:
        self._holdings = holdings
        self._keys = keys

    def take(self, wire: bytes, client: str) -> bytes | None:
        """The answer to a message, after it was done; None if it is an answer itself."""
        if wire[2] & _RESPONSE:
            return None
        try:
            message = dns.message.from_wire(wire, keyring=dict(self._keys))
        except UNVERIFIED as error:
            return distrust(wire, error, self._keys) or refuse(wire, Rcode.FORMERR)
        except Exception:  # the library raises all kinds for what is malformed
            return refuse(wire, Rcode.FORMERR)
        answer = dns.message.make_response(message, our_payload=MAX_UDP)
        if message.opcode() == Opcode.NOTIFY:
            answer.flags |= Flag.AA
        answer.set_rcode(self._treat(message, client))
        return bytes(answer.to_wire())

    def _treat(self, message: dns.message.Message, client: str) -> Rcode:
        if len(message.question) != 1 or message.edns > 0:
            return Rcode.FORMERR if message.edns <= 0 else Rcode.BADVERS
        asked = message.question[0]
        if asked.rdtype != RdataType.SOA or asked.rdclass != RdataClass.IN:
            return Rcode.FORMERR
        key = message.keyring if message.had_tsig else None
        if isinstance(message, dns.update.UpdateMessage):
            return self._update(message, asked.name, key)
        return self._hear(asked.name, client, key)

    def _hear(self, origin: Name, client: str, key: dns.tsig.Key | None) -> Rcode:
        """A primary server says that its zone has changed."""
        copy = self._holdings.copies.get(origin)
        if copy is None:
            return Rcode.NOTAUTH
        where = copy.origin
        is_known = any(server.address == client for server in where.primaries)
        if key not in (None, where.key) or (key is None and not is_known):
            return Rcode.REFUSED
        copy.refresh()
        return Rcode.NOERROR

    def _update(
        self, message: dns.update.UpdateMessage, origin: Name, key: dns.tsig.Key | None
    ) -> Rcode:
        """Who may change a zone does. It is on the disk before that is acknowledged."""
        zone = self._holdings.find(origin)
        if zone is None:
            return Rcode.NOTAUTH
        if not self._holdings.may_change(origin, key):
            return Rcode.REFUSED
        try:
            made = updated(zone, message)
            if made is not None:
                self._holdings.change(made)
        except Rejected as rejected:
            return rejected.rcode
        except NfvError:
            return Rcode.SERVFAIL
        return Rcode.NOERROR
