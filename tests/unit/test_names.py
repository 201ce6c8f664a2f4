"""Derived names: valid, distinct, and the same for ever."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfv.chain import names
from nfv.chain.fields import MAX_DEVICE_NAME, MAX_NAME, NAME

NAMES = st.from_regex(NAME, fullmatch=True).filter(lambda name: len(name) <= MAX_NAME)
ALLOWED = set(string.ascii_lowercase + string.digits + "-.")


def test_names_that_fit_are_literal() -> None:
    assert names.sap_device("lan") == "lan"
    assert names.fabric_device("gw", "lan") == "gw.lan"
    assert names.interface_device("lan") == "lan"
    assert names.tap_device("branch", "vm") == "branch-vm"
    assert names.fabric_netns("branch") == "nfv.branch"
    assert names.node_netns("branch", "gw") == "nfv.branch.gw"
    assert names.owner("branch") == "nfv:branch"
    assert names.owner("branch", "gw") == "nfv:branch:gw"


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (names.sap_device("a-name-of-16-chr"), "a-name-o-8e5a53"),
        (names.fabric_device("gateway", "upstream-1"), "gateway-802abd"),
    ],
)
def test_long_names_are_cut_and_hashed_the_same_way_for_ever(device: str, expected: str) -> None:
    assert device == expected


@given(NAMES, NAMES)
def test_device_names_are_valid(one: str, other: str) -> None:
    for device in (
        names.sap_device(one),
        names.fabric_device(one, other),
        names.interface_device(one),
        names.tap_device(one, other),
    ):
        assert 0 < len(device) <= MAX_DEVICE_NAME
        assert set(device) <= ALLOWED


@given(st.lists(NAMES, unique=True))
def test_different_names_give_different_devices(given_names: list[str]) -> None:
    assert len({names.sap_device(name) for name in given_names}) == len(given_names)


@given(NAMES, NAMES, NAMES)
def test_macs_are_unicast_and_locally_administered(one: str, two: str, three: str) -> None:
    octets = bytes.fromhex(names.mac(one, two, three).replace(":", ""))
    assert len(octets) == 6
    assert octets[0] & 0b11 == 0b10


def test_macs_depend_on_every_name() -> None:
    macs = [
        names.mac("a", "b"),
        names.mac("a", "b", "c"),
        names.mac("a", "bc"),
        names.mac("ab", "", "c"),
        names.mac("b", "a"),
    ]
    assert len(set(macs)) == len(macs)
    assert names.mac("branch", "lan") == "02:10:f4:96:10:b9"


def test_namespaces_of_nodes_are_distinct_from_fabrics() -> None:
    assert names.node_netns("a", "b") != names.fabric_netns("a-b")
