"""A Linux network stack for a service: what the service need not do itself, TCP above all.

It is a network namespace of the service's own with one interface, a tap that the service reads and
writes. The namespace has no name and ends with the process.

A stack is in no chain: frames come and go through the stages of the service's. Which station is on
which side is learnt from the frames that come in, as a switch does; what is for nobody known, and
what is for everybody, leaves at every stage.
"""

from __future__ import annotations

import io
import os
import socket
from collections import OrderedDict
from collections.abc import Callable, Sequence

from nfv.chain.fields import Address, InterfaceAddress
from nfv.dataplane.kernel import netns, tap
from nfv.dataplane.kernel.netlink import Netlink

DEVICE = "eth0"

_MAX_STATIONS = 4096
_READ_SIZE = 1 << 16
_ADDRESSES = 12  # bytes of a frame's two MAC addresses
_GROUP = 0x01
_SETTINGS = {
    "net/ipv6/conf/all/accept_dad": "0",  # nobody else may have the addresses
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv6/conf/default/router_solicitations": "0",
}

Send = Callable[[int, bytes], None]
"""Lets a frame go on from a stage."""


class Stack:
    """A network namespace with one interface; sockets in it are made by `socket`."""

    def __init__(self, mac: str, mtu: int, send: Send) -> None:
        """Raises `KernelError`."""
        self._send = send
        self._stages: Sequence[int] = ()
        self._stations: OrderedDict[bytes, int] = OrderedDict()  # MAC address -> stage towards it
        self._space = netns.anonymous()
        with netns.inside(self._space):
            for path, value in _SETTINGS.items():
                netns.write_sysctl(path, value)
            tap.create(DEVICE, mac)
            self._file: io.FileIO = tap.open(DEVICE)
            with Netlink() as netlink:
                netlink.set_link("lo", up=True)
                netlink.set_link(DEVICE, mtu=mtu, up=True)
        os.set_blocking(self._file.fileno(), False)

    def fileno(self) -> int:
        """Readable when the stack has something to send: then call `forward`."""
        return self._file.fileno()

    @property
    def namespace(self) -> int:
        """A descriptor of the namespace, open as long as the stack is."""
        return self._space

    def configure(
        self,
        addresses: Sequence[InterfaceAddress],
        gateways: Sequence[Address],
        stages: Sequence[int],
    ) -> None:
        """Give the interface its addresses and default routes; `stages` are the ways out."""
        self._stages = stages
        with netns.inside(self._space), Netlink() as netlink:
            index = netlink.link(DEVICE).index
            wanted = [str(address) for address in addresses]
            there = [
                found.address
                for found in netlink.addresses(index)
                if not found.address.startswith("fe80:")
            ]
            for text in set(wanted) - set(there):
                netlink.add_address(DEVICE, text)
            for text in set(there) - set(wanted):
                netlink.del_address(DEVICE, text)
            for gateway in gateways:
                destination = "0.0.0.0/0" if gateway.version == 4 else "::/0"
                netlink.add_route(destination, via=str(gateway), device=DEVICE, replace=True)

    def socket(self, family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
        """A socket of the stack, not blocking."""
        with netns.inside(self._space):
            made = socket.socket(family, kind)
        made.setblocking(False)
        return made

    def deliver(self, back: int, frame: bytes) -> None:
        """Take in a frame; `back` is the stage at which its answers leave."""
        source = frame[6:_ADDRESSES]
        self._stations[source] = back
        self._stations.move_to_end(source)
        if len(self._stations) > _MAX_STATIONS:
            self._stations.popitem(last=False)
        try:
            os.write(self._file.fileno(), frame)
        except OSError:  # too short, or too much at once: lost as on a wire
            return

    def forward(self) -> None:
        """Send what the stack has to send."""
        while True:
            try:
                frame = os.read(self._file.fileno(), _READ_SIZE)
            except BlockingIOError:
                return
            stage = None if frame[0] & _GROUP else self._stations.get(frame[:6])
            for way in self._stages if stage is None else (stage,):
                self._send(way, frame)

    def close(self) -> None:
        self._file.close()
        os.close(self._space)
