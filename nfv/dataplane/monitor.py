"""What changes in a network namespace, as the kernel tells it (rtnetlink(7) multicast groups).

The kernel does not tell everything: IPv4 routes that go because their device went down, or because
an address they need was deleted, vanish without a message of their own. A reader that follows
routes lists them again after either, and after an `Overrun`.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from enum import Enum
from types import TracebackType

from nfv.dataplane import netns as namespaces
from nfv.dataplane import rtnl
from nfv.dataplane.refusal import refused
from nfv.dataplane.rtnl import RtObject
from nfv.dataplane.rtsocket import NLM_F_REPLACE, open_socket, split

# RTNLGRP_* of include/uapi/linux/rtnetlink.h: link, neighbour; address, route, rule of each family.
_GROUPS = (1, 3, 5, 7, 8, 9, 11, 19)
_GROUP_MASK = sum(1 << group - 1 for group in _GROUPS)

_RECEIVE_BUFFER = 16 << 20  # bytes; some 10,000 messages, each with the kernel's own overhead
_RECEIVE_SIZE = 1 << 16
_MESSAGES_PER_READ = 1024

_DELETIONS = frozenset(
    {rtnl.RTM_DELLINK, rtnl.RTM_DELADDR, rtnl.RTM_DELROUTE, rtnl.RTM_DELNEIGH, rtnl.RTM_DELRULE}
)


class Action(Enum):
    """What became of an object."""

    SET = "set"  # it is there, as told; perhaps it was before
    REPLACED = "replaced"  # a route took the place of one of the same destination and metric
    DELETED = "deleted"


@dataclass(frozen=True)
class Change:
    """One change of one object."""

    action: Action
    object: RtObject


@dataclass(frozen=True)
class Overrun:
    """Changes were lost, since they were not read in time: list everything again."""


Event = Change | Overrun


class Monitor:
    """Changes of links, addresses, routes, neighbours and rules in a namespace, from now on.

    A netns of None is the calling thread's. Wait for `fileno()` to become readable, then `read()`.
    """

    def __init__(self, netns: str | None = None) -> None:
        with namespaces.entered(netns):
            self._socket = open_socket(_RECEIVE_BUFFER, _GROUP_MASK)
        self._what = "follow changes" + (f" in namespace {netns}" if netns else "")

    def __enter__(self) -> Monitor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> list[Event]:
        """What has come in, at most some 1000 messages; never waits."""
        events: list[Event] = []
        for _ in range(_MESSAGES_PER_READ):
            try:
                data = self._socket.recv(_RECEIVE_SIZE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise refused(self._what, error) from error
                events.append(Overrun())
                continue
            events.extend(_changes(data))
        return events


def _changes(data: bytes) -> list[Change]:
    changes = []
    for reply in split(data):
        parse = rtnl.PARSERS.get(reply.type)
        parsed = parse(reply.data) if parse else None
        if parsed is not None:
            changes.append(Change(_action(reply.type, reply.flags), parsed))
    return changes


def _action(type_: int, flags: int) -> Action:
    if type_ in _DELETIONS:
        return Action.DELETED
    return Action.REPLACED if flags & NLM_F_REPLACE else Action.SET
