"""Routing messages, put together by pyroute2 and the kernel's rules, as the agent reads them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from typing import Any

import pytest
from pyroute2.netlink.rtnl.fibmsg import fibmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.ndmsg import ndmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.rtmsg import rtmsg  # type: ignore[import-untyped]

from nfv.dataplane.routing import routemsg
from nfv.dataplane.routing.routemsg import (
    TABLE_MAIN,
    UNICAST,
    Address,
    Forwarding,
    Link,
    Neighbour,
    NextHop,
    Prefix,
    Route,
    Rule,
    Way,
)

MAC = "02:00:00:00:00:09"
RAW_MAC = bytes.fromhex("020000000009")
NUD_INCOMPLETE, NUD_REACHABLE, NUD_STALE, NUD_FAILED, NUD_NOARP = 1, 2, 4, 0x20, 0x40
UP, LOWER_UP = 1, 0x10000
AF_MPLS = 28


def encoded(message: Any, fields: Mapping[str, int], attributes: Mapping[str, Any]) -> bytes:
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = list(attributes.items())
    message.encode()
    return bytes(message.data)


def route(fields: Mapping[str, int], attributes: Mapping[str, Any]) -> Route | None:
    basis = {"family": socket.AF_INET, "type": UNICAST, "table": TABLE_MAIN}
    return routemsg.route(encoded(rtmsg(), {**basis, **fields}, attributes))


WAY = Way(4, TABLE_MAIN, 0, 0, UNICAST, 3, Address(4, 0xC00002FE), 0, (), False)
PREFIX = Prefix(4, 0xC6336400, 24)
BASIS = Route(PREFIX, WAY)
VIA = {"RTA_DST": "198.51.100.0", "RTA_OIF": 3, "RTA_GATEWAY": "192.0.2.254"}


def test_route_via_a_gateway() -> None:
    assert route({"dst_len": 24}, VIA) == BASIS


def test_default_route_and_metric() -> None:
    found = route({}, {"RTA_OIF": 3, "RTA_PRIORITY": 1024, "RTA_TABLE": 1000})

    assert found == Route(Prefix(4, 0, 0), WAY._replace(gateway=None, metric=1024, table=1000))


def test_ipv6_route() -> None:
    fields = {"family": socket.AF_INET6, "dst_len": 48}
    found = route(fields, {"RTA_DST": "2001:db8::", "RTA_OIF": 3, "RTA_GATEWAY": "fe80::1"})

    expected = Prefix(6, 0x20010DB8 << 96, 48)
    way = WAY._replace(version=6, gateway=Address(6, 0xFE80 << 112 | 1))
    assert found == Route(expected, way)


def test_next_hop_of_the_other_family() -> None:
    attributes = {**VIA, "RTA_VIA": {"family": socket.AF_INET6, "addr": "fe80::1"}}
    del attributes["RTA_GATEWAY"]

    found = route({"dst_len": 24}, attributes)

    assert found == Route(PREFIX, WAY._replace(gateway=Address(6, 0xFE80 << 112 | 1)))


def test_mtu_of_a_route() -> None:
    metrics = {"attrs": [("RTAX_ADVMSS", 1200), ("RTAX_MTU", 1300)]}

    assert route({"dst_len": 24}, {**VIA, "RTA_METRICS": metrics}) == Route(
        PREFIX, WAY._replace(mtu=1300)
    )


def test_multipath() -> None:
    hops = [
        {"oif": 3, "hops": 0, "attrs": [("RTA_GATEWAY", "192.0.2.254")]},
        {"oif": 4, "hops": 2, "attrs": [("RTA_GATEWAY", "192.0.3.254")]},
        {"oif": 5, "hops": 255, "attrs": []},
    ]
    found = route({"dst_len": 24}, {"RTA_DST": "198.51.100.0", "RTA_MULTIPATH": hops})

    assert found is not None
    assert found.way.hops == (
        NextHop(3, Address(4, 0xC00002FE), 1),
        NextHop(4, Address(4, 0xC00003FE), 3),
        NextHop(5, None, 256),
    )
    assert not found.way.special


def test_a_dead_next_hop_of_several() -> None:
    hops = [
        {"oif": 3, "flags": 0, "attrs": [("RTA_GATEWAY", "192.0.2.254")]},
        {"oif": 4, "flags": 1, "attrs": [("RTA_GATEWAY", "192.0.3.254")]},
    ]
    found = route({"dst_len": 24}, {"RTA_DST": "198.51.100.0", "RTA_MULTIPATH": hops})

    assert found is not None
    assert found.way.special


@pytest.mark.parametrize("fields", [{"flags": 1}, {"src_len": 48}])
def test_routes_not_for_their_destination_alone(fields: dict[str, int]) -> None:
    found = route({"dst_len": 24, **fields}, VIA)

    assert found == Route(PREFIX, WAY._replace(special=True))


def test_messages_about_no_route() -> None:
    clone = route({"dst_len": 24, "flags": 0x200}, VIA)
    mpls = struct.pack("=IHHII8BI", 28, 24, 0, 0, 0, AF_MPLS, 0, 0, 0, TABLE_MAIN, 0, 0, 1, 0)

    assert clone is None
    assert routemsg.route(mpls) is None


def test_a_reader_of_many_routes_tells_them_apart_as_one_of_one_does() -> None:
    basis = {"family": socket.AF_INET, "type": UNICAST, "table": TABLE_MAIN, "dst_len": 24}
    basis6 = {**basis, "family": socket.AF_INET6, "dst_len": 48}
    via6 = {"RTA_DST": "2001:db8::", "RTA_OIF": 3, "RTA_GATEWAY": "fe80::1"}
    variants: list[tuple[dict[str, int], dict[str, Any]]] = [
        (basis, {"RTA_TABLE": 254, **VIA}),
        (basis, {"RTA_TABLE": 254, **VIA, "RTA_DST": "203.0.113.0"}),
        ({**basis, "dst_len": 23}, {"RTA_TABLE": 254, **VIA}),
        (basis, {"RTA_TABLE": 254, **VIA, "RTA_GATEWAY": "192.0.2.253"}),
        (basis, {"RTA_TABLE": 255, **VIA}),
        (basis, {"RTA_TABLE": 254, **VIA, "RTA_PRIORITY": 7}),
        ({**basis, "tos": 16}, {"RTA_TABLE": 254, **VIA}),
        (basis, VIA),
        ({**basis, "dst_len": 0}, {"RTA_TABLE": 254, "RTA_OIF": 3}),
        ({**basis, "flags": 0x200}, {"RTA_TABLE": 254, **VIA}),
        (basis6, via6),
        ({**basis6, "dst_len": 47}, via6),
        (basis6, {**via6, "RTA_DST": "2001:db8:0:1:800:100::"}),  # looks like another attribute
        ({**basis6, "src_len": 48}, via6),
    ]
    messages = [encoded(rtmsg(), *variant) for variant in variants]
    reader = routemsg.RouteReader()

    for message in messages * 2:
        alone = routemsg.route(message)
        assert reader.read(message) == (alone and (alone.packed, alone.way))


@pytest.mark.parametrize(
    ("state", "mac", "expected"),
    [
        (NUD_REACHABLE, MAC, RAW_MAC),
        (NUD_STALE, MAC, RAW_MAC),
        (NUD_NOARP, MAC, RAW_MAC),
        (NUD_NOARP, "00:00:00:00:00:00", None),
        (NUD_INCOMPLETE, None, None),
        (NUD_FAILED, MAC, None),
        (0, MAC, None),
    ],
)
def test_neighbour(state: int, mac: str | None, expected: bytes | None) -> None:
    attributes = {"NDA_DST": "192.0.2.254"} | ({"NDA_LLADDR": mac} if mac else {})
    fields = {"family": socket.AF_INET, "ifindex": 3, "state": state}

    found = routemsg.neighbour(encoded(ndmsg(), fields, attributes))

    assert found == Neighbour(3, Address(4, 0xC00002FE), expected, state == NUD_STALE)


def test_proxies_and_bridge_entries_are_no_neighbours() -> None:
    address = {"NDA_DST": "192.0.2.254", "NDA_LLADDR": MAC}
    proxy = {"family": socket.AF_INET, "state": NUD_REACHABLE, "flags": 8}
    bridge = {"family": socket.AF_BRIDGE, "state": NUD_REACHABLE}

    assert routemsg.neighbour(encoded(ndmsg(), proxy, address)) is None
    assert routemsg.neighbour(encoded(ndmsg(), bridge, {"NDA_LLADDR": MAC})) is None


@pytest.mark.parametrize(
    ("flags", "running"), [(UP | LOWER_UP, True), (UP, False), (LOWER_UP, False)]
)
def test_link(flags: int, running: bool) -> None:
    attributes = {"IFLA_IFNAME": "wan", "IFLA_ADDRESS": MAC, "IFLA_MTU": 1400}

    found = routemsg.link(encoded(ifinfmsg(), {"index": 3, "flags": flags}, attributes))

    assert found == Link(3, "wan", RAW_MAC, 1400, running)


@pytest.mark.parametrize(
    ("fields", "attributes", "plain"),
    [
        ({}, {}, True),
        ({"dst_len": 24}, {"FRA_DST": "10.0.0.0"}, False),
        ({}, {"FRA_IIFNAME": "lan"}, False),
        ({}, {"FRA_FWMARK": 1}, False),
        ({"tos": 16}, {}, False),
        ({"flags": 2}, {}, False),
        ({"action": 6}, {}, False),
    ],
)
def test_rule(fields: dict[str, int], attributes: dict[str, Any], plain: bool) -> None:
    basis = {"family": socket.AF_INET, "action": 1, "table": 254}
    attributes = {"FRA_TABLE": 254, "FRA_PRIORITY": 32766, **attributes}

    found = routemsg.rule(encoded(fibmsg(), {**basis, **fields}, attributes))

    assert found == Rule(4, 32766, 254, plain)


def test_forwarding() -> None:
    def message(*attributes: tuple[int, int]) -> bytes:
        packed = b"".join(struct.pack("=HHi", 8, type_, value) for type_, value in attributes)
        header = struct.pack("=IHHII", 20 + len(packed), 80, 0, 0, 0)
        return header + struct.pack("=B3x", socket.AF_INET6) + packed

    assert routemsg.forwarding(message((1, -1), (2, 1))) == Forwarding(6, -1, True)
    assert routemsg.forwarding(message((1, 3), (2, 0))) == Forwarding(6, 3, False)
    assert routemsg.forwarding(message((1, 3), (3, 1))) is None, "rp_filter"
