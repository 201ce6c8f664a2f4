"""One rtnetlink socket: requests with their acknowledgements, and dumps.

RFC 3549 describes the protocol; Documentation/userspace-api/netlink/intro.rst of Linux describes
acknowledgements, extended acknowledgements and interrupted dumps. What the messages mean is
`nfv.dataplane.kernel.rtnl`'s business.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nfv.dataplane.kernel.refusal import refused
from nfv.errors import KernelError

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400

_NLM_F_DUMP_INTR = 0x10
_NLM_F_ACK_TLVS = 0x200
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLMSGERR_ATTR_MSG = 1

_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12
_SO_RCVBUFFORCE = 33

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ERROR = struct.Struct("=i")
_ATTRIBUTE = struct.Struct("=HH")
_ACK_TLVS_OFFSET = 2 * _HEADER.size + _ERROR.size

_RECEIVE_SIZE = 1 << 17
_RECEIVE_BUFFER = 1 << 20  # bytes; holds the acknowledgements of one sendmsg many times over
_SEND_LIMIT = 32  # requests a sendmsg; what follows a refused one in it is still carried out
_DUMP_ATTEMPTS = 10


@dataclass(frozen=True)
class Request:
    """One change to ask the kernel for; `what` completes the sentence "cannot ..."."""

    what: str
    type: int
    flags: int
    body: bytes  # the message after its netlink header


@dataclass(frozen=True)
class Reply:
    """One message from the kernel, undecoded."""

    type: int
    flags: int
    sequence: int
    data: bytes


class RtSocket:
    """An rtnetlink socket in the calling thread's network namespace."""

    def __init__(self) -> None:
        self._socket = open_socket(_RECEIVE_BUFFER)
        self._sequence = 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def request(self, requests: Sequence[Request]) -> None:
        """Carry out all requests in order, several a system call.

        Raises `KernelError` for the first refused one. Requests are no transaction: those before
        it stay done, and up to 31 after it may have been carried out as well.
        """
        for start in range(0, len(requests), _SEND_LIMIT):
            self._exchange(requests[start : start + _SEND_LIMIT])

    def get(self, type_: int, body: bytes, what: str) -> bytes:
        """The one object that a request selects."""
        return self._ask(type_, NLM_F_ACK, body, what)[0].data

    def dump(self, type_: int, body: bytes, what: str) -> list[Reply]:
        """All objects that a request selects, from one consistent pass of the kernel.

        Of the members of something absent, such as an unused routing table, there are none.
        """
        for _ in range(_DUMP_ATTEMPTS):
            replies = self._ask(type_, NLM_F_DUMP, body, what)
            if not any(reply.flags & _NLM_F_DUMP_INTR for reply in replies):
                return replies[:-1]
        raise _changing(what)

    def messages(self, type_: int, body: bytes, what: str) -> list[bytes]:
        """As `dump`, for very many: the messages alone."""
        for _ in range(_DUMP_ATTEMPTS):
            try:
                found = self._messages(type_, body)
            except OSError as error:
                raise refused(what, error) from error
            if found is not None:
                return found
        raise _changing(what)

    def _messages(self, type_: int, body: bytes) -> list[bytes] | None:
        """All messages of a dump; None if it was interrupted."""
        self._sequence += 1
        sequence = self._sequence
        self._socket.send(_message(type_, NLM_F_REQUEST | NLM_F_DUMP, sequence, body))
        found: list[bytes] = []
        whole = True
        while True:
            data = self._socket.recv(_RECEIVE_SIZE)
            at, end = 0, len(data)
            while at < end:
                length, kind, flags, number, _port = _HEADER.unpack_from(data, at)
                if number == sequence:
                    whole &= not flags & _NLM_F_DUMP_INTR
                    if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                        _check(data[at : at + length])
                        return found if whole else None
                    found.append(data[at : at + length])
                at += (length + 3) & ~3

    def _ask(self, type_: int, flags: int, body: bytes, what: str) -> list[Reply]:
        """The replies to a request, the closing one included."""
        self._sequence += 1
        try:
            self._socket.send(_message(type_, NLM_F_REQUEST | flags, self._sequence, body))
            return list(self._until_done(self._sequence))
        except OSError as error:
            raise refused(what, error) from error

    def _exchange(self, requests: Sequence[Request]) -> None:
        first = self._sequence + 1
        self._sequence += len(requests)
        try:
            self._socket.send(
                b"".join(
                    _message(r.type, NLM_F_REQUEST | NLM_F_ACK | r.flags, first + i, r.body)
                    for i, r in enumerate(requests)
                )
            )
            errors = self._acknowledgements(first, len(requests))
        except OSError as error:
            raise refused(requests[0].what, error) from error
        if errors:
            sequence = min(errors)
            code, detail = errors[sequence]
            raise refused(requests[sequence - first].what, OSError(code, os.strerror(code)), detail)

    def _acknowledgements(self, first: int, count: int) -> Mapping[int, tuple[int, str]]:
        """Wait for `count` acknowledgements; the errors among them by sequence number."""
        errors = {}
        waiting = set(range(first, first + count))
        while waiting:
            for reply in split(self._socket.recv(_RECEIVE_SIZE)):
                if reply.type != _NLMSG_ERROR or reply.sequence not in waiting:
                    continue
                waiting.discard(reply.sequence)
                code = -_ERROR.unpack_from(reply.data, _HEADER.size)[0]
                if code:
                    errors[reply.sequence] = (code, _explanation(reply))
        return errors

    def _until_done(self, sequence: int) -> Iterator[Reply]:
        """Replies up to and with the closing one; raises `OSError` when the kernel refuses."""
        while True:
            for reply in split(self._socket.recv(_RECEIVE_SIZE)):
                if reply.sequence != sequence:
                    continue
                if reply.type in (_NLMSG_ERROR, _NLMSG_DONE):
                    _check(reply.data)
                    yield reply
                    return
                yield reply


