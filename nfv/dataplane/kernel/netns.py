"""Network namespaces, as `ip netns` names them.

A namespace is bound to a file of /run/netns, so iproute2 and every other tool finds it. One that
this project makes carries its owner's mark as the alias of its lo, from before it has a name:
whatever bears a name and a mark is owned, at any moment. See namespaces(7), network_namespaces(7).

Only marks need netlink messages, and the library for them is imported where they are made: it takes
longer than all that the agent and most commands do here.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nfv.dataplane.kernel.refusal import refused
from nfv.dataplane.kernel.rtsocket import Request, RtSocket
from nfv.errors import KernelError

DIRECTORY = Path("/run/netns")

_OWN = "/proc/thread-self/ns/net"
_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED = 0x1000, 0x4000, 0x100000
_MNT_DETACH = 2
_LO_INDEX = 1

_libc = ctypes.CDLL(None, use_errno=True)


def create(name: str, mark: str) -> None:
    """Make a namespace whose lo is up and bears `mark` as its alias.

    The calling thread stays where it is. Raises `KernelError` if the name is taken.
    """
    _prepare_directory()
    what = f"create network namespace {name}"
    _clear_dead_name(name)
    with _restored():
        _call(what, _libc.unshare(_CLONE_NEWNET))
        _mark_lo(what, mark)
        _bind(what, _OWN, name)


def delete(name: str) -> None:
    """Remove the name; the kernel ends the namespace, and all in it, with its last user."""
    what = f"delete network namespace {name}"
    path = DIRECTORY / name
    if _libc.umount2(os.fsencode(path), _MNT_DETACH) < 0 and ctypes.get_errno() != errno.EINVAL:
        raise _failed(what)  # EINVAL: a name that a crash left without a namespace
    try:
        path.unlink()
    except OSError as error:
        raise refused(what, error) from error


def rename(old: str, new: str) -> None:
    """Give a namespace another name; those inside notice nothing. For a moment it has both."""
    _clear_dead_name(new)
    _bind(f"rename network namespace {old} to {new}", str(DIRECTORY / old), new)
    delete(old)


def exists(name: str) -> bool:
    return _is_namespace(DIRECTORY / name)


def names(prefix: str = "") -> list[str]:
    """The names that begin with `prefix`, sorted."""
    with suppress(FileNotFoundError):
        found = [path for path in DIRECTORY.iterdir() if path.name.startswith(prefix)]
        return sorted(path.name for path in found if _is_namespace(path))
    return []


def mark(name: str) -> str | None:
    """The owner's mark, None when there is none."""
    from nfv.dataplane.kernel.rtnl import RTM_GETLINK, link_message, parse_link

    with entered(name):
        rtsocket = RtSocket()
    try:
        data = rtsocket.get(RTM_GETLINK, link_message(_LO_INDEX), f"read the mark of {name}")
    finally:
        rtsocket.close()
    link = parse_link(data)
    return link.alias if link else None


def inode(name: str) -> int:
    """The namespace's identity: it stays the same through a rename, and no other has it."""
    try:
        return (DIRECTORY / name).stat().st_ino
    except OSError as error:
        raise refused(f"find network namespace {name}", error) from error


def descriptor(name: str | None) -> int:
    """A file descriptor of the namespace, None being the calling thread's. The caller closes it."""
    try:
        return os.open(_OWN if name is None else DIRECTORY / name, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        failure = KernelError(
            f"there is no network namespace {name}", "`ip netns` lists those there are"
        )
        raise failure from error
    except OSError as error:
        raise refused(f"open network namespace {name}", error) from error


@contextmanager
def entered(name: str | None) -> Iterator[None]:
    """Put the calling thread into a namespace; None leaves it where it is.

    Only the network changes: mounts stay, and the thread's /proc/sys/net is that of the namespace.
    Other threads are not touched.
    """
    if name is None:
        yield
        return
    target = descriptor(name)
    try:
        with inside(target):
            yield
    finally:
        os.close(target)


@contextmanager
def inside(target: int) -> Iterator[None]:
    """The same for the namespace of a descriptor."""
    with _restored():
        _call("enter a network namespace", _libc.setns(target, _CLONE_NEWNET))
        yield


def anonymous() -> int:
    """A descriptor of a namespace of its own without a name, which ends with its last user."""
    with _restored():
        _call("make a network namespace", _libc.unshare(_CLONE_NEWNET))
        return descriptor(None)


def read_sysctl(path: str) -> str:
    """A setting of the calling thread's namespace, such as "net/ipv4/conf/eth0.5/forwarding"."""
    try:
        return Path("/proc/sys", path).read_text().strip()
    except OSError as error:
        raise refused(f"read sysctl {path}", error) from error


def write_sysctl(path: str, value: str | int) -> None:
    """Change a setting of the calling thread's namespace; `path` as in `read_sysctl`."""
    try:
        Path("/proc/sys", path).write_text(f"{value}\n")
    except OSError as error:
        raise refused(f"set sysctl {path} to {value}", error) from error


@contextmanager
def _restored() -> Iterator[None]:
    """Bring the calling thread back to the namespace it is in."""
    home = descriptor(None)
    try:
        yield
    finally:
        result = _libc.setns(home, _CLONE_NEWNET)
        os.close(home)
        _call("return to the former network namespace", result)


def _mark_lo(what: str, text: str) -> None:
    from nfv.dataplane.kernel.rtnl import IFF_UP, RTM_NEWLINK, link_message

    rtsocket = RtSocket()
    try:
        body = link_message(_LO_INDEX, IFF_UP, IFF_UP, {"IFLA_IFALIAS": text})
        rtsocket.request([Request(what, RTM_NEWLINK, 0, body)])
    finally:
        rtsocket.close()


def _bind(what: str, source: str, name: str) -> None:
    """Give the namespace behind `source` a name that is free."""
    path = DIRECTORY / name
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
    except OSError as error:
        raise refused(what, error) from error
    try:
        _mount(what, source, path, _MS_BIND)
    except KernelError:
        path.unlink()
        raise


def _prepare_directory() -> None:
    """Make /run/netns a shared mount, so that names appear and vanish in every mount namespace.

    The way of `ip netns add`: a directory that is no mount yet becomes a bind mount of itself.
    """
    what = f"prepare {DIRECTORY}"
    try:
        DIRECTORY.mkdir(mode=0o755, exist_ok=True)
    except OSError as error:
        raise refused(what, error) from error
    shared = _MS_SHARED | _MS_REC
    if _libc.mount(b"", os.fsencode(DIRECTORY), b"none", shared, None) == 0:
        return
    if ctypes.get_errno() != errno.EINVAL:
        raise _failed(what)
    _mount(what, str(DIRECTORY), DIRECTORY, _MS_BIND | _MS_REC)
    _mount(what, "", DIRECTORY, shared)


def _clear_dead_name(name: str) -> None:
    """Remove a name with no namespace behind it, as a killed process or a reboot leaves it."""
    path = DIRECTORY / name
    if path.exists() and not _is_namespace(path):
        with suppress(OSError):  # somebody else's just now: `_bind` reports that
            path.unlink()


def _is_namespace(path: Path) -> bool:
    try:
        return path.stat().st_dev == os.stat(_OWN).st_dev
    except OSError:
        return False


def _mount(what: str, source: str, target: Path, flags: int) -> None:
    _call(what, _libc.mount(os.fsencode(source), os.fsencode(target), b"none", flags, None))


def _call(what: str, result: int) -> None:
    if result < 0:
        raise _failed(what)


def _failed(what: str) -> KernelError:
    code = ctypes.get_errno()
    return refused(what, OSError(code, os.strerror(code)))
