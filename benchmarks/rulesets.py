"""Rule sets like those that ClassBench makes (Taylor and Turner, INFOCOM 2005), and packets.

Three kinds, after the seeds that ClassBench has: of access lists (acl), of firewalls (fw) and of
Linux's former ipchains (ipc). They differ in how many rules leave an address open, how long
prefixes are, and how ports are given. Addresses lie in few networks, as those of a site do. The
shares are set by hand, not taken from seeds.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import TypeVar

from nfv.chain.pattern import Direction, Pattern, Range

Network = IPv4Network | IPv6Network
T = TypeVar("T")
Shares = Mapping[T, int]

ACK, SYN_ACK = 0x10, 0x12
TCP, UDP, ICMP, ANY = 6, 17, 1, 0
SERVICES = (
    20, 21, 22, 23, 25, 53, 69, 80, 110, 111, 123, 135, 137, 138, 139, 143, 161, 162, 179, 389,
    443, 445, 465, 514, 587, 636, 993, 995, 1080, 1433, 1521, 1723, 2049, 3128, 3306, 3389, 5060,
    5432, 5900, 6379, 8000, 8080, 8443, 9090,
)  # fmt: skip
IPV6_LENGTHS = {8: 32, 16: 48, 24: 64, 28: 120, 32: 128}
"""The IPv6 prefix that takes the place of one of IPv4, by length."""


@dataclass(frozen=True)
class Kind:
    """Shares, in percent or as weights."""

    open_src: int
    open_dst: int
    src: Shares[int]  # by prefix length
    dst: Shares[int]
    sport: Shares[str]
    dport: Shares[str]
    protocols: Shares[int]


KINDS = {
    "acl": Kind(
        open_src=5,
        open_dst=2,
        src={8: 1, 16: 3, 24: 8, 28: 4, 32: 20},
        dst={16: 1, 24: 6, 28: 6, 32: 20},
        sport={"any": 98, "high": 2},
        dport={"any": 30, "one": 50, "range": 18, "high": 2},
        protocols={TCP: 70, UDP: 15, ICMP: 5, ANY: 10},
    ),
    "fw": Kind(
        open_src=25,
        open_dst=15,
        src={8: 3, 16: 5, 24: 8, 32: 10},
        dst={8: 2, 16: 5, 24: 10, 32: 15},
        sport={"any": 70, "high": 20, "one": 10},
        dport={"any": 30, "one": 40, "range": 15, "high": 15},
        protocols={TCP: 55, UDP: 30, ICMP: 5, ANY: 10},
    ),
    "ipc": Kind(
        open_src=12,
        open_dst=8,
        src={8: 1, 16: 3, 24: 8, 28: 4, 32: 15},
        dst={8: 1, 16: 3, 24: 8, 28: 4, 32: 15},
        sport={"any": 75, "one": 15, "high": 10},
        dport={"any": 40, "one": 45, "range": 10, "high": 5},
        protocols={TCP: 60, UDP: 25, ICMP: 5, ANY: 10},
    ),
}


@dataclass(frozen=True)
class Header:
    """The fields of a packet that rules look at."""

    family: int  # 4 or 6
    src: int
    dst: int
    protocol: int
    sport: int
    dport: int
    tcp_flags: int


def rules(kind: str, count: int, family: int, seed: int = 1) -> list[Pattern]:
    """So many different rules; the same for the same arguments."""
    source = random.Random(f"{kind} {count} {family} {seed}")
    made = _Maker(source, KINDS[kind], family, count)
    found: dict[Pattern, None] = {}
    while len(found) < count:
        found[made.rule()] = None
    return list(found)


def headers(patterns: Sequence[Pattern], count: int, family: int, seed: int = 1) -> list[Header]:
    """Headers that are each in one of the rules at least, chosen evenly."""
    source = random.Random(seed)
    return [_header(source, patterns, family) for _ in range(count)]


class _Maker:
    def __init__(self, source: random.Random, kind: Kind, family: int, count: int) -> None:
        self._random = source
        self._kind = kind
        self._family = family
        networks = max(2, int(count**0.5) // 4)
        self._src, self._dst = self._subnets(networks), self._subnets(networks)

    def rule(self) -> Pattern:
        kind = self._kind
        protocol = self._pick(kind.protocols)
        ported = protocol in (TCP, UDP)
        flagged = protocol == TCP and self._random.random() < 0.1
        return Pattern(
            src=self._prefix(kind.open_src, kind.src, self._src),
            dst=self._prefix(kind.open_dst, kind.dst, self._dst),
            protocols=(protocol,) if protocol else (),
            sports=self._ports(kind.sport) if ported else (),
            dports=self._ports(kind.dport) if ported else (),
            tcp_flags=(SYN_ACK, ACK) if flagged else None,
            directions=(Direction.FORWARD,) if self._random.random() < 0.1 else (),
            families=(self._family,),
        )

    def _pick(self, shares: Shares[T]) -> T:
        return self._random.choices(list(shares), list(shares.values()))[0]

    def _subnets(self, networks: int) -> list[int]:
        """/24 of IPv4, /64 of IPv6, some in each of so many networks."""
        found = []
        for _ in range(networks):
            if self._family == 4:
                site = self._random.choice((10, 10, 172, 192, 147)) << 24
                site |= self._random.randrange(256) << 16
            else:
                site = 0x20010DB8 << 96 | self._random.randrange(64) << 80
            step = 8 if self._family == 4 else 64
            for _ in range(self._random.randrange(1, 24)):
                found.append(site | self._random.randrange(256) << step)
        return found

    def _prefix(
        self, open_share: int, lengths: Shares[int], subnets: Sequence[int]
    ) -> tuple[Network, ...]:
        if self._random.randrange(100) < open_share:
            return ()
        length = self._pick(lengths)
        address = self._random.choice(subnets)
        if self._family == 4:
            address |= self._random.randrange(256)
            return (IPv4Network((address >> 32 - length << 32 - length, length)),)
        address |= self._random.choice((self._random.randrange(4096), self._random.getrandbits(64)))
        length = IPV6_LENGTHS[length]
        return (IPv6Network((address >> 128 - length << 128 - length, length)),)

    def _ports(self, shares: Shares[str]) -> tuple[Range, ...]:
        how = self._pick(shares)
        if how == "any":
            return ()
        if how == "high":
            return ((1024, 65535),)
        if how == "one":
            known = self._random.random() < 0.8
            port = self._random.choice(SERVICES) if known else self._random.randrange(1024, 20000)
            return ((port, port),)
        low = self._random.randrange(1024, 60000)
        return ((low, low + self._random.choice((1, 9, 99, 1000, 4000))),)


def _header(source: random.Random, patterns: Sequence[Pattern], family: int) -> Header:
    pattern = source.choice(patterns)
    mask, value = pattern.tcp_flags or (0, 0)
    return Header(
        family,
        _address(source, pattern.src, family),
        _address(source, pattern.dst, family),
        pattern.protocols[0] if pattern.protocols else source.choice((TCP, UDP)),
        _port(source, pattern.sports),
        _port(source, pattern.dports),
        source.getrandbits(8) & ~mask | value,
    )


def _address(source: random.Random, prefixes: Sequence[Network], family: int) -> int:
    width = 32 if family == 4 else 128
    if not prefixes:
        return source.getrandbits(width)
    return int(prefixes[0].network_address) | source.getrandbits(width) >> prefixes[0].prefixlen


def _port(source: random.Random, ranges: Sequence[Range]) -> int:
    return source.randint(*ranges[0]) if ranges else source.randrange(1 << 16)
