"""DHCPv6 messages as bytes (RFC 9915, sections 8, 9 and 21).

What is read was written by anybody: a message that contradicts itself is `Malformed`, and none
costs more than its length.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv6Address, IPv6Network

CLIENT_PORT, SERVER_PORT = 546, 547
ALL_SERVERS_AND_RELAYS = IPv6Address("ff02::1:2")

MAX_RELAYS = 8
"""Relay agents that a message may have passed (HOP_COUNT_LIMIT)."""

_HEAD = 4  # bytes of a message in front of its options
_RELAY = struct.Struct("!BB16s16s")
_OPTION = struct.Struct("!HH")
_IA = struct.Struct("!4sII")
_ADDRESS = struct.Struct("!16sII")
_PREFIX = struct.Struct("!IIB16s")


class Type(IntEnum):
    """Types of messages (section 7.3)."""

    SOLICIT = 1
    ADVERTISE = 2
    REQUEST = 3
    CONFIRM = 4
    RENEW = 5
    REBIND = 6
    REPLY = 7
    RELEASE = 8
    DECLINE = 9
    RECONFIGURE = 10
    INFORMATION_REQUEST = 11
    RELAY_FORW = 12
    RELAY_REPL = 13


_TYPES = {int(member): member for member in Type}
_RELAYED = (Type.RELAY_FORW, Type.RELAY_REPL)


class Option(IntEnum):
    """Options that the protocol itself uses; those that it only carries are in `options`."""

    CLIENT_ID = 1
    SERVER_ID = 2
    IA_NA = 3
    IA_ADDRESS = 5
    REQUESTED = 6
    PREFERENCE = 7
    ELAPSED = 8
    RELAY_MESSAGE = 9
    STATUS = 13
    RAPID_COMMIT = 14
    INTERFACE_ID = 18
    IA_PD = 25
    IA_PREFIX = 26
    REMOTE_ID = 37
    FQDN = 39
    LINK_LAYER_ADDRESS = 79
    SOL_MAX_RT = 82
    INF_MAX_RT = 83


class Status(IntEnum):
    """Status codes (section 21.13)."""

    SUCCESS = 0
    NO_ADDRESSES = 2
    NO_BINDING = 3
    NOT_ON_LINK = 4
    NO_PREFIXES = 6


class Malformed(Exception):
    """Bytes that are no message."""


Options = tuple[tuple[int, bytes], ...]
"""Options in their order, each with its number; some may be there several times."""


@dataclass(frozen=True)
class Message:
    """A message between a client and a server."""

    type: Type
    transaction: bytes  # 3 bytes
    options: Options = ()

    def get(self, code: int) -> bytes | None:
        """The content of the first option of a number."""
        return found(self.options, code)


@dataclass(frozen=True)
class Relay:
    """What a relay agent has put around a message."""

    hops: int
    link: IPv6Address
    peer: IPv6Address
    options: Options = ()  # without the message

    def get(self, code: int) -> bytes | None:
        return found(self.options, code)

    def answering(self) -> Relay:
        """What goes around the answer: where the agent hands it on to (section 19.3)."""
        kept = tuple(one for one in self.options if one[0] == Option.INTERFACE_ID)
        return Relay(self.hops, self.link, self.peer, kept)


@dataclass(frozen=True)
class Granted:
    """An address (a prefix of 128 bits) or prefix in an association; lifetimes in seconds."""

    network: IPv6Network
    preferred: int = 0
    valid: int = 0


@dataclass(frozen=True)
class Association:
    """An identity association: IA_NA or IA_PD (sections 21.4 and 21.21). T1, T2 in seconds."""

    kind: int  # Option.IA_NA or Option.IA_PD
    iaid: bytes
    granted: tuple[Granted, ...] = ()
    renew: int = 0
    rebind: int = 0
    status: tuple[Status, str] | None = None


def found(options: Options, code: int) -> bytes | None:
    """The content of the first option of a number."""
    return next((content for number, content in options if number == code), None)


def parse(data: bytes) -> tuple[tuple[Relay, ...], Message]:
    """A message, and the relay agents around it, the one next to the server first.

    Raises `Malformed`.
    """
    relays: list[Relay] = []
    while data and _TYPES.get(data[0]) in _RELAYED:
        if len(relays) > MAX_RELAYS:
            raise Malformed("more relay agents than there may be")
        _, relay, data = parse_relay(data)
        relays.append(relay)
    kind = _TYPES.get(data[0]) if data else None
    if kind is None or len(data) < _HEAD:
        raise Malformed("shorter than a header, or of an unknown type")
    return tuple(relays), Message(kind, data[1:_HEAD], parse_options(data[_HEAD:]))


def parse_relay(data: bytes) -> tuple[Type, Relay, bytes]:
    """The type of a relay agent's message, its header, and what it carries. Raises `Malformed`."""
    kind = _TYPES.get(data[0]) if data else None
    if kind not in _RELAYED or len(data) < _RELAY.size:
        raise Malformed("shorter than a relay agent's header, or of another type")
    _, hops, link, peer = _RELAY.unpack_from(data)
    options = parse_options(data[_RELAY.size :])
    carried = found(options, Option.RELAY_MESSAGE)
    if carried is None:
        raise Malformed("a relay agent's message without a message")
    rest = tuple(one for one in options if one[0] != Option.RELAY_MESSAGE)
    return kind, Relay(hops, IPv6Address(link), IPv6Address(peer), rest), carried


