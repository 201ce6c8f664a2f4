"""What a packet must look like: the one form that rules and classifiers are reduced to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Network

Range = tuple[int, int]
"""Lowest and highest value, both included."""


SetCondition = tuple[tuple[int, ...], ...]
"""Numbers of named sets: an address is in one at least of each group."""


class Direction(IntEnum):
    """The way a packet goes along a chain's path."""

    FORWARD = 0  # from the first attachment of the path to the last
    REVERSE = 1


class Fragment(IntEnum):
    """The place of a packet in its datagram: enum nf_fragment of nf.h."""

    NONE = 0  # it is the whole datagram
    FIRST = 1
    LATER = 2


MAC_SHIFT = 80
"""MAC addresses are the upper 48 bits of prefixes of 128."""


@dataclass(frozen=True)
class Pattern:
    """All conditions must hold; within one condition any of its values. Empty or None: anything.

    For ICMP and ICMPv6 the destination port stands for type * 256 + code, and the source port is 0.
    """

    src: tuple[IPv4Network | IPv6Network, ...] = ()
    dst: tuple[IPv4Network | IPv6Network, ...] = ()
    protocols: tuple[int, ...] = ()  # IP protocol numbers
    sports: tuple[Range, ...] = ()
    dports: tuple[Range, ...] = ()
    tcp_flags: tuple[int, int] | None = None  # mask, value: flags & mask == value; TCP only
    directions: tuple[Direction, ...] = ()
    families: tuple[int, ...] = ()  # 4, 6
    src_macs: tuple[IPv6Network, ...] = ()  # of each the first 48 bits, as MAC_SHIFT puts them
    dst_macs: tuple[IPv6Network, ...] = ()
    lengths: tuple[Range, ...] = ()  # of the IP packet, in bytes, with its header
    dscps: tuple[int, ...] = ()  # RFC 2474
    fragments: tuple[Fragment, ...] = ()
    src_sets: SetCondition = ()
    dst_sets: SetCondition = ()


NEVER = Pattern(tcp_flags=(0, 1))
"""Matches no packet."""
