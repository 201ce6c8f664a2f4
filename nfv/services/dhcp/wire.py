"""DHCPv4 messages as bytes (RFC 2131, section 2; options by RFC 2132 and RFC 3396).

What is read was written by anybody: a message that contradicts itself is `Malformed`, and none
costs more than its length.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address

from nfv.services.packets import address_of

REQUEST, REPLY = 1, 2  # BOOTP operations
ETHERNET = 1  # hardware type
BROADCAST = 0x8000  # flag: the client cannot take unicast yet

LEAST_LENGTH = 300  # of a BOOTP message (RFC 1542, section 2.1)
DEFAULT_LENGTH = 548  # what each client takes: an IP packet of 576 bytes, less its headers
IP_UDP_HEADERS = 28

_HEADER = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s")
_COOKIE = bytes((99, 130, 83, 99))
_PAD, _END = 0, 255
_CLOSING = bytes((_END,))
_OVERLOAD_SIZE = 3  # of option 52
_MAX_PART = 255  # bytes of an option's part
_PART_HEAD = 2  # bytes in front of them
_UNSPECIFIED = IPv4Address(0)


class Type(IntEnum):
    """Types of messages (option 53)."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


_TYPES = {int(member): member for member in Type}


class Option(IntEnum):
    """Options that the protocol itself uses; those that it only carries are in `options`."""

    SUBNET_MASK = 1
    ROUTERS = 3
    HOSTNAME = 12
    REQUESTED_ADDRESS = 50
    LEASE_TIME = 51
    OVERLOAD = 52
    MESSAGE_TYPE = 53
    SERVER_ID = 54
    PARAMETER_LIST = 55
    MESSAGE = 56
    MAX_SIZE = 57
    RENEWAL_TIME = 58
    REBINDING_TIME = 59
    VENDOR_CLASS = 60
    CLIENT_ID = 61
    BOOT_FILE = 67
    USER_CLASS = 77
    RAPID_COMMIT = 80
    FQDN = 81
    AGENT = 82
    ARCHITECTURE = 93
    IPV6_ONLY = 108
    CLASSLESS_ROUTES = 121
    VENDOR_CLASSES = 124
    VENDOR_OPTIONS = 125


class Malformed(Exception):
    """Bytes that are no message."""


@dataclass(frozen=True)
class Message:
    """A message. Options are their raw contents by code, in the order to be sent."""

    op: int
    xid: int
    chaddr: bytes  # as long as the hardware address is
    htype: int = ETHERNET
    hops: int = 0
    secs: int = 0
    flags: int = 0
    ciaddr: IPv4Address = _UNSPECIFIED
    yiaddr: IPv4Address = _UNSPECIFIED
    siaddr: IPv4Address = _UNSPECIFIED
    giaddr: IPv4Address = _UNSPECIFIED
    sname: bytes = b""
    file: bytes = b""
    options: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def type(self) -> Type | None:
        """What the message is; None for BOOTP, and for types that are not known."""
        value = self.options.get(Option.MESSAGE_TYPE, b"")
        return _TYPES.get(value[0]) if len(value) == 1 else None

    def address(self, option: int) -> IPv4Address | None:
        """The address that an option holds; None if there is none."""
        value = self.options.get(option, b"")
        return IPv4Address(value) if len(value) == 4 else None

    @property
    def room(self) -> int:
        """Bytes of the longest message that the client takes (option 57)."""
        value = self.options.get(Option.MAX_SIZE, b"")
        wanted = int.from_bytes(value, "big") - IP_UDP_HEADERS if len(value) == 2 else 0
        return max(wanted, DEFAULT_LENGTH)


def parse(data: bytes) -> Message:
    """Read a message. Raises `Malformed`."""
    if len(data) < _HEADER.size + len(_COOKIE):
        raise Malformed("shorter than a header")
    if data[_HEADER.size : _HEADER.size + len(_COOKIE)] != _COOKIE:
        raise Malformed("without the options' magic cookie")
    op, htype, hlen, hops, xid, secs, flags, ci, yi, si, gi, chaddr, sname, file = (
        _HEADER.unpack_from(data)
    )
    if op not in (REQUEST, REPLY) or hlen > len(chaddr):
        raise Malformed("a hardware address longer than its field, or neither request nor reply")
    parts: dict[int, list[bytes]] = {}
    _collect(data[_HEADER.size + len(_COOKIE) :], parts)
    overload = b"".join(parts.get(Option.OVERLOAD, ())) or b"\0"
    if overload[0] & 1:  # RFC 2132, section 9.3; the file field comes first
        _collect(file, parts)
    if overload[0] & 2:
        _collect(sname, parts)
    return Message(
        op,
        xid,
        chaddr[:hlen],
        htype,
        hops,
        secs,
        flags,
        address_of(ci),
        address_of(yi),
        address_of(si),
        address_of(gi),
        b"" if overload[0] & 2 else sname.partition(b"\0")[0],
        b"" if overload[0] & 1 else file.partition(b"\0")[0],
        {code: b"".join(found) for code, found in parts.items()},
    )


