"""Tap devices: an Ethernet device on one side, a file of frames on the other (tuntap(7)).

A tap has one queue, so that any program opens it without asking for more: IFF_MULTI_QUEUE would
have to be asked for by every one of them. So one program at a time has it open. While none has,
the device has no carrier and drops what is sent to it.

All functions work in the calling thread's network namespace and raise `KernelError`.
"""

from __future__ import annotations

import fcntl
import io
import os
import socket
import struct

from nfv.dataplane.kernel.netlink import Netlink
from nfv.dataplane.kernel.refusal import refused
from nfv.errors import KernelError

_CLONE_DEVICE = "/dev/net/tun"

_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_SIOCSIFHWADDR = 0x8924
_IFF_TAP, _IFF_NO_PI, _IFF_TUN_EXCL = 0x0002, 0x1000, 0x8000
_IFREQ_FLAGS = struct.Struct("=16sH22x")
_IFREQ_MAC = struct.Struct("=16sH6s16x")
_ARPHRD_ETHER = 1


def create(name: str, mac: str | None = None) -> None:
    """Make a tap, down, that stays until it is deleted; the name must be free."""
    what = f"create tap {name}"
    clone = _attached(what, name, _IFF_TUN_EXCL)
    try:
        if mac is not None:
            address = bytes.fromhex(mac.replace(":", ""))
            request = _IFREQ_MAC.pack(name.encode(), _ARPHRD_ETHER, address)
            fcntl.ioctl(clone, _SIOCSIFHWADDR, request)
        fcntl.ioctl(clone, _TUNSETPERSIST, 1)
    except OSError as error:
        raise refused(what, error) from error
    finally:
        os.close(clone)


def delete(name: str) -> None:
    """Delete a tap, even while a program has it open."""
    with Netlink() as netlink:
        netlink.del_link(name)


def open(name: str) -> io.FileIO:
    """Open a tap: each read takes one Ethernet frame without its FCS, each write sends one.

    Reads wait for a frame; the file serves poll(2) as well.
    """
    try:
        socket.if_nametoindex(name)  # TUNSETIFF would make a missing one
    except OSError as error:
        raise KernelError(f"there is no tap {name}", "`ip link` lists those there are") from error
    return io.FileIO(_attached(f"open tap {name}", name), "r+")


def _attached(what: str, name: str, flags: int = 0) -> int:
    """A descriptor of the clone device bound to a tap."""
    try:
        clone = os.open(_CLONE_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise refused(what, error, f"{_CLONE_DEVICE} is needed: modprobe tun") from error
    try:
        request = _IFREQ_FLAGS.pack(name.encode(), _IFF_TAP | _IFF_NO_PI | flags)
        fcntl.ioctl(clone, _TUNSETIFF, request)
    except OSError as error:
        os.close(clone)
        raise refused(what, error) from error
    return clone
