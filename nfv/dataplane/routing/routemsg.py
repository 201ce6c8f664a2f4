"""What rtnetlink says of routing, decoded for the agent: links, routes, neighbours, forwarding.

Addresses come out as numbers, as the tables want them, and messages are read with `struct` alone:
a router with a full table sends hundreds of thousands, and `nfv.dataplane.kernel.rtnl` takes ten
times as long for each. Layouts and numbers are those of include/uapi/linux/rtnetlink.h,
neighbour.h, fib_rules.h and netconf.h. An IP version is 4 or 6.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from typing import NamedTuple

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_DELADDR, RTM_GETADDR = 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
RTM_NEWNETCONF, RTM_GETNETCONF = 80, 82
RTM_NEWNEXTHOP, RTM_DELNEXTHOP = 104, 105

# RTNLGRP_*: link, neighbour; address, route, rule, netconf of each family; next hop objects.
_GROUPS = (1, 3, 5, 7, 8, 9, 11, 19, 24, 25, 32)
GROUP_MASK = sum(1 << group - 1 for group in _GROUPS)
ADDRESS_MASK = 1 << 0 | 1 << 4  # links, and IPv4 addresses

TABLE_MAIN, TABLE_LOCAL = 254, 255
UNICAST, LOCAL, BLACKHOLE = 1, 2, 6  # of rtm_type

ALL_DEVICES = -1  # NETCONFA_IFINDEX_ALL

WIDTHS = {4: 32, 6: 128}
_VERSIONS: Mapping[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 6}
FAMILIES = {version: family for family, version in _VERSIONS.items()}

_NETLINK_HEADER = 16
_IFINFOMSG = struct.Struct("=BxHiII")
_RTMSG = struct.Struct("=8BI")
_NDMSG = struct.Struct("=BxHiHBB")
_FIB_RULE_HDR = struct.Struct("=8BI")
_NETCONFMSG = struct.Struct("=B3x")
_RTVIA = struct.Struct("=H")  # and the address
_RTNEXTHOP = struct.Struct("=HBBi")
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_S32 = struct.Struct("=i")
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

_IFF_UP, _IFF_LOWER_UP = 0x1, 0x10000
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_EXT_MASK = 1, 3, 4, 29
_RTEXT_FILTER_SKIP_STATS = 8

_IFADDRMSG = struct.Struct("=4BI")
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_SCOPE_UNIVERSE = 0

_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY = 1, 4, 5, 6
_RTA_METRICS, _RTA_MULTIPATH, _RTA_TABLE, _RTA_VIA, _RTA_ENCAP = 8, 9, 15, 18, 22
_RTAX_MTU = 2
_RTM_F_CLONED = 0x200
_RTNH_F_DEAD = 1

_NDA_DST, _NDA_LLADDR = 1, 2
_NTF_USE, _NTF_PROXY = 0x01, 0x08
_NUD_STALE = 0x04
_NUD_USABLE = 0xDE  # REACHABLE, STALE, DELAY, PROBE, NOARP, PERMANENT
_MAC_LENGTH = 6
# Where the kernel writes the destination: its place, what it begins with, and its end.
_DESTINATIONS = {
    int(socket.AF_INET): (36, _ATTRIBUTE.pack(8, _RTA_DST), 44),  # behind RTA_TABLE
    int(socket.AF_INET6): (28, _ATTRIBUTE.pack(20, _RTA_DST), 48),
}
_NOWHERE = 0, b"none", 0
_MAX_WAYS = 1 << 16  # remembered; more are decoded again

_FRA_PRIORITY, _FRA_SUPPRESS_PREFIXLEN, _FRA_TABLE, _FRA_PROTOCOL = 6, 14, 15, 21
_RULE_ATTRIBUTES = {_FRA_PRIORITY, _FRA_SUPPRESS_PREFIXLEN, _FRA_TABLE, _FRA_PROTOCOL}
_FR_ACT_TO_TBL = 1
_FIB_RULE_INVERT = 2
_SUPPRESS_NOTHING = b"\xff" * 4

_NETCONFA_IFINDEX, _NETCONFA_FORWARDING = 1, 2


class Link(NamedTuple):
    """A network device."""

    ifindex: int
    name: str
    mac: bytes
    mtu: int
    running: bool  # administratively up, with a carrier


class Address(NamedTuple):
    """An IP address as a number."""

    version: int
    number: int


class Prefix(NamedTuple):
    """An IP prefix; the bits of `key` behind `length` are 0."""

    version: int
    key: int
    length: int


class NextHop(NamedTuple):
    """One of several next hops that share the traffic of a route."""

    ifindex: int
    gateway: Address | None
    weight: int  # 1 to 256


class Way(NamedTuple):
    """A route without its prefix: many routes have the same one.

    The kernel tells routes of one prefix and table apart by `tos` and `metric`.
    """

    version: int
    table: int
    tos: int
    metric: int
    kind: int  # rtm_type
    ifindex: int  # 0: none
    gateway: Address | None  # of either version (RFC 8950)
    mtu: int  # bytes; 0: that of the device
    hops: tuple[NextHop, ...]  # those of a multipath route; a single next hop is above
    special: bool  # not for the destination alone: encapsulation, a source prefix, a dead next hop


class Route(NamedTuple):
    """A route of the kernel."""

    prefix: Prefix
    way: Way

    @property
    def packed(self) -> int:
        """The prefix in one number."""
        return self.prefix.key << 8 | self.prefix.length


class Neighbour(NamedTuple):
    """An entry of the neighbour table; `mac` is None while there is no usable one."""

    ifindex: int
    address: Address
    mac: bytes | None
    stale: bool  # usable, but the kernel would ask again with the next packet


class Rule(NamedTuple):
    """A routing policy rule; `plain` ones only name the table where everything is looked up."""

    version: int
    priority: int
    table: int
    plain: bool


class Forwarding(NamedTuple):
    """Whether packets that come in by a device are forwarded."""

    version: int
    ifindex: int  # or ALL_DEVICES
    enabled: bool


def link(data: bytes) -> Link | None:
    """Read RTM_NEWLINK or RTM_DELLINK; None for a bridge port's own message."""
    family, _type, index, flags, _change = _IFINFOMSG.unpack_from(data, _NETLINK_HEADER)
    if family != socket.AF_UNSPEC:
        return None
    found = _attributes(data, _IFINFOMSG.size)
    return Link(
        ifindex=index,
        name=found[_IFLA_IFNAME].rstrip(b"\0").decode(),
        mac=found.get(_IFLA_ADDRESS, b""),
        mtu=_number(found, _IFLA_MTU, 0),
        running=flags & (_IFF_UP | _IFF_LOWER_UP) == _IFF_UP | _IFF_LOWER_UP,
    )