def parse_options(area: bytes) -> Options:
    """Options that fill an area. Raises `Malformed`."""
    options = []
    at = 0
    while at < len(area):
        if at + _OPTION.size > len(area):
            raise Malformed("an option is cut")
        code, length = _OPTION.unpack_from(area, at)
        at += _OPTION.size
        if at + length > len(area):
            raise Malformed(f"option {code} goes beyond its area")
        options.append((code, area[at : at + length]))
        at += length
    return tuple(options)


def build(message: Message, relays: Sequence[Relay] = (), kind: Type = Type.RELAY_REPL) -> bytes:
    """The bytes of a message with the relay agents around it, in the order of `parse`."""
    data = bytes((message.type,)) + message.transaction + build_options(message.options)
    for relay in reversed(relays):
        data = build_relay(kind, relay, data)
    return data


def build_relay(kind: Type, relay: Relay, carried: bytes) -> bytes:
    """The bytes of a relay agent's message around another."""
    head = _RELAY.pack(kind, relay.hops, relay.link.packed, relay.peer.packed)
    return head + build_options([*relay.options, (Option.RELAY_MESSAGE, carried)])


def build_options(options: Iterable[tuple[int, bytes]]) -> bytes:
    return b"".join(_OPTION.pack(code, len(content)) + content for code, content in options)


def parse_association(kind: int, content: bytes) -> Association:
    """What an IA_NA or IA_PD option holds. Raises `Malformed`."""
    if len(content) < _IA.size:
        raise Malformed("an association is cut")
    iaid, renew, rebind = _IA.unpack_from(content)
    inner = Option.IA_ADDRESS if kind == Option.IA_NA else Option.IA_PREFIX
    read = _parse_address if kind == Option.IA_NA else _parse_prefix
    options = parse_options(content[_IA.size :])
    granted = tuple(read(held) for code, held in options if code == inner)
    return Association(kind, iaid, granted, renew, rebind)


def _parse_address(content: bytes) -> Granted:
    if len(content) < _ADDRESS.size:
        raise Malformed("an address is cut")
    address, preferred, valid = _ADDRESS.unpack_from(content)
    return Granted(IPv6Network(address), preferred, valid)


def _parse_prefix(content: bytes) -> Granted:
    if len(content) < _PREFIX.size:
        raise Malformed("a prefix is cut")
    preferred, valid, length, address = _PREFIX.unpack_from(content)
    if length > 128:
        raise Malformed("a prefix is longer than an address")
    return Granted(IPv6Network((address, length), strict=False), preferred, valid)


def build_association(association: Association) -> tuple[int, bytes]:
    """The option of an association."""
    options = [_granted(association.kind, one) for one in association.granted]
    if association.status is not None:
        options.append(status(*association.status))
    head = _IA.pack(association.iaid, association.renew, association.rebind)
    return association.kind, head + build_options(options)


def _granted(kind: int, one: Granted) -> tuple[int, bytes]:
    address = one.network.network_address.packed
    if kind == Option.IA_NA:
        return Option.IA_ADDRESS, _ADDRESS.pack(address, one.preferred, one.valid)
    length = one.network.prefixlen
    return Option.IA_PREFIX, _PREFIX.pack(one.preferred, one.valid, length, address)


def status(code: Status, text: str) -> tuple[int, bytes]:
    """A status option: a code, and words for whoever reads logs."""
    return Option.STATUS, code.to_bytes(2, "big") + text.encode()
