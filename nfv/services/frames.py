"""Frames at a service's tap, each behind a header (struct service_header of service.h).

The header says at which of the service's stages the frame is: a chain in one direction. A frame
that is written back goes on from the stage in its header. So what came by stage `s` goes on with
`s`, and the answer to it goes back with `answers_at(s)`, through the functions between the service
and whoever asked.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from nfv.dataplane.kernel import netns, tap
from nfv.dataplane.kernel.netlink import Netlink
from nfv.dataplane.wiring import HEADER_SIZE, Device

_HEADER = struct.Struct("=IIII")
assert _HEADER.size == HEADER_SIZE

_READ_SIZE = 1 << 16  # a frame's greatest length, and more


@dataclass(frozen=True)
class Frame:
    """A frame that the fast path has handed over."""

    stage: int  # where it goes on
    ingress: int  # number of the port where the packet entered
    reason: int  # enum nf_reason
    data: bytes  # from the Ethernet header on


def answers_at(stage: int) -> int:
    """The stage at which the answers to a stage's packets resume: the other direction."""
    return stage ^ 1


class Tap:
    """The tap of a service, open. Only one process at a time can have it open."""

    def __init__(self, device: Device) -> None:
        """Raises `KernelError` if there is none, or somebody has it open."""
        self._device = device
        with netns.entered(device.netns):
            self._file = tap.open(device.name)
        os.set_blocking(self._file.fileno(), False)
        self._index = self._present()

    def fileno(self) -> int:
        return self._file.fileno()

    @property
    def is_current(self) -> bool:
        """Whether the device is still there, and no other of its name."""
        return self._index == self._present()

    def close(self) -> None:
        self._file.close()

    def read(self, most: int) -> Iterator[Frame]:
        """The frames that wait, at most so many. `OSError` if the device is gone."""
        descriptor = self._file.fileno()
        for _ in range(most):
            try:
                data = os.read(descriptor, _READ_SIZE)
            except BlockingIOError:
                return
            if len(data) >= HEADER_SIZE:
                stage, ingress, reason, _ = _HEADER.unpack_from(data)
                yield Frame(stage, ingress, reason, data[HEADER_SIZE:])

    def send(self, stage: int, data: bytes) -> None:
        """Let a frame go on from a stage. Drops it, as a wire would, if it cannot be taken."""
        try:
            os.write(self._file.fileno(), _HEADER.pack(stage, 0, 0, 0) + data)
        except OSError:
            return

    def _present(self) -> int | None:
        """Index of the device that has the name."""
        with Netlink(self._device.netns) as netlink:
            link = netlink.links().get(self._device.name)
        return link.index if link else None