def route(data: bytes) -> Route | None:
    """Read RTM_NEWROUTE or RTM_DELROUTE; None for a cached clone and for other families."""
    family, length, source_length, tos, table, _protocol, _scope, kind, flags = _RTMSG.unpack_from(
        data, _NETLINK_HEADER
    )
    version = _VERSIONS.get(family)
    if version is None or flags & _RTM_F_CLONED:
        return None
    found = _attributes(data, _RTMSG.size)
    hops, are_special = _next_hops(version, found.get(_RTA_MULTIPATH))
    way = Way(
        version=version,
        table=_number(found, _RTA_TABLE, table),
        tos=tos,
        metric=_number(found, _RTA_PRIORITY, 0),
        kind=kind,
        ifindex=_number(found, _RTA_OIF, 0),
        gateway=_gateway(version, found),
        mtu=_route_mtu(found),
        hops=hops,
        special=are_special or bool(_RTA_ENCAP in found or source_length or flags & _RTNH_F_DEAD),
    )
    return Route(Prefix(version, int.from_bytes(found.get(_RTA_DST, b""), "big"), length), way)


class RouteReader:
    """Reads many messages of routes: what is beside their prefixes is decoded once."""

    def __init__(self) -> None:
        self._ways: dict[bytes, Way] = {}

    def read(self, data: bytes) -> tuple[int, Way] | None:
        """The prefix as key * 256 + length, and the way; None as `route` has it."""
        place, attribute, end = _DESTINATIONS.get(data[16], _NOWHERE)
        if data[place : place + 4] != attribute:
            found = route(data)
            return (found.packed, found.way) if found else None
        rest = data[16:17] + data[18:place] + data[end:]
        way = self._ways.get(rest)
        if way is None:
            found = route(data)
            if found is None:
                return None
            if len(self._ways) >= _MAX_WAYS:
                self._ways.clear()
            way = self._ways[rest] = found.way
        return int.from_bytes(data[place + 4 : end], "big") << 8 | data[17], way


def neighbour(data: bytes) -> Neighbour | None:
    """Read RTM_NEWNEIGH or RTM_DELNEIGH; None for a proxy's entry and for other families."""
    family, _pad, ifindex, state, flags, _type = _NDMSG.unpack_from(data, _NETLINK_HEADER)
    version = _VERSIONS.get(family)
    found = _attributes(data, _NDMSG.size)
    if version is None or flags & _NTF_PROXY or _NDA_DST not in found:
        return None
    mac = found.get(_NDA_LLADDR, b"")
    usable = state & _NUD_USABLE and len(mac) == _MAC_LENGTH and any(mac)
    return Neighbour(
        ifindex,
        Address(version, int.from_bytes(found[_NDA_DST], "big")),
        mac if usable else None,
        bool(state & _NUD_STALE),
    )


def rule(data: bytes) -> Rule | None:
    """Read RTM_NEWRULE; None for families other than IPv4 and IPv6."""
    family, dst_length, src_length, tos, table, _r1, _r2, action, flags = _FIB_RULE_HDR.unpack_from(
        data, _NETLINK_HEADER
    )
    version = _VERSIONS.get(family)
    if version is None:
        return None
    found = _attributes(data, _FIB_RULE_HDR.size)
    selects = dst_length or src_length or tos or flags & _FIB_RULE_INVERT
    suppresses = found.get(_FRA_SUPPRESS_PREFIXLEN, _SUPPRESS_NOTHING) != _SUPPRESS_NOTHING
    return Rule(
        version,
        _number(found, _FRA_PRIORITY, 0),
        _number(found, _FRA_TABLE, table),
        plain=not selects
        and not suppresses
        and action == _FR_ACT_TO_TBL
        and found.keys() <= _RULE_ATTRIBUTES,
    )


