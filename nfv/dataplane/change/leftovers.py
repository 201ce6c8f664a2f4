"""What remains of topologies that are not applied: after a crash, a kill or a failed removal.

Only what bears the project's mark counts. Nothing is removed here: each leftover comes with the
command that clears it.
"""

from __future__ import annotations

import fcntl
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from nfv.chain import names
from nfv.dataplane import state
from nfv.dataplane.kernel import netns
from nfv.dataplane.kernel.netlink import Netlink
from nfv.dataplane.kernel.rtnl import Link
from nfv.errors import KernelError

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
    kept = {*state.names(), *_changing()}
    found = [*_devices(None, kept)]
    for place in netns.names():
        owned = place.startswith(_NAMESPACE)
        try:
            found += _namespace(place, kept) if owned else _devices(place, kept)
        except KernelError:
            if netns.exists(place):  # else it ended while it was looked at
                raise
    return [*found, *_directories(kept)]


def _namespace(name: str, kept: set[str]) -> Iterator[Leftover]:
    """A namespace as a whole: what is in it goes with it."""
    owner = _owner(netns.mark(name))
    if owner is not None and owner not in kept:
        yield Leftover(f"network namespace {name}", f"ip netns delete {shlex.quote(name)}")


def _devices(place: str | None, kept: set[str]) -> Iterator[Leftover]:
    with Netlink(place) as netlink:
        links = netlink.links().values()
    for link in links:
        owner = _owner(link.alias)
        if owner is not None and owner not in kept:
            where = f" in namespace {place}" if place else ""
            yield Leftover(f"device {link.name}{where}", _clear_device(link, place))


def _clear_device(link: Link, place: str | None) -> str:
    ip = f"ip -n {shlex.quote(place)}" if place else "ip"
    name = shlex.quote(link.name)
    if link.kind is None:  # a physical device, which only lost its owner
        return f"{ip} link set dev {name} alias ''"
    return f"{ip} link delete dev {name}"


def _directories(kept: set[str]) -> Iterator[Leftover]:
    for parent, what in (
        (state.PINS, "directory of pinned objects"),
        (state.RUN, "state directory"),
    ):
        for path in sorted(parent.glob("*")):
            if path.is_dir() and path.name not in kept:
                yield Leftover(f"{what} {path.name}", f"rm -r {shlex.quote(str(path))}")


def _changing() -> Iterator[str]:
    """The topologies that a process has locked: being applied, changed or destroyed."""
    for path in state.RUN.glob("*.lock"):
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                yield path.stem


def _owner(mark: str | None) -> str | None:
    """The topology in an owner's mark: nfv:TOPOLOGY or nfv:TOPOLOGY:NODE."""
    if mark is None or not mark.startswith(_MARK):
        return None
    return mark.removeprefix(_MARK).split(":")[0]
