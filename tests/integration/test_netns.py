"""Network namespaces: what iproute2 sees of them, and which thread is where."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfv.dataplane.kernel import netns
from nfv.dataplane.kernel.netlink import Netlink
from nfv.dataplane.kernel.rtnl import RTM_DELLINK, parse_link
from nfv.dataplane.kernel.rtsocket import open_socket, split
from nfv.errors import KernelError
from tests.integration.scratch import MARK, ip, scratch_namespace, unused_name, wait_readable

pytestmark = pytest.mark.root

LINK_GROUP = 1  # mask of RTNLGRP_LINK


@pytest.fixture
def space() -> Iterator[str]:
    with scratch_namespace() as name:
        yield name


def own_inode() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


def listed() -> list[str]:
    output = subprocess.run(["ip", "-j", "netns"], check=True, capture_output=True).stdout
    return [entry["name"] for entry in json.loads(output or "[]")]


def test_a_namespace_is_what_ip_netns_makes_with_a_mark(space: str) -> None:
    (lo,) = ip(space, "link")
    assert space in listed()
    assert (lo["ifname"], lo["ifalias"], "UP" in lo["flags"]) == ("lo", MARK, True)


def test_a_namespace_is_found_by_name(space: str) -> None:
    assert netns.exists(space)
    assert netns.mark(space) == MARK
    assert space in netns.names(space[:8])
    assert space not in netns.names("other-")
    assert netns.inode(space) == Path("/run/netns", space).stat().st_ino != own_inode()


def test_creating_leaves_the_thread_where_it_is() -> None:
    before = own_inode()
    with scratch_namespace():
        assert own_inode() == before


def test_a_taken_name_is_refused_and_left_alone(space: str) -> None:
    before, home = netns.inode(space), own_inode()
    with pytest.raises(KernelError, match=f"cannot create network namespace {space}: file exists"):
        netns.create(space, "nfv:other")
    assert (netns.inode(space), netns.mark(space), own_inode()) == (before, MARK, home)


def test_what_cannot_be_marked_gets_no_name() -> None:
    name = unused_name()
    with pytest.raises(KernelError, match="cannot create network namespace"):
        netns.create(name, "x" * 300)  # an alias has at most 255 characters
    assert not Path("/run/netns", name).exists()


def test_a_name_without_a_namespace_is_taken_over(space: str) -> None:
    name = unused_name()
    dead = Path("/run/netns", name)
    dead.touch()
    assert not netns.exists(name)
    assert name not in netns.names()
    netns.create(name, MARK)
    assert netns.mark(name) == MARK
    netns.delete(name)
    dead.touch()
    netns.delete(name)
    assert not dead.exists()


def test_a_deleted_namespace_ends_with_all_in_it(space: str) -> None:
    other = unused_name()
    netns.create(other, MARK)
    with netns.entered(space):
        events = open_socket(1 << 16, LINK_GROUP)
    with events, Netlink(space) as netlink:
        netlink.add_veth("near", "far", peer_netns=other)
        netns.delete(other)
        assert other not in listed()
        gone: set[str] = set()
        while "near" not in gone:
            wait_readable(events)
            for message in split(events.recv(1 << 16)):
                link = parse_link(message.data) if message.type == RTM_DELLINK else None
                gone |= {link.name} if link else set()


def test_a_missing_namespace_cannot_be_deleted_entered_or_asked() -> None:
    name = unused_name()
    with pytest.raises(KernelError, match=f"cannot delete network namespace {name}"):
        netns.delete(name)
    with pytest.raises(KernelError, match=f"there is no network namespace {name}"):
        netns.mark(name)
    with pytest.raises(KernelError, match=f"there is no network namespace {name}"):
        Netlink(name)
    with pytest.raises(KernelError, match=f"cannot find network namespace {name}"):
        netns.inode(name)


def test_a_renamed_namespace_is_the_same_one(space: str) -> None:
    with Netlink(space) as netlink:
        netlink.add_veth("a", "b")
    before, name = netns.inode(space), unused_name()
    netns.rename(space, name)
    try:
        assert netns.inode(name) == before
        assert not netns.exists(space)
        assert netns.mark(name) == MARK
        assert {link["ifname"] for link in ip(name, "link")} == {"lo", "a", "b"}
    finally:
        netns.delete(name)


def test_renaming_to_a_taken_name_changes_nothing(space: str) -> None:
    with scratch_namespace() as other:
        before = netns.inode(space), netns.inode(other)
        with pytest.raises(KernelError, match="file exists"):
            netns.rename(space, other)
        assert (netns.inode(space), netns.inode(other)) == before


def test_entering_is_undone_even_by_an_error(space: str) -> None:
    home = own_inode()
    with pytest.raises(ZeroDivisionError), netns.entered(space):
        _ = 1 // (own_inode() - netns.inode(space))
    assert own_inode() == home


def test_entering_nests(space: str) -> None:
    home = own_inode()
    with scratch_namespace() as other, netns.entered(space):
        with netns.entered(other):
            assert own_inode() == netns.inode(other)
        with netns.entered(None):
            assert own_inode() == netns.inode(space)
    assert own_inode() == home


def test_entering_moves_no_other_thread(space: str) -> None:
    home = own_inode()
    moved, seen = threading.Event(), []

    def look() -> None:
        moved.wait(10)
        seen.append(own_inode())

    thread = threading.Thread(target=look)
    thread.start()
    with netns.entered(space):
        moved.set()
        thread.join()
    assert seen == [home]


def test_entering_keeps_the_mounts(space: str) -> None:
    mounts = Path("/proc/thread-self/mountinfo").read_text()
    with netns.entered(space):
        assert Path("/proc/thread-self/mountinfo").read_text() == mounts


def test_sysctls_are_those_of_the_namespace_entered(space: str) -> None:
    path = "net/ipv4/ip_forward"
    outside = netns.read_sysctl(path)
    with netns.entered(space):
        opposite = "0" if netns.read_sysctl(path) == "1" else "1"
        netns.write_sysctl(path, opposite)
        assert netns.read_sysctl(path) == opposite
    assert netns.read_sysctl(path) == outside
    shown = subprocess.run(
        ["ip", "netns", "exec", space, "cat", f"/proc/sys/{path}"], check=True, capture_output=True
    )
    assert shown.stdout.decode().strip() == opposite


def test_a_sysctl_of_a_device_with_a_dot_in_its_name(space: str) -> None:
    with Netlink(space) as netlink:
        netlink.add_veth("lan.5", "peer")
    with netns.entered(space):
        netns.write_sysctl("net/ipv4/conf/lan.5/forwarding", 1)
        assert netns.read_sysctl("net/ipv4/conf/lan.5/forwarding") == "1"
        with pytest.raises(KernelError, match="cannot set sysctl net/ipv4/conf/none/forwarding"):
            netns.write_sysctl("net/ipv4/conf/none/forwarding", 1)