def _collect(area: bytes, parts: dict[int, list[bytes]]) -> None:
    """Add an area's options; one that comes several times goes on (RFC 3396, section 7)."""
    at = 0
    while at < len(area) and area[at] != _END:
        if area[at] == _PAD:
            at += 1
            continue
        if at + 2 > len(area) or at + 2 + area[at + 1] > len(area):
            raise Malformed(f"option {area[at]} goes beyond its area")
        parts.setdefault(area[at], []).append(area[at + 2 : at + 2 + area[at + 1]])
        at += 2 + area[at + 1]


def build(message: Message, room: int = DEFAULT_LENGTH) -> bytes:
    """The bytes of a message, at most `room`: what of its options does not fit is left out.

    Once the options' own area is full, the fields for names that are not used take the rest; only
    options that are in parts anyway are divided among them. Option 82 goes last (RFC 3046, section
    2.1).
    """
    options = {code: _encoded(code, held) for code, held in message.options.items()}
    if Option.AGENT in options:
        options[Option.AGENT] = options.pop(Option.AGENT)
    area = b"".join(options.values())
    own_room = room - _HEADER.size - len(_COOKIE) - _OVERLOAD_SIZE
    if len(area) < own_room:
        return _assembled(message, area, message.sname, message.file)
    fields = {1: _Area(128), 2: _Area(64)}  # bits of option 52
    unused = {bit: fields[bit] for bit, used in ((1, message.file), (2, message.sname)) if not used}
    first = _Area(own_room - len(options.get(Option.AGENT, b"")))
    for code, option in options.items():
        if code == Option.AGENT:
            first.data += option
        elif not any(area.take(option) for area in (first, *unused.values())):
            _divide(code, message.options[code], (first, *unused.values()))
    taken = {bit: field.closed() for bit, field in unused.items() if field.data}
    overload = bytes((Option.OVERLOAD, 1, sum(taken))) if taken else b""
    names = taken.get(2, message.sname), taken.get(1, message.file)
    return _assembled(message, overload + bytes(first.data), *names)


def _assembled(message: Message, options: bytes, sname: bytes, file: bytes) -> bytes:
    head = _HEADER.pack(
        message.op,
        message.htype,
        len(message.chaddr),
        message.hops,
        message.xid,
        message.secs,
        message.flags,
        message.ciaddr.packed,
        message.yiaddr.packed,
        message.siaddr.packed,
        message.giaddr.packed,
        message.chaddr,
        sname,
        file,
    )
    return (head + _COOKIE + options + _CLOSING).ljust(LEAST_LENGTH, b"\0")


def _encoded(code: int, content: bytes) -> bytes:
    """An option, in parts if it is longer than an option may be (RFC 3396, section 6)."""
    if len(content) <= _MAX_PART:
        return bytes((code, len(content))) + content
    starts = range(0, len(content), _MAX_PART)
    parts = [content[at : at + _MAX_PART] for at in starts]
    return b"".join(bytes((code, len(part))) + part for part in parts)


def _divide(code: int, content: bytes, areas: Iterable[_Area]) -> None:
    """Put a long option into areas in the order in which they are read (RFC 3396, section 5).

    It is left out if there is not room for all of it, or if it is not longer than a part.
    """
    parts: list[tuple[_Area, bytes]] = []
    left = content if len(content) > _MAX_PART else b""
    for area in areas:
        room = area.room
        while left and room > _PART_HEAD:
            size = min(room - _PART_HEAD, _MAX_PART)
            parts.append((area, bytes((code, len(left[:size]))) + left[:size]))
            room -= _PART_HEAD + size
            left = left[size:]
    if not left:
        for area, part in parts:
            area.take(part)


class _Area:
    """A place for options: their own, or a field for a name."""

    def __init__(self, size: int) -> None:
        self.room = size - len(_CLOSING)
        self.data = bytearray()

    def take(self, option: bytes) -> bool:
        """Put an option in; False if it does not fit."""
        if len(option) > self.room:
            return False
        self.room -= len(option)
        self.data += option
        return True

    def closed(self) -> bytes:
        return bytes(self.data) + _CLOSING
