"""Neighbours found before there is a packet for them, so that the first one is not held up."""

from __future__ import annotations

import socket
import time
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address

from nfv.dataplane.kernel import netns
from nfv.dataplane.kernel.rtsocket import NLM_F_CREATE, Request, RtSocket, open_socket, split
from nfv.dataplane.routing import routemsg
from nfv.dataplane.routing.routemsg import Address, Neighbour

_BUFFER = 1 << 20  # bytes
_DATAGRAM = 1 << 16  # bytes

Wanted = tuple[str, "IPv4Address | IPv6Address"]
"""A device, and an address of a neighbour that is reached by it."""


def resolve(place: str, wanted: Collection[Wanted], seconds: float) -> None:
    """Have the kernel of a namespace ask for neighbours, and return when it knows all of them.

    Those that have not answered after so many seconds are left.
    """
    with netns.entered(place):
        events = open_socket(_BUFFER, routemsg.GROUP_MASK)
        requests = RtSocket()
        left = {_key(device, address) for device, address in wanted}
    try:
        for ifindex, address in left:
            body = routemsg.use_request(Neighbour(ifindex, address, None, False))
            what = "resolve a neighbour"
            requests.request([Request(what, routemsg.RTM_NEWNEIGH, NLM_F_CREATE, body)])
        known = requests.messages(
            routemsg.RTM_GETNEIGH, routemsg.neighbour_request(), "list neighbours"
        )
        left -= {_known(data) for data in known}
        _follow(events, left, time.monotonic() + seconds)
    finally:
        events.close()
        requests.close()


def _key(device: str, address: IPv4Address | IPv6Address) -> tuple[int, Address]:
    return socket.if_nametoindex(device), Address(address.version, int(address))


def _known(data: bytes) -> tuple[int, Address] | None:
    """The neighbour that a message says to be usable."""
    found = routemsg.neighbour(data)
    return (found.ifindex, found.address) if found and found.mac else None


def _follow(events: socket.socket, left: set[tuple[int, Address]], deadline: float) -> None:
    """Read what becomes known until nothing is left."""
    while left and (patience := deadline - time.monotonic()) > 0:
        events.settimeout(patience)
        try:
            data = events.recv(_DATAGRAM)
        except TimeoutError:
            return
        for message in split(data):
            if message.type == routemsg.RTM_NEWNEIGH and (known := _known(message.data)):
                left.discard(known)
