"""What Netlink makes is what iproute2 sees, and what iproute2 makes is what Netlink reads."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Any

import pytest

from nfv.dataplane.kernel import bpf, netns
from nfv.dataplane.kernel.netlink import Netlink
from nfv.dataplane.kernel.rtnl import Link, NextHop, Route
from nfv.errors import KernelError
from tests.integration.scratch import ip, scratch_namespace

pytestmark = pytest.mark.root

XDP_PASS = bytes.fromhex("b7000000020000009500000000000000")  # r0 = 2; exit
NEAR_MAC, FAR_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"


@pytest.fixture
def space() -> Iterator[str]:
    with scratch_namespace() as name:
        yield name


@pytest.fixture
def netlink(space: str) -> Iterator[Netlink]:
    with Netlink(space) as netlink:
        yield netlink


@pytest.fixture
def wired(netlink: Netlink) -> Netlink:
    """With a veth pair that is up, "near" being 10.0.0.1/24 and 2001:db8::1/64."""
    netlink.add_veth("near", "far", mac=NEAR_MAC, peer_mac=FAR_MAC)
    netlink.set_link("near", up=True)
    netlink.set_link("far", up=True)
    netlink.add_address("near", "10.0.0.1/24")
    netlink.add_address("near", "2001:db8::1/64")
    return netlink


def shown_links(name: str) -> dict[str, Any]:
    return {link["ifname"]: link for link in ip(name, "link")}


def shown_addresses(name: str, device: str) -> dict[str, Any]:
    (shown,) = ip(name, "address", "show", "dev", device)
    return {f"{entry['local']}/{entry['prefixlen']}": entry for entry in shown["addr_info"]}


def shown_routes(name: str, family: str) -> dict[str, Any]:
    return {route["dst"]: route for route in ip(name, family, "route")}


def route(netlink: Netlink, destination: str) -> Route:
    (found,) = [each for each in netlink.routes() if each.destination == destination]
    return found


def test_a_veth_pair_is_made_as_asked(space: str, netlink: Netlink) -> None:
    netlink.add_veth(
        "near", "far", mac=NEAR_MAC, peer_mac=FAR_MAC, mtu=1400, alias="nfv:n", peer_alias="nfv:f"
    )
    shown = shown_links(space)
    for name, mac, alias in (("near", NEAR_MAC, "nfv:n"), ("far", FAR_MAC, "nfv:f")):
        link = shown[name]
        assert (link["address"], link["mtu"], link["ifalias"]) == (mac, 1400, alias)
        assert link["linkinfo"]["info_kind"] == "veth"
        assert "UP" not in link["flags"]
        assert {link["num_tx_queues"], link["num_rx_queues"]} == {os.cpu_count()}


@pytest.mark.parametrize("near_moves", [False, True])
@pytest.mark.parametrize("far_moves", [False, True])
def test_both_ends_of_a_veth_pair_are_born_where_they_belong(
    space: str, netlink: Netlink, near_moves: bool, far_moves: bool
) -> None:
    with scratch_namespace() as near_space, scratch_namespace() as far_space:
        netlink.add_veth(
            "near",
            "far",
            netns=near_space if near_moves else None,
            peer_netns=far_space if far_moves else None,
            alias="nfv:n",
            peer_alias="nfv:f",
        )
        near = shown_links(near_space if near_moves else space)["near"]
        far = shown_links(far_space if far_moves else space)["far"]
    assert (near["ifalias"], far["ifalias"]) == ("nfv:n", "nfv:f")


def test_links_are_read_as_they_are(space: str, netlink: Netlink) -> None:
    with scratch_namespace() as other:
        netlink.add_veth("near", "far", mac=NEAR_MAC, mtu=1400, peer_netns=other, alias="nfv:n")
        with Netlink(other) as far_side:
            far_side.set_link("far", up=True)
        netlink.set_link("near", up=True, promiscuous=True)
        (shown,) = ip(space, "link", "show", "dev", "near")
        links = netlink.links()
        assert links["near"] == Link(
            index=shown["ifindex"],
            name="near",
            mac=NEAR_MAC,
            mtu=1400,
            up=True,
            carrier=True,
            alias="nfv:n",
            kind="veth",
            peer_index=shown["link_index"],
            promiscuous=True,
            xdp_prog_id=None,
        )
        assert set(links) == {"lo", "near"}


def test_an_attached_program_is_read(space: str, netlink: Netlink) -> None:
    netlink.add_veth("near", "far")
    with netns.entered(space), contextlib.ExitStack() as descriptors:
        program = bpf.prog_load(XDP_PASS, "test_netlink")
        descriptors.callback(os.close, program)
        descriptors.callback(os.close, bpf.link_create(program, netlink.links()["near"].index))
        links, shown = netlink.links(), shown_links(space)
    assert links["near"].xdp_prog_id == shown["near"]["xdp"]["prog"]["id"]
    assert links["far"].xdp_prog_id is None


def test_a_link_is_changed(space: str, netlink: Netlink) -> None:
    netlink.add_veth("near", "far", alias="nfv:n")
    index = netlink.links()["near"].index
    netlink.set_link(index, up=True, mtu=1300, mac=FAR_MAC, alias="", name="wan")
    netlink.set_link("far", promiscuous=True)
    shown = shown_links(space)
    wan = shown["wan"]
    assert (wan["mtu"], wan["address"], wan["ifindex"]) == (1300, FAR_MAC, index)
    assert "ifalias" not in wan
    assert "UP" in wan["flags"]
    assert shown["far"]["promiscuity"] == 1
    netlink.set_link("wan", up=False, name="lan")
    netlink.set_link("far", promiscuous=False)
    shown = shown_links(space)
    assert "UP" not in shown["lan"]["flags"]
    assert shown["far"]["promiscuity"] == 0


def test_a_link_is_deleted_with_its_peer(space: str, netlink: Netlink) -> None:
    netlink.add_veth("near", "far")
    netlink.del_link("near")
    assert set(shown_links(space)) == {"lo"}


def test_addresses_are_usable_at_once(space: str, wired: Netlink) -> None:
    shown = shown_addresses(space, "near")
    assert {"10.0.0.1/24", "2001:db8::1/64"} <= set(shown)
    assert shown["2001:db8::1/64"]["nodad"] is True
    assert "tentative" not in shown["2001:db8::1/64"]


def test_addresses_are_listed_by_device(space: str, wired: Netlink) -> None:
    index = wired.links()["near"].index
    # The kernel adds the link-local one when it sees the carrier, which takes its time.
    of_near = {each.address for each in wired.addresses(index) if each.scope == 0}
    assert of_near == {"10.0.0.1/24", "2001:db8::1/64"}
    everywhere = {address.address for address in wired.addresses()}
    assert everywhere >= {"127.0.0.1/8", "::1/128", *of_near}


def test_an_address_is_removed(space: str, wired: Netlink) -> None:
    wired.del_address("near", "10.0.0.1/24")
    wired.del_address("near", "2001:db8::1/64")
    assert not {"10.0.0.1/24", "2001:db8::1/64"} & set(shown_addresses(space, "near"))


def test_of_a_peer_to_peer_address_the_own_one_is_read(space: str, wired: Netlink) -> None:
    ip(space, "address", "add", "192.0.2.1", "peer", "192.0.2.9/32", "dev", "near")
    assert "192.0.2.1/32" in {address.address for address in wired.addresses()}


def test_ipv4_routes_are_made_as_asked(space: str, wired: Netlink) -> None:
    wired.add_route("0.0.0.0/0", via="10.0.0.254", protocol=12)
    wired.add_route("10.1.0.0/16", device="near", metric=7)
    wired.add_route("10.2.0.0/16", kind="blackhole")
    shown = shown_routes(space, "-4")
    assert (shown["default"]["gateway"], shown["default"]["protocol"]) == ("10.0.0.254", "bird")
    assert (shown["10.1.0.0/16"]["scope"], shown["10.1.0.0/16"]["metric"]) == ("link", 7)
    assert shown["10.1.0.0/16"]["protocol"] == "static"
    assert shown["10.2.0.0/16"]["type"] == "blackhole"


def test_ipv6_routes_are_made_as_asked(space: str, wired: Netlink) -> None:
    wired.add_route("::/0", via="fe80::1", device="near")
    wired.add_route("2001:db8:1::/48", via="2001:db8::fe", metric=5)
    wired.add_route("2001:db8:2::/48", kind="unreachable")
    shown = shown_routes(space, "-6")
    assert (shown["default"]["gateway"], shown["default"]["dev"]) == ("fe80::1", "near")
    assert shown["2001:db8:1::/48"]["gateway"] == "2001:db8::fe"
    assert shown["2001:db8:1::/48"]["metric"] == 5
    assert shown["2001:db8:2::/48"]["type"] == "unreachable"


def test_routes_are_read_as_they_are(space: str, wired: Netlink) -> None:
    near = wired.links()["near"].index
    hops = ["nexthop", "via", "10.0.0.8", "weight", "3", "nexthop", "via", "10.0.0.9"]
    ip(space, "route", "add", "10.3.0.0/16", *hops)
    hops = ["nexthop", "via", "2001:db8::8", "weight", "3", "nexthop", "via", "2001:db8::9"]
    ip(space, "route", "add", "2001:db8:3::/48", *hops)
    ip(space, "route", "add", "10.4.0.0/16", "via", "inet6", "fe80::1", "dev", "near")
    ip(space, "route", "add", "prohibit", "10.5.0.0/16", "metric", "9", "proto", "bird")
    assert route(wired, "10.0.0.0/24") == Route(
        "10.0.0.0/24", "unicast", (NextHop(None, near),), 0, protocol=2, scope=253, table=254
    )
    assert route(wired, "10.3.0.0/16").nexthops == (
        NextHop("10.0.0.8", near, 3),
        NextHop("10.0.0.9", near),
    )
    assert route(wired, "2001:db8:3::/48").nexthops == (
        NextHop("2001:db8::8", near, 3),
        NextHop("2001:db8::9", near),
    )
    assert route(wired, "10.4.0.0/16").nexthops == (NextHop("fe80::1", near),)
    assert route(wired, "10.5.0.0/16") == Route(
        "10.5.0.0/16", "prohibit", (), 9, protocol=12, scope=0, table=254
    )


def test_routes_are_listed_by_table(space: str, wired: Netlink) -> None:
    ip(space, "route", "add", "10.7.0.0/16", "via", "10.0.0.9", "table", "7000")
    main = {each.destination for each in wired.routes()}
    assert main - {"fe80::/64"} == {"10.0.0.0/24", "2001:db8::/64"}
    assert [each.destination for each in wired.routes(7000)] == ["10.7.0.0/16"]
    assert wired.routes(7001) == []


def test_a_namespace_without_routes_has_none(netlink: Netlink) -> None:
    assert netlink.routes() == []


@pytest.mark.parametrize(
    ("family", "destination", "former", "latter"),
    [
        ("-4", "10.1.0.0/16", "10.0.0.8", "10.0.0.9"),
        ("-6", "2001:db8:1::/48", "2001:db8::8", "2001:db8::9"),
    ],
)
def test_a_route_is_replaced_and_deleted(
    space: str, wired: Netlink, family: str, destination: str, former: str, latter: str
) -> None:
    wired.add_route(destination, via=former)
    with pytest.raises(KernelError, match="file exists"):
        wired.add_route(destination, via=former)
    wired.add_route(destination, via=latter, replace=True)
    assert shown_routes(space, family)[destination]["gateway"] == latter
    with pytest.raises(KernelError, match=f"cannot delete route {destination} via {former}"):
        wired.del_route(destination, via=former)
    wired.del_route(destination, via=latter)
    assert destination not in shown_routes(space, family)


def test_a_route_is_deleted_by_its_metric_and_protocol(space: str, wired: Netlink) -> None:
    for metric in (5, 6):
        wired.add_route("10.1.0.0/16", via="10.0.0.9", metric=metric, protocol=99)
    with pytest.raises(KernelError, match="no such process"):
        wired.del_route("10.1.0.0/16", protocol=98)
    wired.del_route("10.1.0.0/16", metric=6, protocol=99)
    assert shown_routes(space, "-4")["10.1.0.0/16"]["metric"] == 5


def test_a_batch_does_what_its_requests_do_one_by_one(space: str, netlink: Netlink) -> None:
    with scratch_namespace() as other, netlink.batch():
        for number in range(40):  # more than one sendmsg takes
            netlink.add_veth(f"near{number}", "far" + str(number), peer_netns=other, peer_alias="m")
            netlink.set_link(f"near{number}", up=True)
        for number in range(40):
            netlink.add_address(f"near{number}", f"10.0.{number}.1/24")
        assert len(netlink.links()) == 41
        assert all(link.alias == "m" for link in Netlink(other).links().values() if link.index > 1)
    shown = ip(space, "-4", "address")
    assert sum(entry["ifname"].startswith("near") for entry in shown) == 40


def test_a_batch_names_the_request_that_failed(space: str, wired: Netlink) -> None:
    def changes() -> None:
        with wired.batch():
            wired.add_route("10.1.0.0/16", via="10.0.0.9")
            wired.add_route("10.2.0.0/16", via="203.0.113.1")
            wired.add_address("far", "10.0.0.1/24")

    expected = (
        f"cannot add route 10.2.0.0/16 via 203.0.113.1 in namespace {space}: network is unrea"
    )
    with pytest.raises(KernelError, match=expected) as caught:
        changes()
    cause = caught.value.__cause__
    assert isinstance(cause, OSError)
    assert cause.errno == errno.ENETUNREACH
    assert "10.1.0.0/16" in shown_routes(space, "-4")


def test_a_batch_that_raises_sends_nothing(space: str, netlink: Netlink) -> None:
    def changes() -> None:
        with netlink.batch():
            netlink.add_veth("near", "far")
            raise KernelError("changed my mind")

    with pytest.raises(KernelError, match="changed my mind"):
        changes()
    netlink.set_link("lo", alias="still works")
    assert shown_links(space)["lo"]["ifalias"] == "still works"
    assert set(shown_links(space)) == {"lo"}


def test_namespaces_are_not_held_open(netlink: Netlink) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with scratch_namespace() as other, netlink.batch():
        netlink.add_veth("near", "far", peer_netns=other)
    with pytest.raises(KernelError), scratch_namespace() as other:
        netlink.add_veth("near", "far", peer_netns=other)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n: n.add_address("near", "10.0.0.1/24"), "add address 10.0.0.1/24 to near"),
        (lambda n: n.add_address("none", "10.0.0.1/24"), "find link none"),
        (lambda n: n.del_address("near", "10.9.0.1/24"), "delete address 10.9.0.1/24 from near"),
        (lambda n: n.add_veth("near", "other"), "add veth near with peer other"),
        (lambda n: n.del_link("none"), "delete link none"),
        (lambda n: n.set_link("none", up=True), "set link none"),
        (lambda n: n.set_link("near", mtu=1), "set link near"),
    ],
)
def test_a_refused_change_says_what_and_where(
    space: str, wired: Netlink, change: Any, message: str
) -> None:
    with pytest.raises(KernelError, match=f"cannot {message} in namespace {space}: "):
        change(wired)
