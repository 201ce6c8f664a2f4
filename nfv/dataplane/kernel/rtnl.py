"""What rtnetlink speaks of: links, addresses, routes and neighbours.

Frozen objects, and the functions that read them from the kernel's messages (rtnetlink(7)).
pyroute2's message classes do the encoding and decoding; nothing else of it is used.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.ndmsg import ndmsg  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.rtmsg import rtmsg  # type: ignore[import-untyped]

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30

IFF_UP = 0x1
IFF_PROMISC = 0x100

RT_TABLE_MAIN = 254
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_NOWHERE = 0, 253, 255

NUD_PERMANENT = 0x80
NTF_PROXY = 0x08

RTPROT_STATIC = 4  # who put a route there (rtm_protocol): an administrator

ROUTE_TYPES = {
    1: "unicast",
    2: "local",
    3: "broadcast",
    4: "anycast",
    5: "multicast",
    6: "blackhole",
    7: "unreachable",
    8: "prohibit",
    9: "throw",
}

_RTM_F_CLONED = 0x200
_RTEXT_FILTER_SKIP_STATS = 8
_IP_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_ANYWHERE = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}


@dataclass(frozen=True)
class Link:
    """A network device."""

    index: int
    name: str
    mac: str | None
    mtu: int
    up: bool  # administratively
    carrier: bool
    alias: str | None
    kind: str | None  # "veth", "tun", ...; None for a physical device and lo
    peer_index: int | None  # of a veth's other end, in whichever namespace that is
    promiscuous: bool  # by its own flag; programs that listen have it on besides
    xdp_prog_id: int | None


@dataclass(frozen=True)
class Address:
    """An address of a device, as "10.0.0.1/24"; scope and flags are RT_SCOPE_* and IFA_F_*."""

    ifindex: int
    address: str
    scope: int
    flags: int


@dataclass(frozen=True)
class NextHop:
    """Where a route leads: a device, and a gateway unless the destination is on its link."""

    via: str | None
    ifindex: int
    weight: int = 1  # its share, if there are several


@dataclass(frozen=True)
class Route:
    """A route; several next hops share its traffic (ECMP), a blackhole and its kin have none."""

    destination: str  # always a prefix: "10.0.0.0/24", "::/0"
    kind: str  # of ROUTE_TYPES
    nexthops: tuple[NextHop, ...]
    metric: int
    protocol: int  # RTPROT_*
    scope: int
    table: int


@dataclass(frozen=True)
class Neighbour:
    """A neighbour of a device; one without MAC address is what the device answers for (proxy)."""

    ifindex: int
    address: str
    mac: str | None
    protocol: int  # who put it there, numbered as RTPROT_*


def link_message(
    index: int = 0, flags: int = 0, change: int = 0, attributes: Mapping[str, Any] | None = None
) -> bytes:
    """struct ifinfomsg with its IFLA_* attributes; `change` is the mask of valid `flags`."""
    fields = {"index": index, "flags": flags, "change": change}
    return _body(ifinfmsg(), fields, attributes or {})


def link_dump_message() -> bytes:
    """Selects every link; counters are left out, which halves the work."""
    return link_message(attributes={"IFLA_EXT_MASK": _RTEXT_FILTER_SKIP_STATS})


def address_message(
    family: int, ifindex: int, prefix_length: int = 0, attributes: Mapping[str, Any] | None = None
) -> bytes:
    """struct ifaddrmsg with its IFA_* attributes."""
    fields = {"family": family, "index": ifindex, "prefixlen": prefix_length}
    return _body(ifaddrmsg(), fields, attributes or {})


def route_message(fields: Mapping[str, int], attributes: Mapping[str, Any]) -> bytes:
    """struct rtmsg (`fields` by their names without the prefix) with its RTA_* attributes."""
    return _body(rtmsg(), fields, attributes)


def neighbour_message(fields: Mapping[str, int], attributes: Mapping[str, Any]) -> bytes:
    """struct ndmsg (`fields` by their names without the prefix) with its NDA_* attributes."""
    return _body(ndmsg(), fields, attributes)


def parse_link(data: bytes) -> Link | None:
    """Read RTM_NEWLINK or RTM_DELLINK; None for a bridge port's own message."""
    message = _decoded(ifinfmsg, data)
    if message["family"] != socket.AF_UNSPEC:
        return None
    get = message.get_attr
    info, xdp = get("IFLA_LINKINFO"), get("IFLA_XDP")
    return Link(
        index=message["index"],
        name=get("IFLA_IFNAME"),
        mac=get("IFLA_ADDRESS"),
        mtu=get("IFLA_MTU", 0),
        up=bool(message["flags"] & IFF_UP),
        carrier=bool(get("IFLA_CARRIER")),
        alias=get("IFLA_IFALIAS"),
        kind=info.get_attr("IFLA_INFO_KIND") if info else None,
        peer_index=get("IFLA_LINK") or None,
        promiscuous=bool(message["flags"] & IFF_PROMISC),
        xdp_prog_id=xdp.get_attr("IFLA_XDP_PROG_ID") if xdp else None,
    )


