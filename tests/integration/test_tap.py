"""Taps carry frames between a program and the kernel."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from nfv.dataplane.kernel import netns, tap
from nfv.dataplane.kernel.netlink import Netlink
from nfv.errors import KernelError
from tests.integration.scratch import ip, scratch_namespace, wait_readable

pytestmark = pytest.mark.root

ETH_P_TEST = 0x88B5  # local experimental EtherType 1 (IEEE 802)
FRAME = bytes.fromhex("ffffffffffff020000000002") + ETH_P_TEST.to_bytes(2, "big") + b"x" * 46


@pytest.fixture(autouse=True)
def space() -> Iterator[str]:
    """The test runs inside. IPv6 is off, since its own frames would come between."""
    with scratch_namespace() as name, netns.entered(name):
        netns.write_sysctl("net/ipv6/conf/default/disable_ipv6", 1)
        yield name


@pytest.fixture
def device() -> str:
    tap.create("vm")
    with Netlink() as netlink:
        netlink.set_link("vm", up=True)
    return "vm"


def packet_socket(device: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_TEST))
    sock.bind((device, ETH_P_TEST))
    return sock


def test_a_tap_stays_with_its_mac_and_one_queue(space: str) -> None:
    tap.create("vm", "02:00:00:00:00:77")
    (shown,) = ip(space, "link", "show", "dev", "vm")
    assert shown["address"] == "02:00:00:00:00:77"
    info = shown["linkinfo"]["info_data"]
    assert (info["type"], info["persist"], info["multi_queue"], info["pi"]) == (
        "tap",
        True,
        False,
        False,
    )


def test_frames_written_reach_the_device(device: str) -> None:
    with tap.open(device) as frames, packet_socket(device) as receiver:
        frames.write(FRAME)
        wait_readable(receiver)
        assert receiver.recv(2048) == FRAME


def test_frames_sent_to_the_device_are_read(device: str) -> None:
    with tap.open(device) as frames, packet_socket(device) as sender:
        sender.send(FRAME)
        wait_readable(frames)
        assert frames.read(2048) == FRAME


def test_a_tap_has_one_user_at_a_time(device: str) -> None:
    with tap.open(device), pytest.raises(KernelError, match=r"cannot open tap vm: .* busy"):
        tap.open(device)
    tap.open(device).close()


def test_a_taken_name_is_refused(device: str) -> None:
    with pytest.raises(KernelError, match=r"cannot create tap vm: .* busy"):
        tap.create(device)


def test_a_deleted_tap_is_gone_even_while_it_is_open(space: str, device: str) -> None:
    with tap.open(device):
        tap.delete(device)
        assert [link["ifname"] for link in ip(space, "link")] == ["lo"]


def test_a_missing_tap_is_not_made_by_opening_it(space: str) -> None:
    with pytest.raises(KernelError, match="there is no tap vm"):
        tap.open("vm")
    assert [link["ifname"] for link in ip(space, "link")] == ["lo"]


def test_a_refused_tap_leaves_no_descriptor() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(KernelError):
        tap.create("lo")
    assert len(os.listdir("/proc/self/fd")) == before
