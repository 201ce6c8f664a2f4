"""The link between a port's device and its program, pinned in bpffs."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from nfv.chain.sap import Hook
from nfv.dataplane.kernel import bpf, netns
from nfv.dataplane.kernel.bpf import AttachType, LinkType, ProgramType
from nfv.dataplane.kernel.netlink import Netlink
from nfv.dataplane.wiring import Device, Port
from nfv.errors import KernelError

PROGRAM_TYPES: Mapping[Hook, ProgramType] = {
    Hook.XDP: ProgramType.XDP,
    Hook.TC: ProgramType.SCHED_CLS,
}
_ATTACH_TYPES = {Hook.XDP: AttachType.XDP, Hook.TC: AttachType.TCX_INGRESS}
_HOOKS = {LinkType.XDP: Hook.XDP, LinkType.TCX: Hook.TC}


def reattach(pin: Path, port: Port) -> None:
    """Detach the XDP program of a port's pinned link, and attach it again.

    A veth learns only so that a program takes longer frames than the one before (veth_xdp_set).
    Frames that arrive meanwhile are lost.
    """
    with netns.entered(port.outer.netns):
        index = ifindex(port.outer)
        program = running(pin, index, Hook.XDP)
        if program is None:
            raise KernelError(f"no program is attached to {port.outer.name}")
        link = bpf.obj_get(pin)
        try:
            bpf.link_detach(link)
            pin.unlink()
            attach(program, index, Hook.XDP, pin)
        finally:
            os.close(link)
            os.close(program)


def running(pin: Path, device: int, hook: Hook) -> int | None:
    """The program of a pinned link, if the link is that of a device, by ifindex, of this namespace.

    An XDP link does not tell in which namespace its index counts; the device tells its program.
    """
    found = hook_of(pin)
    if found is not hook:
        return None
    link = bpf.obj_get(pin)
    try:
        ident, index = bpf.link_info(link)
    finally:
        os.close(link)
    if index != device:
        return None
    if hook is Hook.XDP:
        with Netlink() as netlink:
            if netlink.link(device).xdp_prog_id != ident:
                return None
    return bpf.prog_open(ident)


def hook_of(pin: Path) -> Hook | None:
    """Which hook a pinned link is for; None if nothing is pinned."""
    if not pin.exists():
        return None
    link = bpf.obj_get(pin)
    try:
        return _HOOKS[LinkType(bpf.link_type(link))]
    finally:
        os.close(link)


def update(pin: Path, program: int) -> None:
    """Exchange the program of a pinned link in one step."""
    link = bpf.obj_get(pin)
    try:
        bpf.link_update(link, program)
    finally:
        os.close(link)


def attach(program: int, device: int, hook: Hook, pin: Path) -> None:
    """Attach a program to a device, by ifindex in this namespace, and pin the link."""
    pin.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    link = bpf.link_create(program, device, _ATTACH_TYPES[hook])
    try:
        bpf.obj_pin(link, pin)
    finally:
        os.close(link)


def detach(pin: Path) -> None:
    """Take a pinned link's program from its device, wherever that is; no pin is no error."""
    if not pin.exists():
        return
    link = bpf.obj_get(pin)
    try:
        if bpf.link_info(link)[1]:
            bpf.link_detach(link)
    finally:
        os.close(link)
    pin.unlink()


def ifindex(device: Device) -> int:
    """Index of a device, in whose namespace the thread must be."""
    try:
        return socket.if_nametoindex(device.name)
    except OSError as error:
        raise KernelError(f"there is no device {device.name}") from error
