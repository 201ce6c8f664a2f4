"""What remains of topologies that are not applied: after a crash, a kill or a failed removal.

A topology is applied when its state file is there (/run/nfv/NAME/state.json). Only what bears the
project's mark counts. Nothing is removed here: each leftover comes with the command that clears it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nfv.chain import names
from nfv.dataplane import netns
from nfv.dataplane.netlink import Netlink
from nfv.dataplane.rtnl import Link
from nfv.errors import KernelError

STATE = Path("/run/nfv")
PINS = Path("/sys/fs/bpf/nfv")

_MARK = names.owner("")
_NAMESPACE = names.fabric_netns("")


@dataclass(frozen=True)
class Leftover:
    """One object of no applied topology, and the shell command that removes it."""

    what: str
    command: str


def find() -> list[Leftover]:
    """All leftovers, in the caller's network namespace, in the named ones and on disk.

    Raises `KernelError` where the kernel refuses to tell, which takes root.
    """
    applied = {path.parent.name for path in STATE.glob("*/state.json")}
    found = [*_devices(None, applied)]
    for place in netns.names():
        owned = place.startswith(_NAMESPACE)
        try:
            found += _namespace(place, applied) if owned else _devices(place, applied)
        except KernelError:
            if netns.exists(place):  # else it ended while it was looked at
                raise
    return [*found, *_directories(applied)]


def _namespace(name: str, applied: set[str]) -> Iterator[Leftover]:
    """A namespace as a whole: what is in it goes with it."""
    owner = _owner(netns.mark(name))
    if owner is not None and owner not in applied:
        yield Leftover(f"network namespace {name}", f"ip netns delete {shlex.quote(name)}")


def _devices(place: str | None, applied: set[str]) -> Iterator[Leftover]:
    with Netlink(place) as netlink:
        links = netlink.links().values()
    for link in links:
        owner = _owner(link.alias)
        if owner is not None and owner not in applied:
            where = f" in namespace {place}" if place else ""
            yield Leftover(f"device {link.name}{where}", _clear_device(link, place))


def _clear_device(link: Link, place: str | None) -> str:
    ip = f"ip -n {shlex.quote(place)}" if place else "ip"
    name = shlex.quote(link.name)
    if link.kind is None:  # a physical device, which only lost its owner
        return f"{ip} link set dev {name} alias ''"
    return f"{ip} link delete dev {name}"


def _directories(applied: set[str]) -> Iterator[Leftover]:
    for parent, what in ((PINS, "directory of pinned objects"), (STATE, "state directory")):
        for path in sorted(parent.glob("*/")):
            if path.name not in applied:
                yield Leftover(f"{what} {path.name}", f"rm -r {shlex.quote(str(path))}")


def _owner(mark: str | None) -> str | None:
    """The topology in an owner's mark: nfv:TOPOLOGY or nfv:TOPOLOGY:NODE."""
    if mark is None or not mark.startswith(_MARK):
        return None
    return mark.removeprefix(_MARK).split(":")[0]
