"""Queries whose signatures (TSIG, RFC 8945) do not hold, and what is answered to them."""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping

import dns.message
import dns.rrset
import dns.tsig
from dns.name import Name
from dns.rcode import Rcode
from dns.rdtypes.ANY.TSIG import TSIG

Keys = Mapping[Name, dns.tsig.Key]
"""Secrets for signatures, by their names."""

_ERRORS = {
    dns.message.UnknownTSIGKey: Rcode.BADKEY,
    dns.tsig.BadKey: Rcode.BADKEY,
    dns.tsig.BadAlgorithm: Rcode.BADKEY,
    dns.tsig.BadTime: Rcode.BADTIME,
    dns.tsig.BadSignature: Rcode.BADSIG,
}
UNVERIFIED = tuple(_ERRORS)
"""What the library raises where a signature does not hold."""


def distrust(wire: bytes, error: Exception, keys: Keys) -> bytes | None:
    """The answer to a query whose signature does not hold; None if it is malformed elsewhere.

    It is not signed, unless the key is right and only the clocks differ: then it tells what time
    it is here (RFC 8945, section 5.2.3).
    """
    try:
        message = dns.message.from_wire(wire, keyring=False)
    except Exception:  # the signature was looked at before the rest was
        return None
    given = message.tsig
    assert given is not None  # that is what does not hold
    answer = dns.message.make_response(message)
    answer.set_rcode(Rcode.NOTAUTH)
    code = next(code for kind, code in _ERRORS.items() if isinstance(error, kind))
    made = given[0].replace(mac=b"", error=code)
    if code == Rcode.BADTIME:
        made = _timed(answer, made, keys[given.name], given[0].mac)
    answer.tsig = dns.rrset.from_rdata(given.name, 0, made)
    answer.want_tsig_sign = False
    return bytes(answer.to_wire())


def _timed(answer: dns.message.Message, record: TSIG, key: dns.tsig.Key, mac: bytes) -> TSIG:
    """The record that signs an answer at the client's time, with our time in it."""
    answer.tsig = None
    high, low = divmod(int(time.time()), 1 << 32)
    told = record.replace(other=struct.pack("!HI", high, low))
    made: TSIG = dns.tsig.sign(answer.to_wire(), key, told, record.time_signed, mac)[0]
    return made
