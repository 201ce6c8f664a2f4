"""Network address translation, IPv4: many inside hosts behind few outside addresses.

It stands in a chain as a bump in the wire, with the inside at the path's beginning and the outside
at its end: `["gw:wan", nat, wan]`.

| | By |
| --- | --- |
| source NAT | `pools` of outside addresses; or `masquerade`, the address of a router's interface |
| destination NAT | `forwards`, ports or ranges of them; `static`, whole addresses, one to one |
| mapping, filtering | RFC 4787: independent of the far end, or not; each by itself |
| ports | kept where they are free, or drawn (RFC 6056); parity (RFC 4787, section 4.2.2) |
| carrier grade | deterministic ports (RFC 7422), paired addresses, hold-down (RFC 6888) |
| TCP, UDP, ICMP | RFC 5382, RFC 4787, RFC 5508; DCCP and UDP-Lite as UDP |
| other protocols | the address alone: one inside host for each protocol and outside address |
| ICMP errors | the quoted packet is translated too, both ways |
| hairpin | from inside to an outside address, and back to the inside, by pools and `static` |
| segments | `mss` bounds what TCP agrees on, both ways |
| checksums | by increment (RFC 1624); UDP without one stays so |

Static translations keep no state. The others are mappings, in two tables, one for each direction;
an outside endpoint is never given twice, as its entry is only made where there is none. What
matters of a connection is kept with the mapping, so connections from one inside port share it.

Addresses of pools and of `static` may lie in the subnet outside: ARP for them is answered here,
with the MAC address of who is inside. Nobody else has to know them. Towards the inside it answers
with 02:6e:61:74:00:01, and turns back what comes there.

When the masquerade address changes, whether by the file or by hand, the next packet has the other,
and mappings to the former are forgotten.

`nfvctl inspect TOPOLOGY NAME` lists the mappings, those with some text in a key by `KEY=TEXT`, and
`nfvctl stats` counts. Mappings outlive changes of the file, restarts of the agent and tables that
grow.

A million mappings take 192 MiB, and 96 more where filtering depends on the far end. A pass of the
agent over them takes 3.8 s of CPU (2 vCPU, Linux 6.18), in steps of some milliseconds; it makes one
every 5 seconds.

Limits, and why:

- Where one end of a flow is translated, it is remembered by the flow cache. Two NATs in a row, and
  hairpins, translate both ends: each packet of those walks.
- Hairpin does not work with the masquerade address: it is the router's own, which keeps what is
  sent there, and takes no packet with it as source.
- Later fragments pass by what their first one told; those that come before it are dropped, since
  nothing is kept of a packet. Identifications of datagrams (RFC 6864) are left as they are.
- Who asks for a port when none is free gets ICMP 3/13, or for TCP a reset, at the rate at which
  rejected packets are answered. At most 4,096 ports are looked at for one packet: where a pool has
  more and nearly all are taken, an inside host may have to ask again.
- Ports below 1024 are mapped to those of the pool, by default 1024 and above. ICMP queries have
  identifiers out of the same range.
- The state of TCP is that of the flags in both directions, of the mapping and not of each
  connection.
- ICMP errors from inside need a mapping, and not that the far end was sent to: beside nftables'
  masquerade that is the one difference in what passes, where ports are kept (the tests compare).
- An inside endpoint can stand in one static translation only.
- IPv6 passes as it is: no NPTv6 (RFC 6296) and no NAT64 (RFC 6146).
- No blocks of ports by subscriber that are given as needed, and so no log of them: deterministic
  ports need none. No application gateways (FTP, SIP).
- Multicast, broadcast and other ethertypes pass as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, PlainValidator

from nfv.chain.fields import (
    Many,
    Model,
    OneOrMore,
    parse_address,
    parse_network,
    quoted,
    refusal,
    text_of,
    text_schema,
)
from nfv.chain.match import Ports
from nfv.chain.report import Report
from nfv.ebpf import maplist, mappings, natplan, tables
from nfv.ebpf.connections import Occupancy, Table
from nfv.ebpf.natplan import WORD, Flags, Plan, Pool, Range, Static
from nfv.ebpf.tables import Maps
from nfv.functions.base import Function, FunctionConfig

Dependence = Literal["independent", "address", "address-port"]

_DEPENDENCE: Mapping[Dependence, int] = {"independent": 0, "address": 1, "address-port": 2}
_PROTOCOLS = {"tcp": 6, "udp": 17}
_COUNTERS = ("out", "in", "static-out", "static-in", "untranslated")  # enum self_counted

MAX_ADDRESSES = 1024
"""Outside addresses of all pools."""

MAX_STATICS = natplan.STATICS
"""Entries of `forwards` and `static` together."""

MAX_PREFIXES = natplan.SOURCES
"""Inside prefixes of all pools; of outside prefixes and addresses there may be as many."""


def _parse_address4(value: object) -> IPv4Address:
    address = parse_address(value)
    if not isinstance(address, IPv4Address):
        raise refusal(f"{address} is no IPv4 address")
    return address


def _parse_network4(value: object) -> IPv4Network:
    network = parse_network(value)
    if not isinstance(network, IPv4Network):
        raise refusal(f"{network} is no IPv4 prefix")
    return network


def _parse_interface(value: object) -> str:
    text = text_of(value, "an interface of a router")
    if not all(text.partition(":")):
        raise refusal(f"{quoted(text)} is not an interface", "write it as in chains: 'gw:wan'")
    return text


Address4 = Annotated[
    IPv4Address,
    PlainValidator(_parse_address4),
    text_schema("IPv4 address", "192.0.2.1"),
]
Network4 = Annotated[
    IPv4Network,
    PlainValidator(_parse_network4),
    text_schema("IPv4 prefix, or a single address", "10.0.0.0/8", "192.0.2.1"),
]
InterfaceName = Annotated[
    str,
    PlainValidator(_parse_interface),
    text_schema("interface of a router, as chains write it", "gw:wan"),
]

_EVERYBODY = (IPv4Network("0.0.0.0/0"),)
_ALL_PORTS = (1024, 65535)


class NatPool(Model):
    """Outside addresses, and who inside uses them."""

    inside: OneOrMore[Network4] = Field(
        _EVERYBODY, description="sources that are translated to this pool; the first pool counts"
    )
    outside: OneOrMore[Network4] = Field(description="addresses, all of each prefix")
    ports: Ports = Field(_ALL_PORTS, description=f"whole {WORD}s of ports; by default 1024-65535")
    deterministic: Annotated[bool, Field(strict=True)] = Field(
        False,
        description="true: each inside address has its own ports, which follow from it (RFC 7422)",
    )

    @property
    def plan(self) -> Pool:
        """As the fast path knows it."""
        ranges = natplan.ranges_of(self.outside)
        return Pool(self.inside, ranges, self.ports, self.block if self.deterministic else 0)

    @property
    def block(self) -> int:
        """Ports of each inside address, if all have equally many: a multiple of `WORD`."""
        subscribers = sum(net.num_addresses for net in self.inside)
        addresses = sum(net.num_addresses for net in self.outside)
        low, high = self.ports
        return (high + 1 - low) // -(-subscribers // addresses) // WORD * WORD

    def check(self, report: Report) -> None:
        low, high = self.ports
        if low % WORD or (high + 1) % WORD:
            better = f"{low // WORD * WORD}-{-(-(high + 1) // WORD) * WORD - 1}"
            message = f"{low}-{high} is not whole {WORD}s of ports"
            report.error(("ports",), message, f"write {better}")
        if not self.deterministic:
            return
        if len(self.inside) > 1 or self.inside == _EVERYBODY:
            hint = "give one prefix, whose addresses share the ports evenly"
            report.error(("inside",), "a deterministic pool has one inside prefix", hint)
        elif not self.block:
            message = f"more inside addresses than there are {WORD}s of ports"
            report.error(("deterministic",), message, "add outside addresses")


class NatForward(Model):
    """Ports of an outside address that lead to those of an inside one."""

    proto: Literal["tcp", "udp"] = Field(description="protocol")
    outside: Address4 | None = Field(None, description="by default the masquerade address")
    port: Ports = Field(description="ports outside")
    inside: Address4 = Field(description="address inside")
    to: Annotated[int, Field(strict=True, ge=1, le=65535)] | None = Field(
        None, description="the first port inside; by default the same as outside"
    )

    @property
    def translation(self) -> Static:
        """As the fast path knows it."""
        low, high = self.port
        return Static(
            outside=int(self.outside or 0),
            inside=int(self.inside),
            count=high + 1 - low,
            protocol=_PROTOCOLS[self.proto],
            outside_port=low,
            inside_port=self.to or low,
        )

    def check(self, report: Report) -> None:
        low, high = self.port
        if not low:
            report.error(("port",), "there is no port 0")
        elif (self.to or low) + high - low > 65535:
            report.error(("to",), f"the last of {high + 1 - low} ports is above 65535")


class NatStatic(Model):
    """Outside addresses that stand for inside ones, one for one, with all protocols and ports."""

    outside: Network4 = Field(description="address or prefix outside")
    inside: Network4 = Field(description="address or prefix inside, as long")

    @property
    def translation(self) -> Static:
        """As the fast path knows it."""
        first = int(self.outside.network_address), int(self.inside.network_address)
        return Static(*first, self.outside.num_addresses)

    def check(self, report: Report) -> None:
        if self.outside.prefixlen != self.inside.prefixlen:
            message = f"{self.inside} and {self.outside} are not equally many addresses"
            report.error(("inside",), message)


class NatTimeouts(Model):
    """Seconds without a packet out after which a mapping ends."""

    tcp: Annotated[int, Field(strict=True, ge=60, le=86400)] = Field(
        7440, description="established connections (RFC 5382, REQ-5)"
    )
    tcp_transitory: Annotated[int, Field(strict=True, ge=10, le=86400)] = Field(
        240, description="connections that are being opened, or were closed"
    )
    udp: Annotated[int, Field(strict=True, ge=10, le=86400)] = Field(
        300, description="at least 120 by RFC 4787, REQ-5"
    )
    icmp: Annotated[int, Field(strict=True, ge=10, le=86400)] = Field(
        60, description="queries (RFC 5508, REQ-2)"
    )
    other: Annotated[int, Field(strict=True, ge=10, le=86400)] = Field(
        600, description="protocols without ports"
    )


class NatConfig(FunctionConfig):
    """A NAT: outside addresses, static translations, and how it behaves (RFC 4787)."""

    masquerade: InterfaceName | None = Field(
        None, description="router interface: who has no pool uses its address, whatever it is"
    )
    pools: Many[NatPool] = Field((), description="outside addresses; the first that fits is used")
    forwards: Many[NatForward] = Field((), description="port forwarding (destination NAT)")
    static: Many[NatStatic] = Field((), description="translation of whole addresses, one to one")
    mapping: Dependence = Field(
        "independent", description="of the far end, what an outside port depends on"
    )
    filtering: Dependence = Field(
        "address", description="of the far end, what must have been sent to before it may send"
    )
    pairing: Literal["paired", "arbitrary"] = Field(
        "paired", description="paired: an inside address always has the same outside address"
    )
    port_choice: Literal["preserve", "random"] = Field(
        "preserve", description="preserve: the same port outside if it is free, else a random one"
    )
    port_parity: Annotated[bool, Field(strict=True)] = Field(
        False, description="true: for UDP an even port for an even one, an odd for an odd one"
    )
    unsolicited: Literal["drop", "pass"] = Field(
        "drop", description="pass: what no mapping takes goes to who has the masquerade address"
    )
    mss: Annotated[int, Field(strict=True, ge=536, le=65495)] | None = Field(
        None, description="bytes: the largest segments that TCP may agree on, in both directions"
    )
    timeouts: NatTimeouts = Field(NatTimeouts(), description="when mappings end")
    hold_down: Annotated[int, Field(strict=True, ge=0, le=3600)] = Field(
        0, description="seconds before a port is given to another; 120 by RFC 6888, REQ-8"
    )
    mappings: Annotated[int, Field(strict=True, ge=1, le=1 << 24)] = Field(
        65536, description="size of the table of mappings"
    )


class Nat(Function[NatConfig]):
    """Translates the addresses of a chain's inside."""

    Config = NatConfig
    rejects = True
    answers = True
    lists = True
    cacheable = True
    kept = frozenset({"outward", "inward", "permits", "counters"})

    def defines(self) -> Mapping[str, int]:
        return {
            "HAS_STATICS": int(bool(self.plan.statics)),
            "HAS_MSS": int(bool(self.plan.mss)),
            "MAPPING": _DEPENDENCE[self.config.mapping],
            "FILTERING": _DEPENDENCE[self.config.filtering],
        }

    def map_sizes(self) -> Mapping[str, int]:
        return {
            "outward": self.config.mappings,
            "inward": self.config.mappings,
            "permits": self.config.mappings,
            "ports": self.plan.port_words,
            "images": 2,
            "site": 1,
            "searches": 1,
            "offers": 1,
            "datagrams": tables.DATAGRAMS,
            "counters": len(_COUNTERS),
        }

    def constants(self, capacities: Mapping[str, int]) -> Mapping[str, int]:
        return {"HINTS": capacities["ports"] - 1}

    def counters(self, before: Mapping[str, int]) -> Mapping[str, int]:
        return {name: place for place, name in enumerate(_COUNTERS)}

    def fill(self, maps: Maps, counters: Mapping[str, int], before: Mapping[str, int]) -> None:
        natplan.publish(maps.memory("images"), maps.memory("site"), self.plan)

    @property
    def masquerade(self) -> str | None:
        return self.config.masquerade

    @cached_property
    def plan(self) -> Plan:
        """What the fast path is told."""
        config = self.config
        pools = [pool.plan for pool in config.pools]
        if config.masquerade:
            pools.append(Pool(_EVERYBODY, (Range(0, 1),), _ALL_PORTS))
        statics = [each.translation for each in config.forwards]
        statics += [each.translation for each in config.static]
        options = {
            Flags.RANDOM: config.port_choice == "random",
            Flags.PARITY: config.port_parity,
            Flags.ARBITRARY: config.pairing == "arbitrary",
            Flags.PASS: config.unsolicited == "pass",
        }
        flags = Flags(sum(flag for flag, is_set in options.items() if is_set))
        return Plan(tuple(pools), tuple(statics), flags, config.mss or 0)

    def check(self, report: Report) -> None:
        if not (self.config.masquerade or self.config.pools or self.plan.statics):
            hint = "give it masquerade, pools, static or forwards"
            report.error((), "translates nothing", hint)
        self._check_sizes(report)
        self._check_pools(report)
        self._check_statics(report)

    def _check_sizes(self, report: Report) -> None:
        sources = sum(len(pool.sources) for pool in self.plan.pools)
        ranges = sum(len(pool.ranges) for pool in self.plan.pools)
        limits = [
            ("pools", len(self.plan.pools), natplan.POOLS, "pools, with the masquerade address"),
            ("pools", self.plan.addresses, MAX_ADDRESSES, "outside addresses"),
            ("pools", max(sources, ranges), MAX_PREFIXES, "prefixes"),
            ("static", len(self.plan.statics), MAX_STATICS, "static translations and forwards"),
        ]
        for key, count, most, what in limits:
            if count > most:
                report.error((key,), f"{count} {what}, the most is {most}")

    def _check_pools(self, report: Report) -> None:
        """No outside address may be in two pools."""
        seen: list[tuple[IPv4Network, int]] = []
        for index, pool in enumerate(self.config.pools):
            for number, net in enumerate(pool.outside):
                for other, owner in seen:
                    if net.overlaps(other):
                        message = f"{net} overlaps {other} of pools[{owner}]"
                        report.error(("pools", index, "outside", number), message)
                seen.append((net, index))

    def _check_statics(self, report: Report) -> None:
        """Static translations are one to one: no endpoint may be in two of them, on either side."""
        named = [("forwards", index) for index in range(len(self.config.forwards))]
        named += [("static", index) for index in range(len(self.config.static))]
        for index, forward in enumerate(self.config.forwards):
            if forward.outside is None and not self.config.masquerade:
                hint = "name the outside address, or set masquerade"
                report.error(("forwards", index), "has no outside address", hint)
        for side, turned in (("outside", False), ("inside", True)):
            statics = [each.turned() if turned else each for each in self.plan.statics]
            order = sorted(range(len(statics)), key=lambda place: statics[place].places)
            for first, second in pairwise(order):
                if statics[first].places[1] >= statics[second].places[0]:
                    before, after = named[first], named[second]
                    message = f"has endpoints {side} that {before[0]}[{before[1]}] has too"
                    report.error(after, message, "each may stand for one other alone")

    def maintain(
        self, maps: Mapping[str, Table], age: Callable[[int], float]
    ) -> Generator[None, None, Mapping[str, Occupancy]]:
        config = self.config
        sweep = mappings.Sweep(maps, age, self.plan, config.timeouts, config.hold_down)
        return (yield from sweep.run())

    def entries(
        self, maps: Mapping[str, Table], age: Callable[[int], float], counted: Mapping[int, str]
    ) -> Iterator[Mapping[str, object]]:
        return maplist.records(maps, age)