def forwarding(data: bytes) -> Forwarding | None:
    """Read RTM_NEWNETCONF; None if it is about another setting or family."""
    (family,) = _NETCONFMSG.unpack_from(data, _NETLINK_HEADER)
    version = _VERSIONS.get(family)
    found = _attributes(data, _NETCONFMSG.size)
    if version is None or _NETCONFA_FORWARDING not in found:
        return None
    (ifindex,) = _S32.unpack(found[_NETCONFA_IFINDEX])
    return Forwarding(version, ifindex, bool(_number(found, _NETCONFA_FORWARDING, 0)))


def link_request() -> bytes:
    """Selects every device; counters are left out."""
    mask = _ATTRIBUTE.pack(8, _IFLA_EXT_MASK) + _U32.pack(_RTEXT_FILTER_SKIP_STATS)
    return _IFINFOMSG.pack(0, 0, 0, 0, 0) + mask


def route_request(version: int) -> bytes:
    """Selects the routes of all tables."""
    return _RTMSG.pack(FAMILIES[version], 0, 0, 0, 0, 0, 0, 0, 0)


def neighbour_request() -> bytes:
    """Selects the neighbours of both families."""
    return _NDMSG.pack(0, 0, 0, 0, 0, 0)


def rule_request(version: int) -> bytes:
    """Selects the policy rules."""
    return _FIB_RULE_HDR.pack(FAMILIES[version], 0, 0, 0, 0, 0, 0, 0, 0)


def forwarding_request(version: int) -> bytes:
    """Selects the settings of every device."""
    return _NETCONFMSG.pack(FAMILIES[version])


def address_request() -> bytes:
    """Selects the IPv4 addresses of every device."""
    return _IFADDRMSG.pack(socket.AF_INET, 0, 0, 0, 0)


def address(data: bytes) -> tuple[int, int] | None:
    """Read RTM_NEWADDR of IPv4: ifindex and address; None for one of link or host scope."""
    _family, _length, _flags, scope, index = _IFADDRMSG.unpack_from(data, _NETLINK_HEADER)
    found = _attributes(data, _IFADDRMSG.size)
    own = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
    if scope != _SCOPE_UNIVERSE or own is None:
        return None
    return index, int.from_bytes(own, "big")


def use_request(found: Neighbour) -> bytes:
    """For RTM_NEWNEIGH: use a neighbour as if there was a packet for it, which confirms its MAC."""
    version, number = found.address
    address = number.to_bytes(WIDTHS[version] // 8, "big")
    header = _NDMSG.pack(FAMILIES[version], 0, found.ifindex, 0, _NTF_USE, 0)
    return header + _ATTRIBUTE.pack(_ATTRIBUTE.size + len(address), _NDA_DST) + address


def _attributes(data: bytes, header: int) -> dict[int, bytes]:
    """The attributes behind a message's own header, by type."""
    return _nested(data, _NETLINK_HEADER + header)


def _nested(data: bytes, offset: int) -> dict[int, bytes]:
    found = {}
    end = len(data)
    while offset + 4 <= end:
        length, type_ = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            break
        found[type_ & _TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def _number(found: dict[int, bytes], type_: int, default: int) -> int:
    value = found.get(type_)
    return default if value is None else int(_U32.unpack_from(value)[0])


def _gateway(version: int, found: dict[int, bytes]) -> Address | None:
    if _RTA_VIA in found:
        (family,) = _RTVIA.unpack_from(found[_RTA_VIA])
        version, raw = _VERSIONS.get(family, version), found[_RTA_VIA][_RTVIA.size :]
    elif _RTA_GATEWAY in found:
        raw = found[_RTA_GATEWAY]
    else:
        return None
    return Address(version, int.from_bytes(raw, "big"))


def _next_hops(version: int, data: bytes | None) -> tuple[tuple[NextHop, ...], bool]:
    """The next hops of RTA_MULTIPATH; and whether not all of them are alive and for any packet."""
    if data is None:
        return (), False
    hops = []
    special = False
    offset = 0
    while offset + _RTNEXTHOP.size <= len(data):
        length, flags, share, ifindex = _RTNEXTHOP.unpack_from(data, offset)
        found = _nested(data[: offset + length], offset + _RTNEXTHOP.size)
        special |= _RTA_ENCAP in found or bool(flags & _RTNH_F_DEAD)
        hops.append(NextHop(ifindex, _gateway(version, found), share + 1))
        offset += max(_RTNEXTHOP.size, (length + 3) & ~3)
    return tuple(hops), special or not hops


def _route_mtu(found: dict[int, bytes]) -> int:
    metrics = found.get(_RTA_METRICS)
    return _number(_nested(metrics, 0), _RTAX_MTU, 0) if metrics else 0