def open_socket(receive_buffer: int, groups: int = 0) -> socket.socket:
    """A bound rtnetlink socket in the calling thread's namespace.

    `receive_buffer` in bytes, beyond net.core.rmem_max; `groups` is the mask of groups 1 to 32.
    """
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    except OSError as error:
        raise refused("open a netlink socket", error) from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, receive_buffer)
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            sock.setsockopt(_SOL_NETLINK, option, 1)
        sock.bind((0, groups))
    except OSError as error:
        sock.close()
        raise refused("set up a netlink socket", error) from error
    return sock


def split(data: bytes) -> Iterator[Reply]:
    """The netlink messages in one datagram."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, type_, flags, sequence, _port = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield Reply(type_, flags, sequence, data[offset : offset + length])
        offset += (length + 3) & ~3


def _check(closing: bytes) -> None:
    """Raise `OSError` if the closing message of a request says so."""
    code = -_ERROR.unpack_from(closing, _HEADER.size)[0]
    if code and code != errno.ENOENT:
        raise OSError(code, os.strerror(code))


def _changing(what: str) -> KernelError:
    return KernelError(
        f"cannot {what}: it changed {_DUMP_ATTEMPTS} times while it was read",
        "try again when fewer changes are under way",
    )


def _message(type_: int, flags: int, sequence: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), type_, flags, sequence, 0) + body


def _explanation(reply: Reply) -> str:
    """The kernel's own words in an extended acknowledgement, or nothing."""
    if not reply.flags & _NLM_F_ACK_TLVS:
        return ""
    offset = _ACK_TLVS_OFFSET
    while offset + _ATTRIBUTE.size <= len(reply.data):
        length, type_ = _ATTRIBUTE.unpack_from(reply.data, offset)
        if type_ == _NLMSGERR_ATTR_MSG:
            text = reply.data[offset + _ATTRIBUTE.size : offset + length]
            return text.rstrip(b"\0").decode(errors="replace")
        offset += max((length + 3) & ~3, _ATTRIBUTE.size)
    return ""
