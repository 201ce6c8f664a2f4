"""What a packet must look like: the one form that rules and classifiers are reduced to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Network

Range = tuple[int, int]
"""Lowest and highest value, both included."""


class Direction(IntEnum):
    """The way a packet goes along a chain's path."""

    FORWARD = 0  # from the first attachment of the path to the last
    REVERSE = 1


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
