"""Links, addresses, routes and neighbours of one network namespace.

`Netlink` is a thin layer: one rtnetlink socket, one method for each change and each list. Changes
made inside `batch()` travel many to a system call.
"""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from nfv.closing import Closing
from nfv.dataplane.kernel import netns as namespaces
from nfv.dataplane.kernel import rtnl
from nfv.dataplane.kernel.refusal import refused
from nfv.dataplane.kernel.rtnl import Address, Link, Neighbour, Route
from nfv.dataplane.kernel.rtsocket import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Request, RtSocket
from nfv.errors import KernelError

_SIOCGIFINDEX = 0x8933
_IFREQ = struct.Struct("=16si20x")
_LINK_REQUESTS = (rtnl.RTM_NEWLINK, rtnl.RTM_DELLINK)
_IFA_F_NODAD = 0x02
_RTM_F_FIB_MATCH = 0x2000
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL})
_ROUTE_CODES = {name: code for code, name in rtnl.ROUTE_TYPES.items()}

T = TypeVar("T")


class Netlink(Closing):
    """rtnetlink in a namespace, None being the calling thread's.

    Devices are given by name or by ifindex. Every method raises `KernelError`. Not for use by
    several threads at once.
    """

    def __init__(self, netns: str | None = None) -> None:
        with namespaces.entered(netns):
            self._socket = RtSocket()
        self._where = f" in namespace {netns}" if netns else ""
        self._batching = False
        self._pending: list[Request] = []
        self._elsewhere: list[tuple[str, Request]] = []  # to be made in another namespace, after
        self._descriptors: list[int] = []  # of namespaces that pending requests name

    def close(self) -> None:
        self._forget_pending()
        self._socket.close()

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Collect changes and make them, in order, when the block ends.

        They are made earlier where something must be read: a list, or a device's ifindex after
        changes of devices. So it is quickest to make all devices first.

        The first refused one raises `KernelError`. A batch is no transaction: what came before it
        stays, and some of what came after it may have been done too. A block that raises leaves out
        what has not been sent.
        """
        self._batching = True
        try:
            yield
            self._flush()
        finally:
            self._batching = False
            self._forget_pending()

    def links(self) -> dict[str, Link]:
        """All devices by name."""
        found = self._dump(rtnl.RTM_GETLINK, rtnl.link_dump_message(), rtnl.parse_link, "links")
        return {link.name: link for link in found}

    def link(self, device: str | int) -> Link:
        """One device. Raises `KernelError` if there is none."""
        data = self._socket.get(rtnl.RTM_GETLINK, _link_body(device), f"find link {device}")
        found = rtnl.parse_link(data)
        assert found is not None  # only bridge ports have messages of another kind
        return found

    def addresses(self, ifindex: int | None = None) -> list[Address]:
        """The addresses of one device, or of all."""
        body = rtnl.address_message(socket.AF_UNSPEC, ifindex or 0)
        return self._dump(rtnl.RTM_GETADDR, body, rtnl.parse_address, "addresses")

    def routes(self, table: int = rtnl.RT_TABLE_MAIN, protocol: int = 0) -> list[Route]:
        """The IPv4 and IPv6 routes of one table, of those only that a protocol put there if given.

        Protocols are those of rtm_protocol. Routing daemons have put a million into some tables.
        """
        return [
            route
            for family in (socket.AF_INET, socket.AF_INET6)
            for route in self._dump(
                rtnl.RTM_GETROUTE,
                rtnl.route_message({"family": family, "proto": protocol}, {"RTA_TABLE": table}),
                rtnl.parse_route,
                "routes",
            )
        ]

    def neighbours(self, protocol: int) -> list[Neighbour]:
        """The neighbours that a protocol has put there, and what it has devices answer for."""
        return [
            neighbour
            for family in (socket.AF_INET, socket.AF_INET6)
            for flags in (0, rtnl.NTF_PROXY)
            for neighbour in self._dump(
                rtnl.RTM_GETNEIGH,
                rtnl.neighbour_message({"family": family, "flags": flags}, {}),
                rtnl.parse_neighbour,
                "neighbours",
            )
            if neighbour.protocol == protocol
        ]

    def route_to(self, address: str) -> Route | None:
        """The route that packets to an address take; None if there is none."""
        fields = {"family": _family(address), "flags": _RTM_F_FIB_MATCH}
        fields["dst_len"] = ipaddress.ip_address(address).max_prefixlen
        body = rtnl.route_message(fields, {"RTA_DST": address})
        try:
            data = self._socket.get(rtnl.RTM_GETROUTE, body, f"find the route to {address}")
        except KernelError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_ROUTE:
                return None
            raise
        return rtnl.parse_route(data)

    def add_veth(
        self,
        name: str,
        peer: str,
        *,
        mac: str | None = None,
        peer_mac: str | None = None,
        mtu: int = 1500,
        netns: str | None = None,
        peer_netns: str | None = None,
        alias: str | None = None,
        peer_alias: str | None = None,
    ) -> None:
        """Make a veth pair, both ends down, each in its namespace from the start.

        A namespace of None is this one. `mtu` in bytes, for both ends. The kernel takes aliases
        only afterwards, so an end has none for the moment between two requests.
        """
        far = self._end(peer, peer_mac, mtu, peer_netns)
        data = {"attrs": [("VETH_INFO_PEER", {"attrs": list(far.items())})]}
        info = [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", data)]
        near = {**self._end(name, mac, mtu, netns), "IFLA_LINKINFO": {"attrs": info}}
        what = f"add veth {name} with peer {peer}{self._where}"
        self._queue(
            what, rtnl.RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, rtnl.link_message(attributes=near)
        )
        for end, place, text in ((name, netns, alias), (peer, peer_netns, peer_alias)):
            if text is not None:
                self._set_alias(end, place, text)
        self._send_unless_batching()

    def del_link(self, device: str | int) -> None:
        """Delete a device; the other end of a veth goes with it."""
        self._change(f"delete link {device}", rtnl.RTM_DELLINK, 0, _link_body(device))

    def set_link(
        self,
        device: str | int,
        *,
        up: bool | None = None,
        promiscuous: bool | None = None,
        mtu: int | None = None,
        mac: str | None = None,
        alias: str | None = None,
        name: str | None = None,
    ) -> None:
        """Change a device; None leaves a property as it is, an alias of "" removes it."""
        wanted = ((rtnl.IFF_UP, up), (rtnl.IFF_PROMISC, promiscuous))
        flags = sum(flag for flag, on in wanted if on)
        mask = sum(flag for flag, on in wanted if on is not None)
        values = {"IFLA_MTU": mtu, "IFLA_ADDRESS": mac, "IFLA_IFALIAS": alias, "IFLA_IFNAME": name}
        attributes = {key: value for key, value in values.items() if value is not None}
        target = self._index(device) if name is not None else device
        body = _link_body(target, flags, mask, attributes)
        self._change(f"set link {device}", rtnl.RTM_NEWLINK, 0, body)

    def add_address(self, device: str | int, address: str) -> None:
        """Add "10.0.0.1/24" or "2001:db8::1/64"; IPv6 ones are usable at once (IFA_F_NODAD)."""
        flags = NLM_F_CREATE | NLM_F_EXCL
        body = self._address_body(device, address)
        self._change(f"add address {address} to {device}", rtnl.RTM_NEWADDR, flags, body)

    def del_address(self, device: str | int, address: str) -> None:
        """Remove an address given as to `add_address`."""
        body = self._address_body(device, address)
        self._change(f"delete address {address} from {device}", rtnl.RTM_DELADDR, 0, body)

    def add_route(
        self,
        destination: str,
        *,
        via: str | None = None,
        device: str | int | None = None,
        next_hops: Sequence[tuple[str, str | None, int]] = (),
        kind: str = "unicast",
        metric: int | None = None,
        protocol: int = rtnl.RTPROT_STATIC,
        replace: bool = False,
    ) -> None:
        """Add a route to the main table, or replace the one of this destination and metric.

        `destination` is a prefix ("0.0.0.0/0" is the default route); `kind` is one of
        `rtnl.ROUTE_TYPES`, of which unicast needs a gateway (`via`), a device or both, or
        `next_hops` that share its traffic: gateway, device, weight. A metric of None is 0 for IPv4
        and 1024 for IPv6.
        """
        fields = {
            "proto": protocol,
            "type": _ROUTE_CODES[kind],
            "scope": _scope(destination, kind, bool(via or next_hops)),
        }
        body = self._route_body(destination, fields, via, device, metric, next_hops)
        flags = NLM_F_CREATE | (NLM_F_REPLACE if replace else NLM_F_EXCL)
        verb = "replace" if replace else "add"
        self._change(_route_text(verb, destination, via, device), rtnl.RTM_NEWROUTE, flags, body)

    def del_route(
        self,
        destination: str,
        *,
        via: str | None = None,
        device: str | int | None = None,
        metric: int | None = None,
        protocol: int = 0,
    ) -> None:
        """Delete the first route of the main table that has all that is given."""
        fields = {"proto": protocol, "scope": rtnl.RT_SCOPE_NOWHERE}
        body = self._route_body(destination, fields, via, device, metric)
        self._change(_route_text("delete", destination, via, device), rtnl.RTM_DELROUTE, 0, body)

    def add_neighbour(
        self, device: str | int, address: str, mac: str | None, protocol: int
    ) -> None:
        """Say for good where a neighbour is; without a MAC address, let the device answer for it.

        What the kernel has found out of the neighbour is replaced.
        """
        fields, attributes = _neighbour_key(self._index(device), address, mac)
        if mac is not None:
            fields["state"] = rtnl.NUD_PERMANENT
            attributes["NDA_LLADDR"] = mac
        body = rtnl.neighbour_message(fields, {**attributes, "NDA_PROTOCOL": protocol})
        what = f"add neighbour {address} of {device}"
        self._change(what, rtnl.RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body)

    def del_neighbour(self, device: str | int, address: str, mac: str | None) -> None:
        """Forget a neighbour, given as to `add_neighbour`."""
        body = rtnl.neighbour_message(*_neighbour_key(self._index(device), address, mac))
        self._change(f"delete neighbour {address} of {device}", rtnl.RTM_DELNEIGH, 0, body)

    def _change(self, what: str, type_: int, flags: int, body: bytes) -> None:
        self._queue(what + self._where, type_, flags, body)
        self._send_unless_batching()

    def _queue(self, what: str, type_: int, flags: int, body: bytes) -> None:
        self._pending.append(Request(what, type_, flags, body))

    def _send_unless_batching(self) -> None:
        if not self._batching:
            try:
                self._flush()
            finally:
                self._forget_pending()

    def _flush(self) -> None:
        requests, self._pending = self._pending, []
        self._socket.request(requests)
        elsewhere, self._elsewhere = self._elsewhere, []
        for name in dict.fromkeys(place for place, _ in elsewhere):
            with Netlink(name) as other:
                other._socket.request([request for place, request in elsewhere if place == name])

    def _forget_pending(self) -> None:
        self._pending, self._elsewhere = [], []
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []

    def _dump(
        self, type_: int, body: bytes, parse: Callable[[bytes], T | None], subject: str
    ) -> list[T]:
        self._flush()
        replies = self._socket.dump(type_, body, f"list {subject}{self._where}")
        return [item for item in (parse(reply.data) for reply in replies) if item is not None]

    def _index(self, device: str | int) -> int:
        """The ifindex of a device, which a pending request may be about to make or rename."""
        if isinstance(device, int):
            return device
        if any(request.type in _LINK_REQUESTS for request in self._pending):
            self._flush()
        request = _IFREQ.pack(device.encode(), 0)
        try:
            answer = fcntl.ioctl(self._socket.fileno(), _SIOCGIFINDEX, request)
        except OSError as error:
            raise refused(f"find link {device}{self._where}", error) from error
        index: int = _IFREQ.unpack(answer)[1]
        return index

    def _end(self, name: str, mac: str | None, mtu: int, netns: str | None) -> dict[str, Any]:
        """The attributes of one end of a veth pair.

        A CPU that redirects into a veth uses the queue of its number: with fewer queues, CPUs wait
        for each other.
        """
        queues = os.cpu_count() or 1
        end: dict[str, Any] = {
            "IFLA_IFNAME": name,
            "IFLA_MTU": mtu,
            "IFLA_NUM_TX_QUEUES": queues,
            "IFLA_NUM_RX_QUEUES": queues,
        }
        if mac is not None:
            end["IFLA_ADDRESS"] = mac
        if netns is not None:
            end["IFLA_NET_NS_FD"] = self._descriptor(netns)
        return end

    def _descriptor(self, netns: str) -> int:
        descriptor = namespaces.descriptor(netns)
        self._descriptors.append(descriptor)
        return descriptor

    def _set_alias(self, device: str, netns: str | None, alias: str) -> None:
        body = _link_body(device, attributes={"IFLA_IFALIAS": alias})
        request = Request(f"mark link {device} as {alias}", rtnl.RTM_NEWLINK, 0, body)
        if netns is None:
            self._pending.append(request)
        else:
            self._elsewhere.append((netns, request))

    def _address_body(self, device: str | int, address: str) -> bytes:
        interface = ipaddress.ip_interface(address)
        own = str(interface.ip)
        attributes: dict[str, Any] = {"IFA_LOCAL": own, "IFA_ADDRESS": own}
        if interface.version == 6:
            attributes["IFA_FLAGS"] = _IFA_F_NODAD
        length = interface.network.prefixlen
        return rtnl.address_message(_family(own), self._index(device), length, attributes)

    def _route_body(
        self,
        destination: str,
        fields: dict[str, int],
        via: str | None,
        device: str | int | None,
        metric: int | None,
        next_hops: Sequence[tuple[str, str | None, int]] = (),
    ) -> bytes:
        prefix = ipaddress.ip_network(destination)
        attributes: dict[str, Any] = {"RTA_DST": str(prefix.network_address)}
        if via is not None:
            attributes["RTA_GATEWAY"] = via
        if device is not None:
            attributes["RTA_OIF"] = self._index(device)
        if next_hops:
            attributes["RTA_MULTIPATH"] = [self._next_hop(*hop) for hop in next_hops]
        if metric is not None:
            attributes["RTA_PRIORITY"] = metric
        where = {
            "family": _family(destination),
            "dst_len": prefix.prefixlen,
            "table": rtnl.RT_TABLE_MAIN,
        }
        return rtnl.route_message({**where, **fields}, attributes)

    def _next_hop(self, via: str, device: str | None, weight: int) -> dict[str, Any]:
        """struct rtnexthop; a device of 0 leaves the choice to the kernel."""
        oif = 0 if device is None else self._index(device)
        return {"oif": oif, "hops": weight - 1, "attrs": [("RTA_GATEWAY", via)]}


def _link_body(
    device: str | int, flags: int = 0, mask: int = 0, attributes: dict[str, Any] | None = None
) -> bytes:
    """A request about a device: the kernel finds it by ifindex, or else by the name given."""
    if isinstance(device, int):
        return rtnl.link_message(device, flags, mask, attributes)
    return rtnl.link_message(0, flags, mask, {**(attributes or {}), "IFLA_IFNAME": device})


def _neighbour_key(
    ifindex: int, address: str, mac: str | None
) -> tuple[dict[str, int], dict[str, Any]]:
    """What tells a neighbour from others: fields and attributes of its message."""
    flags = rtnl.NTF_PROXY if mac is None else 0
    fields = {"family": _family(address), "ifindex": ifindex, "flags": flags}
    return fields, {"NDA_DST": address}


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _scope(destination: str, kind: str, is_via: bool) -> int:
    """IPv4 routes straight to a link have its scope, as `ip route` sets it; IPv6 has none."""
    on_link = kind == "unicast" and not is_via and _family(destination) == socket.AF_INET
    return rtnl.RT_SCOPE_LINK if on_link else rtnl.RT_SCOPE_UNIVERSE


def _route_text(verb: str, destination: str, via: str | None, device: str | int | None) -> str:
    """How an error names a route."""
    gateway = f" via {via}" if via else ""
    return f"{verb} route {destination}{gateway}" + (f" dev {device}" if device else "")
