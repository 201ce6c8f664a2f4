"""What the kernel tells of changes that iproute2 makes."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import TypeVar

import pytest

from nfv.dataplane.monitor import Action, Change, Monitor, Overrun
from nfv.dataplane.netlink import Netlink
from nfv.dataplane.rtnl import Address, Link, Neighbour, Route, Rule
from tests.integration.scratch import ip, scratch_namespace

pytestmark = pytest.mark.root

T = TypeVar("T", Address, Link, Neighbour, Route, Rule)


@pytest.fixture
def space() -> Iterator[str]:
    """With a veth pair that is up, "near" being 10.0.0.1/24 and 2001:db8::1/64."""
    with scratch_namespace() as name:
        with Netlink(name) as netlink:
            netlink.add_veth("near", "far")
            netlink.set_link("far", up=True)
            netlink.set_link("near", up=True)
            netlink.add_address("near", "10.0.0.1/24")
            netlink.add_address("near", "2001:db8::1/64")
        yield name


@pytest.fixture
def monitor(space: str) -> Iterator[Monitor]:
    with Monitor(space) as monitor:
        yield monitor


def changes(monitor: Monitor, kind: type[T]) -> list[tuple[Action, T]]:
    """What is told of one kind of object; it is all there once the commands have ended."""
    return [
        (event.action, event.object)
        for event in monitor.read()
        if isinstance(event, Change) and isinstance(event.object, kind)
    ]


def test_links(space: str, monitor: Monitor) -> None:
    ip(space, "link", "add", "added", "type", "veth", "peer", "name", "peer")
    ip(space, "link", "set", "added", "mtu", "1400")
    ip(space, "link", "del", "added")
    told = [(how, link.mtu) for how, link in changes(monitor, Link) if link.name == "added"]
    assert told[0] == (Action.SET, 1500)
    assert (Action.SET, 1400) in told
    assert told[-1] == (Action.DELETED, 1400)


@pytest.mark.parametrize("address", ["10.9.0.1/24", "2001:db8:9::1/64"])
def test_addresses(space: str, monitor: Monitor, address: str) -> None:
    ip(space, "address", "add", address, "dev", "near", "nodad")
    ip(space, "address", "del", address, "dev", "near")
    told = [how for how, each in changes(monitor, Address) if each.address == address]
    assert told == [Action.SET, Action.DELETED]


@pytest.mark.parametrize(
    ("destination", "former", "latter"),
    [("10.1.0.0/16", "10.0.0.8", "10.0.0.9"), ("2001:db8:1::/48", "2001:db8::8", "2001:db8::9")],
)
def test_routes(space: str, monitor: Monitor, destination: str, former: str, latter: str) -> None:
    ip(space, "route", "add", destination, "via", former)
    ip(space, "route", "replace", destination, "via", latter)
    ip(space, "route", "del", destination)
    told = [
        (how, *(hop.via for hop in route.nexthops))
        for how, route in changes(monitor, Route)
        if route.destination == destination
    ]
    assert told == [
        (Action.SET, former),
        (Action.REPLACED, latter),
        (Action.DELETED, latter),
    ]


@pytest.mark.parametrize("address", ["10.0.0.9", "2001:db8::9"])
def test_neighbours(space: str, monitor: Monitor, address: str) -> None:
    mac = "02:00:00:00:00:09"
    ip(space, "neigh", "add", address, "dev", "near", "lladdr", mac)
    ip(space, "neigh", "del", address, "dev", "near")
    told = [
        (how, each.mac, each.usable)
        for how, each in changes(monitor, Neighbour)
        if each.address == address
    ]
    assert told[0] == (Action.SET, mac, True)
    assert told[-1][0] is Action.DELETED


@pytest.mark.parametrize(("family", "source"), [("-4", "10.0.0.0/8"), ("-6", "2001:db8::/32")])
def test_rules(space: str, monitor: Monitor, family: str, source: str) -> None:
    ip(space, family, "rule", "add", "from", source, "table", "7000")
    ip(space, family, "rule", "del", "from", source, "table", "7000")
    told = [(how, rule.source, rule.table) for how, rule in changes(monitor, Rule)]
    assert told == [(Action.SET, source, 7000), (Action.DELETED, source, 7000)]


def test_ipv4_routes_that_go_with_their_device_are_not_told(space: str) -> None:
    """Why a reader of routes has to list them again when a link goes down."""
    ip(space, "route", "add", "10.1.0.0/16", "via", "10.0.0.9")
    with Monitor(space) as monitor, Netlink(space) as netlink:
        ip(space, "link", "set", "near", "down")
        told = [route.destination for _, route in changes(monitor, Route)]
        assert "2001:db8::/64" in told
        assert "10.1.0.0/16" not in told
        assert "10.1.0.0/16" not in {route.destination for route in netlink.routes()}


def test_another_namespace_is_not_told_of(monitor: Monitor) -> None:
    with scratch_namespace() as other:
        ip(other, "link", "add", "elsewhere", "type", "veth")
    assert "elsewhere" not in {link.name for _, link in changes(monitor, Link)}


def test_reading_never_waits(monitor: Monitor) -> None:
    monitor.read()
    assert changes(monitor, Rule) == []


def test_lost_changes_are_told_of_and_reading_goes_on(space: str, monitor: Monitor) -> None:
    with socket.socket(fileno=os.dup(monitor.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with Netlink(space) as netlink, netlink.batch():
        for number in range(100):
            netlink.add_route(f"10.1.{number}.0/24", via="10.0.0.9")
    assert Overrun() in monitor.read()
    ip(space, "rule", "add", "from", "10.0.0.0/8", "table", "7000")
    assert [how for how, _ in changes(monitor, Rule)] == [Action.SET]
