"""Follows what a NAT has to know of its surroundings, into the map that its programs read.

That is the address of the interface whose address it uses (`masquerade`), which may change at any
moment, and the MAC address of who is inside, for whom it answers ARP.
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from nfv.chain.path import Attachment
from nfv.chain.topology import Topology
from nfv.dataplane import epoch
from nfv.dataplane.kernel import netns
from nfv.dataplane.kernel.bpf import Map
from nfv.dataplane.kernel.refusal import refused
from nfv.dataplane.kernel.rtsocket import RtSocket, open_socket
from nfv.dataplane.routing import routemsg
from nfv.dataplane.wiring import Wiring

_BUFFER = 1 << 20
_RECEIVE_SIZE = 1 << 16
_MASQUERADE, _INSIDE = 4, 8  # in struct self_site of natplan.h
_MAP = "site"


@dataclass(frozen=True)
class Place:
    """A NAT, and where it stands."""

    pins: Path  # of its maps
    epoch: Path  # the topology's
    inside: str  # MAC address, "" if not known
    netns: str | None  # of the interface that it follows, None for no such
    device: str


class Outside:
    """One NAT's surroundings. `fileno()` becomes readable when an address changed.

    Methods raise `KernelError`.
    """

    def __init__(self, place: Place) -> None:
        """Write what is so; forwarding goes on meanwhile."""
        self._place = place
        self._map = Map.open(place.pins / _MAP)
        self._events: socket.socket | None = None
        memory = self._map.memory()
        mac = bytes.fromhex(place.inside.replace(":", "")) or bytes(6)
        memory[_INSIDE : _INSIDE + len(mac)] = mac
        memory.close()
        if place.netns is not None:
            with netns.entered(place.netns):
                self._events = open_socket(_BUFFER, routemsg.ADDRESS_MASK)
                self._requests = RtSocket()
            self._write()

    @property
    def follows(self) -> bool:
        """Whether there is an address that may change."""
        return self._events is not None

    def fileno(self) -> int:
        assert self._events is not None
        return self._events.fileno()

    def close(self) -> None:
        """Let go of the namespace and the map; forwarding goes on as it is."""
        if self._events is not None:
            self._events.close()
            self._requests.close()
        self._map.close()

    def read(self) -> None:
        """Take over the address as it is; what happened meanwhile does not matter."""
        assert self._events is not None
        try:
            while True:
                self._events.recv(_RECEIVE_SIZE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # messages were lost: all is listed anyway
                raise refused("follow the address of an interface", error) from error
        self._write()

    def _write(self) -> None:
        memory = self._map.memory()
        value = struct.pack("=I", self._address())
        changed = memory[_MASQUERADE : _MASQUERADE + len(value)] != value
        memory[_MASQUERADE : _MASQUERADE + len(value)] = value
        memory.close()
        if changed:
            epoch.advance_at(self._place.epoch)

    def _address(self) -> int:
        """The first IPv4 address of the interface, as a number; 0 if it has none."""
        what = f"list the addresses of {self._place.device}"
        links = (
            routemsg.link(reply.data)
            for reply in self._requests.dump(routemsg.RTM_GETLINK, routemsg.link_request(), what)
        )
        indices = {link.ifindex for link in links if link and link.name == self._place.device}
        for reply in self._requests.dump(routemsg.RTM_GETADDR, routemsg.address_request(), what):
            found = routemsg.address(reply.data)
            if found and found[0] in indices:
                return found[1]
        return 0


def surroundings(topology: Topology, wiring: Wiring, root: Path) -> dict[str, Place]:
    """The functions with surroundings to follow, whose maps are pinned below `root`."""
    found = {}
    for name, function in topology.vnfs.items():
        pins = root / "vnf" / name
        if not (pins / _MAP).exists():
            continue
        near = next(c.near for c in topology.chains.values() if name in c.functions)
        followed = function.masquerade
        port = wiring.ports[Attachment.parse(followed)] if followed else None
        inner = port.inner if port else None
        found[name] = Place(
            pins,
            root / "epoch",
            wiring.ports[near].mac or "",
            inner.netns if inner else None,
            inner.name if inner else "",
        )
    return found
