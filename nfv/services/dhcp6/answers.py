"""Answers of a server: what they hold (RFC 9915, sections 18.3.9 to 18.3.11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nfv.services.dhcp6.client import Client
from nfv.services.dhcp6.wire import (
    Association,
    Granted,
    Message,
    Option,
    Status,
    Type,
    build_association,
    build_options,
)

_ROOM = 1200  # bytes of options: with headers and a relay agent's, less than any link's MTU
_REFRESH = 32  # of clients without addresses only (section 21.23)
_FQDN_SERVER_UPDATES, _FQDN_OVERRIDDEN = 1, 2  # flags (RFC 4704, section 4.1)


def answered(asked: Association, granted: Granted) -> Association:
    """An association with what it is given; T1 and T2 are as section 21.4 recommends."""
    renew, rebind = granted.preferred // 2, granted.preferred * 4 // 5
    return Association(asked.kind, asked.iaid, (granted,), renew, rebind)


def refused(asked: Association, code: Status, words: str) -> Association:
    """An association that is given nothing, and why."""
    return Association(asked.kind, asked.iaid, status=(code, words))


def build_answer(
    client: Client,
    kind: Type,
    server: bytes,
    associations: Sequence[Association],
    more: Sequence[tuple[int, bytes]],
    told: Mapping[int, bytes],
) -> Message:
    """An Advertise or Reply; `told` are the options that there are for the client."""
    message = client.message
    duid = message.get(Option.CLIENT_ID)
    options = [(int(Option.CLIENT_ID), duid)] if duid is not None else []
    options.append((Option.SERVER_ID, server))
    options += more
    options += [build_association(one) for one in _in_step(associations)]
    wanted = dict.fromkeys(client.requested or told)
    if message.type is not Type.INFORMATION_REQUEST:
        wanted.pop(_REFRESH, None)
    fqdn = message.get(Option.FQDN)
    if fqdn and Option.FQDN in wanted:
        options.append((Option.FQDN, _fqdn(fqdn)))
    room = _ROOM - len(build_options(options))
    for code in wanted:
        if code in told and len(told[code]) + 4 <= room:
            options.append((code, told[code]))
            room -= len(told[code]) + 4
    return Message(kind, message.transaction, tuple(options))


def _in_step(associations: Sequence[Association]) -> Sequence[Association]:
    """All are renewed at one time, the first of them (section 18.3.9)."""
    timed = [one for one in associations if one.renew]
    renew = min((one.renew for one in timed), default=0)
    rebind = min((one.rebind for one in timed), default=0)
    return [
        Association(one.kind, one.iaid, one.granted, renew, rebind, one.status)
        if one.renew
        else one
        for one in associations
    ]


def _fqdn(content: bytes) -> bytes:
    """RFC 4704, section 6: the server keeps the name, and the client leaves DNS to it."""
    flags = _FQDN_SERVER_UPDATES
    if not content[0] & _FQDN_SERVER_UPDATES:
        flags |= _FQDN_OVERRIDDEN
    return bytes((flags,)) + content[1:]
