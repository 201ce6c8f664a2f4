"""IPFIX messages (RFC 7011) of blocks of ports that a NAT gives (RFC 8158).

Each message has the template in front of its one record: a collector needs to have seen no other.
"""

from __future__ import annotations

import socket
import struct
import time
import zlib
from contextlib import suppress
from ipaddress import IPv4Address

from nfv.functions.base import Row

_VERSION = 10
_TEMPLATE_SET, _TEMPLATE = 2, 256
_FIELDS = (  # number and length of each information element, as IANA has them
    (323, 8),  # observationTimeMilliseconds
    (230, 1),  # natEvent
    (8, 4),  # sourceIPv4Address
    (225, 4),  # postNATSourceIPv4Address
    (361, 2),  # portRangeStart
    (362, 2),  # portRangeEnd
)
_RECORD = struct.Struct("!QB4s4sHH")
_HEADER = struct.Struct("!HHIII")  # version, length, export time, sequence, observation domain
_SET = struct.Struct("!HH")  # identifier, length
_EVENTS = {"allocated": 16, "released": 17}  # natEvent: port block allocation, de-allocation


def message(record: Row, moment: float, sequence: int, domain: int) -> bytes:
    """The message of a block that was given at some moment, or came back; seconds since 1970."""
    data = _RECORD.pack(
        int(moment * 1000),
        _EVENTS[str(record["event"])],
        IPv4Address(str(record["inside"])).packed,
        IPv4Address(str(record["outside"])).packed,
        record["first_port"],
        record["last_port"],
    )
    fields = b"".join(struct.pack("!HH", *field) for field in _FIELDS)
    template = struct.pack("!HH", _TEMPLATE, len(_FIELDS)) + fields
    body = _set(_TEMPLATE_SET, template) + _set(_TEMPLATE, data)
    length = _HEADER.size + len(body)
    return _HEADER.pack(_VERSION, length, int(time.time()), sequence, domain) + body


def _set(identifier: int, content: bytes) -> bytes:
    return _SET.pack(identifier, _SET.size + len(content)) + content


class Exporter:
    """Sends messages to a collector by UDP; what is lost on the way is in the log all the same."""

    def __init__(self, collector: tuple[str, int], source: str) -> None:
        """`source` names who tells, and has an observation domain of its own."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._collector = collector
        self._domain = zlib.crc32(source.encode())
        self._sequence = 0  # records sent before

    def close(self) -> None:
        self._socket.close()

    def send(self, record: Row, moment: float) -> None:
        """Tell of a record."""
        data = message(record, moment, self._sequence, self._domain)
        self._sequence = self._sequence + 1 & 0xFFFFFFFF
        with suppress(OSError):
            self._socket.sendto(data, self._collector)