def parse_address(data: bytes) -> Address:
    """Read RTM_NEWADDR or RTM_DELADDR."""
    message = _decoded(ifaddrmsg, data)
    get = message.get_attr
    own = get("IFA_LOCAL") or get("IFA_ADDRESS")  # IFA_ADDRESS is the peer's, where they differ
    return Address(
        ifindex=message["index"],
        address=f"{own}/{message['prefixlen']}",
        scope=message["scope"],
        flags=get("IFA_FLAGS", message["flags"]),
    )


def parse_route(data: bytes) -> Route | None:
    """Read RTM_NEWROUTE or RTM_DELROUTE; None for one of the kernel's cached clones."""
    message = _decoded(rtmsg, data)
    family = message["family"]
    if family not in _IP_FAMILIES or message["flags"] & _RTM_F_CLONED:
        return None
    get = message.get_attr
    return Route(
        destination=f"{get('RTA_DST', _ANYWHERE[family])}/{message['dst_len']}",
        kind=ROUTE_TYPES.get(message["type"], str(message["type"])),
        nexthops=_nexthops(message),
        metric=get("RTA_PRIORITY", 0),
        protocol=message["proto"],
        scope=message["scope"],
        table=get("RTA_TABLE", message["table"]),
    )


def parse_neighbour(data: bytes) -> Neighbour | None:
    """Read RTM_NEWNEIGH; None for a station of a bridge or one without an IP address."""
    message = _decoded(ndmsg, data)
    address = message.get_attr("NDA_DST")
    if message["family"] not in _IP_FAMILIES or address is None:
        return None
    mac = None if message["flags"] & NTF_PROXY else message.get_attr("NDA_LLADDR")
    return Neighbour(message["ifindex"], address, mac, message.get_attr("NDA_PROTOCOL", 0))


def _nexthops(message: Any) -> tuple[NextHop, ...]:
    multipath = message.get_attr("RTA_MULTIPATH")
    if multipath:
        return tuple(NextHop(_gateway(hop), hop["oif"], hop["hops"] + 1) for hop in multipath)
    ifindex = message.get_attr("RTA_OIF")
    discards = ROUTE_TYPES.get(message["type"]) in ("blackhole", "unreachable", "prohibit")
    return () if ifindex is None or discards else (NextHop(_gateway(message), ifindex),)


def _gateway(message: Any) -> str | None:
    """The gateway; RTA_VIA is one of the other family (RFC 8950)."""
    via = message.get_attr("RTA_VIA")
    gateway: str | None = via["addr"] if via else message.get_attr("RTA_GATEWAY")
    return gateway


def _body(message: Any, fields: Mapping[str, int], attributes: Mapping[str, Any]) -> bytes:
    """The encoded message after its netlink header."""
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = list(attributes.items())
    message.encode()
    return bytes(message.data[16:])


def _decoded(message_class: Callable[[bytes], Any], data: bytes) -> Any:
    message = message_class(data)
    message.decode()
    return message
