"""Answers of a server: what they hold (RFC 2131, table 3) and where they go (section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from nfv.services.dhcp.client import Client
from nfv.services.dhcp.plan import Answering
from nfv.services.dhcp.wire import BROADCAST, REPLY, Message, Option, Type
from nfv.services.packets import BROADCAST_MAC

SERVER_PORT, CLIENT_PORT = 67, 68

_ALL = IPv4Address("255.255.255.255")
_NONE = IPv4Address(0)
_FQDN_SERVER_UPDATES, _FQDN_CLIENT_WANTS, _FQDN_ENCODED = 1, 1, 4  # flags (RFC 4702, 2.1)
_FQDN_OVERRIDDEN = 2


@dataclass(frozen=True)
class Answer:
    """A message, and where it goes."""

    message: Message
    server: IPv4Address  # its source
    dst: IPv4Address
    dst_mac: bytes
    dport: int
    room: int  # bytes at most


def times(seconds: int, renew: int | None, rebind: int | None) -> dict[int, bytes]:
    """The lease time, and when to renew and to rebind (RFC 2131, section 4.4.5).

    What was declared holds for leases that are long enough for it.
    """
    second = rebind if rebind is not None and rebind < seconds else seconds * 7 // 8
    first = renew if renew is not None and renew < second else min(seconds // 2, second)
    return {
        Option.LEASE_TIME: seconds.to_bytes(4, "big"),
        Option.RENEWAL_TIME: first.to_bytes(4, "big"),
        Option.REBINDING_TIME: second.to_bytes(4, "big"),
    }


def positive(
    client: Client,
    kind: Type,
    server: IPv4Address,
    address: IPv4Address,
    told: Answering,
    own: Mapping[int, bytes],
    source: bytes,
) -> Answer:
    """An OFFER or ACK; `own` are the protocol's options besides, `source` the asker's MAC."""
    message = client.message
    options: dict[int, bytes] = {
        Option.MESSAGE_TYPE: bytes((kind,)),
        Option.SERVER_ID: server.packed,
        **own,
    }
    for code in _wanted(message, told.options):
        options.setdefault(code, told.options[code])
    fqdn = message.options.get(Option.FQDN)
    if fqdn is not None and len(fqdn) >= 3:
        options[Option.FQDN] = _fqdn(fqdn)
    _echo(message, options)
    boot = told.boot
    reply = Message(
        REPLY,
        message.xid,
        message.chaddr,
        message.htype,
        flags=message.flags,
        ciaddr=message.ciaddr if kind is Type.ACK else _NONE,
        yiaddr=address,
        siaddr=boot.server or _NONE,
        giaddr=message.giaddr,
        sname=(boot.server_name or "").encode(),
        file=(boot.file or "").encode(),
        options=options,
    )
    return _addressed(client, reply, server, source)


def negative(client: Client, server: IPv4Address, why: str, source: bytes) -> Answer:
    """A NAK. Behind a relay agent the client may have no usable address: it is broadcast there."""
    message = client.message
    options: dict[int, bytes] = {
        Option.MESSAGE_TYPE: bytes((Type.NAK,)),
        Option.SERVER_ID: server.packed,
        Option.MESSAGE: why.encode(),
    }
    _echo(message, options)
    relayed = bool(int(message.giaddr))
    reply = Message(
        REPLY,
        message.xid,
        message.chaddr,
        message.htype,
        flags=message.flags | BROADCAST if relayed else message.flags,
        giaddr=message.giaddr,
        options=options,
    )
    if relayed:
        return Answer(reply, server, message.giaddr, source, SERVER_PORT, message.room)
    return Answer(reply, server, _ALL, BROADCAST_MAC, CLIENT_PORT, message.room)


def _echo(message: Message, options: dict[int, bytes]) -> None:
    """Add what has to be said back (RFC 6842, RFC 3046)."""
    for echoed in (Option.CLIENT_ID, Option.AGENT):
        if echoed in message.options:
            options[echoed] = message.options[echoed]


def _wanted(message: Message, known: Mapping[int, bytes]) -> Iterable[int]:
    """Options to be sent: the subnet mask, then what the client asks for, else all there are."""
    asked = list(message.options.get(Option.PARAMETER_LIST, b""))
    if not asked:
        asked = [code for code in known if code != Option.IPV6_ONLY]  # RFC 8925, section 3.3
    if Option.CLASSLESS_ROUTES in asked and Option.CLASSLESS_ROUTES in known:
        asked = [code for code in asked if code != Option.ROUTERS]  # RFC 3442
    return [code for code in dict.fromkeys([Option.SUBNET_MASK, *asked]) if code in known]


def _fqdn(content: bytes) -> bytes:
    """RFC 4702, section 4: the server keeps the name, and the client leaves DNS to it."""
    flags = _FQDN_SERVER_UPDATES | (content[0] & _FQDN_ENCODED)
    if not content[0] & _FQDN_CLIENT_WANTS:
        flags |= _FQDN_OVERRIDDEN
    return bytes((flags, 255, 255)) + content[3:]


def _addressed(client: Client, reply: Message, server: IPv4Address, source: bytes) -> Answer:
    message = client.message
    if int(message.giaddr):
        return Answer(reply, server, message.giaddr, source, SERVER_PORT, message.room)
    if int(message.ciaddr):
        return Answer(reply, server, message.ciaddr, source, CLIENT_PORT, message.room)
    if message.flags & BROADCAST:
        return Answer(reply, server, _ALL, BROADCAST_MAC, CLIENT_PORT, message.room)
    return Answer(reply, server, reply.yiaddr, message.chaddr, CLIENT_PORT, message.room)
