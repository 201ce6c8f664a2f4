"""Offloads as ethtool shows them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from nfv.dataplane.kernel import ethtool, netns
from nfv.dataplane.kernel.netlink import Netlink
from nfv.errors import KernelError
from tests.integration.scratch import scratch_namespace

pytestmark = pytest.mark.root

CHAIN_END = {"tx-checksum": False, "tso": False, "tx-vlan": False, "rx-vlan": False, "gro": True}


@pytest.fixture(autouse=True)
def space() -> Iterator[str]:
    """With a veth pair; the test runs inside."""
    with scratch_namespace() as name:
        with Netlink(name) as netlink:
            netlink.add_veth("near", "far")
        with netns.entered(name):
            yield name


def shown(device: str) -> dict[str, bool]:
    """Features as ethtool lists them; it has names of its own for some."""
    command = ["ethtool", "--json", "-k", device]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    (listed,) = json.loads(output)
    return {name: value["active"] for name, value in listed.items() if name != "ifname"}


def test_features_are_those_that_ethtool_lists() -> None:
    read, listed = ethtool.features("near"), shown("near")
    common = read.keys() & listed.keys()
    assert {"tx-checksum-ip-generic", "tx-tcp-segmentation", "tx-scatter-gather"} <= common
    assert {name: read[name] for name in common} == {name: listed[name] for name in common}


def test_groups_are_turned_off_and_on() -> None:
    ethtool.set_features("near", CHAIN_END)
    listed = shown("near")
    assert not [name for name in listed if name.startswith("tx-checksum-") and listed[name]]
    assert not [name for name in listed if name.endswith("-segmentation") and listed[name]]
    assert not listed["tx-vlan-offload"]
    assert not listed["rx-vlan-offload"]
    assert listed["generic-receive-offload"]
    assert listed["generic-segmentation-offload"]
    assert listed["tx-scatter-gather"]


def test_the_other_end_is_left_alone() -> None:
    before = shown("far")
    ethtool.set_features("near", CHAIN_END)
    assert shown("far") == before


def test_what_was_there_is_restored() -> None:
    subprocess.run(["ethtool", "-K", "near", "tx-udp-segmentation", "off"], check=True)
    before = shown("near")
    previous = ethtool.set_features("near", CHAIN_END)
    assert "tx-udp-segmentation" not in previous
    assert shown("near") != before
    ethtool.restore_features("near", previous)
    assert shown("near") == before


def test_nothing_to_change_is_nothing_to_restore() -> None:
    ethtool.set_features("near", CHAIN_END)
    assert ethtool.set_features("near", CHAIN_END) == {}


def test_a_single_feature_is_set_by_its_name() -> None:
    assert ethtool.set_features("near", {"tx-udp-segmentation": False}) == {
        "tx-udp-segmentation": True
    }
    assert shown("near")["tx-udp-segmentation"] is False


def test_a_fixed_feature_is_refused_and_nothing_changed() -> None:
    before = shown("lo")
    with pytest.raises(KernelError, match=r"cannot set tx-checksum-ip-generic, .* of lo"):
        ethtool.set_features("lo", {"gro": False, "tx-checksum": False})
    assert shown("lo") == before


def test_a_feature_that_the_device_lacks_cannot_be_turned_on() -> None:
    with pytest.raises(KernelError, match="cannot set rx-gro-hw of near"):
        ethtool.set_features("near", {"rx-gro-hw": True})


def test_unknown_devices_and_features_are_refused() -> None:
    with pytest.raises(KernelError, match="cannot read the features of none: no such device"):
        ethtool.features("none")
    with pytest.raises(KernelError, match="no device feature tx-nonsense"):
        ethtool.set_features("near", {"tx-nonsense": True})
