"""The far ends of SAPs: what leaves the chains there is taken as frames, and frames are sent back.

For hosts and veths this is the device behind the SAP, for a tap the file of the tap, for a NIC the
other end of the cable.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from contextlib import ExitStack
from typing import NamedTuple

from nfv.dataplane.kernel import bpf, ethtool, netns, tap
from nfv.dataplane.kernel.bpf import AttachType, ProgramType
from nfv.dataplane.wiring import Device, Port
from nfv.errors import KernelError
from nfv.services.packets import checksum

_ETH_P_ALL = 0x0003
_SO_RCVBUFFORCE = 33  # socket(7)
_SO_TIMESTAMPNS = 35
_SOL_PACKET = 263  # packet(7)
_PACKET_STATISTICS = 6
_PACKET_AUXDATA = 8
_PACKET_VNET_HDR = 15
_PACKET_QDISC_BYPASS = 20
_PACKET_IGNORE_OUTGOING = 23
_BUFFER = 64 << 20  # bytes
_LONGEST = 1 << 17  # bytes of a frame of many segments

_VNET = struct.Struct("=BBHHHH")  # struct virtio_net_hdr
_NEEDS_CHECKSUM = 1
_UDP_CHECKSUM = 6  # place in the header
_AUXDATA = struct.Struct("=IIIHHHH")  # struct tpacket_auxdata
_STATISTICS = struct.Struct("=II")  # struct tpacket_stats: frames, and those dropped
_VLAN_VALID, _TPID_VALID = 1 << 4, 1 << 6
_VLAN = 0x8100
_MACS = 12  # bytes in front of a VLAN tag
_TIMESPEC = struct.Struct("=qq")
_NANOSECONDS = 1_000_000_000

_RETURN = struct.Struct("<BBhi")  # struct bpf_insn
_TWO = _RETURN.pack(0xB7, 0, 0, 2) + _RETURN.pack(0x95, 0, 0, 0)
"""A program that returns 2: XDP_PASS, and TC_ACT_SHOT."""


class Frame(NamedTuple):
    """A frame, and when it came: nanoseconds of the monotonic clock."""

    moment: int
    data: bytes


class FarEnd:
    """One far end, open. `silent`: Linux behind it neither receives nor sends anything."""

    def __init__(self, port: Port, device: Device | None, silent: bool) -> None:
        self._open = ExitStack()
        try:
            if device is None:
                self._end: _Packets | _Tap = _Tap(port.outer)
            else:
                self._end = _Packets(device)
            self._open.callback(self._end.close)
            if device is not None:
                self._prepare(device, silent)
        except BaseException:
            self._open.close()
            raise

    def fileno(self) -> int:
        return self._end.fileno()

    def read(self) -> Frame | None:
        """The next frame; None if there is none."""
        return self._end.read()

    def send(self, data: bytes) -> None:
        """Send a frame as what is behind the SAP would."""
        self._end.send(data)

    @property
    def lost(self) -> int:
        """Frames that came and could not be kept."""
        return self._end.lost

    def close(self) -> None:
        self._open.close()

    def _prepare(self, device: Device, silent: bool) -> None:
        """Let frames come as they were sent: GRO would join those of a TCP connection.

        The XDP program is for the veth to go on with NAPI, without which it takes no redirects.
        """
        with netns.entered(device.netns):
            index = socket.if_nametoindex(device.name)
            self._attach(ProgramType.XDP, bpf.F_XDP_HAS_FRAGS, index, AttachType.XDP)
            ethtool.set_features(device.name, {"gro": False})
            if silent:
                for hook in (AttachType.TCX_INGRESS, AttachType.TCX_EGRESS):
                    self._attach(ProgramType.SCHED_CLS, 0, index, hook)

    def _attach(self, type_: ProgramType, flags: int, index: int, at: AttachType) -> None:
        program = bpf.prog_load(_TWO, "nfv_far_end", type_=type_, flags=flags)
        self._open.callback(os.close, program)
        self._open.callback(os.close, bpf.link_create(program, index, at))


class _Packets:
    """A packet socket: it gets frames before, and sends them behind, the programs at TC."""

    def __init__(self, device: Device) -> None:
        with netns.entered(device.netns):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            try:
                self._set(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
                self._set(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
                for option in (
                    _PACKET_AUXDATA,
                    _PACKET_VNET_HDR,
                    _PACKET_QDISC_BYPASS,
                    _PACKET_IGNORE_OUTGOING,
                ):
                    self._set(_SOL_PACKET, option, 1)
                self._socket.bind((device.name, _ETH_P_ALL))
            except OSError as error:
                self._socket.close()
                raise KernelError(f"cannot listen at {device.name}: {error}") from error
        self._socket.setblocking(False)
        self._ahead = time.time_ns() - time.monotonic_ns()  # of the monotonic clock
        self.lost = 0

    def _set(self, level: int, option: int, value: int) -> None:
        self._socket.setsockopt(level, option, value)

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> Frame | None:
        try:
            data, extra, _, _ = self._socket.recvmsg(_LONGEST, 256)
        except BlockingIOError:
            self._count_lost()
            return None
        told = {(level, kind): value for level, kind, value in extra}
        moment = _moment(told[socket.SOL_SOCKET, _SO_TIMESTAMPNS]) - self._ahead
        frame = _finished(data)
        return Frame(moment, _tagged(frame, told[_SOL_PACKET, _PACKET_AUXDATA]))

    def send(self, data: bytes) -> None:
        self._socket.send(bytes(_VNET.size) + data)

    def close(self) -> None:
        self._socket.close()

    def _count_lost(self) -> None:
        """The kernel counts anew each time it is asked."""
        counts = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
        self.lost += int(_STATISTICS.unpack(counts)[1])


class _Tap:
    """The file of a tap."""

    def __init__(self, device: Device) -> None:
        with netns.entered(device.netns):
            self._file = tap.open(device.name)
        os.set_blocking(self._file.fileno(), False)
        self.lost = 0

    def fileno(self) -> int:
        return self._file.fileno()

    def read(self) -> Frame | None:
        data = self._file.read(_LONGEST)
        return Frame(time.monotonic_ns(), data) if data else None

    def send(self, data: bytes) -> None:
        self._file.write(data)

    def close(self) -> None:
        self._file.close()


def _moment(stamp: bytes) -> int:
    """A struct timespec in nanoseconds."""
    seconds, nanoseconds = _TIMESPEC.unpack(stamp)
    return int(seconds * _NANOSECONDS + nanoseconds)


def _finished(data: bytes) -> bytes:
    """The frame, with the checksum that its sender has left to the device."""
    flags, _, _, _, start, offset = _VNET.unpack_from(data)
    frame = bytearray(data[_VNET.size :])
    if flags & _NEEDS_CHECKSUM:  # what is there is the sum of the pseudo header
        place = start + offset
        nothing = 0xFFFF if offset == _UDP_CHECKSUM else 0  # 0 would say that there is none
        frame[place : place + 2] = (checksum(bytes(frame[start:])) or nothing).to_bytes(2, "big")
    return bytes(frame)


def _tagged(frame: bytes, auxiliary: bytes) -> bytes:
    """The frame, with the VLAN tag that the kernel keeps beside it."""
    status, _, _, _, _, tag, kind = _AUXDATA.unpack(auxiliary[: _AUXDATA.size])
    if not status & _VLAN_VALID:
        return frame
    ethertype = kind if status & _TPID_VALID else _VLAN
    return frame[:_MACS] + struct.pack("!HH", ethertype, tag) + frame[_MACS:]
