"""Packet filter with connection tracking: ordered rules, the first that matches decides.

`nfvctl inspect TOPOLOGY NAME` lists the rules, with packets and bytes, and the connections: state,
age, for how long nothing came, and when they expire, in seconds. Source is who began; of an echo,
`sport` is the identifier. Packets of connections are counted by rule only: known flows are sent on
by the flow cache, which counts for all flows of one way together. What it sends on is noted when it
asks again, after 8 seconds, so `idle` may be so much too large, and connections are kept so much
longer.

`nfvctl tell TOPOLOGY NAME forget` ends connections, all or those with these values: `proto`, `src`
and `dst` (addresses or prefixes), `sport`, `dport`, `state`. What comes after that has to begin
anew, or is picked up in the middle unless `pickup: false`.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, PlainValidator

from nfv.chain.fields import (
    NAME,
    Many,
    Model,
    Name,
    Network,
    OneOrMore,
    parse_network,
    text_schema,
)
from nfv.chain.match import Conditions
from nfv.chain.pattern import Direction, Pattern
from nfv.chain.report import Report, did_you_mean, listed
from nfv.ebpf import connlist, tables
from nfv.ebpf.connections import Occupancy, Table, sweep
from nfv.ebpf.tables import Maps
from nfv.errors import InputError
from nfv.functions.base import Function, FunctionConfig, Row

Action = Literal["accept", "drop", "reject"]

_ACTIONS: Mapping[Action, int] = {"accept": 0, "drop": 1, "reject": 2}  # enum self_action

DEFAULT = "default"
"""The default policy's name in statistics."""

MAX_RULES = 10_000

_RULE = struct.Struct("=HHI")  # struct self_rule

PrefixLists = Mapping[str, tuple[Network, ...]]


def _parse_prefix_or_list(value: object) -> object:
    if isinstance(value, str) and NAME.fullmatch(value) and not value[0].isdigit():
        return value
    return parse_network(value)


PrefixOrList = Annotated[
    Network | str,
    PlainValidator(_parse_prefix_or_list),
    text_schema("prefix, address, or name of a prefix list", "10.0.0.0/8", "2001:db8::/32"),
]


class Rule(Conditions):
    """A rule: what happens to the packets that all its conditions hold for."""

    name: Name | None = Field(None, description="name of the rule in statistics")
    action: Action = Field(description="reject: drop, and answer with a TCP reset or an ICMP error")
    direction: Literal["forward", "reverse"] | None = Field(
        None, description="only packets going along the path, or only against it"
    )
    src: OneOrMore[PrefixOrList] = Field((), description="source prefixes or prefix lists")
    dst: OneOrMore[PrefixOrList] = Field((), description="destination prefixes or prefix lists")

    def pattern(self, prefix_lists: PrefixLists) -> Pattern:
        """The packets that the rule is for."""
        directions = (Direction[self.direction.upper()],) if self.direction else ()
        return self.reduce(
            _expand(self.src, prefix_lists), _expand(self.dst, prefix_lists), directions
        )


Seconds = Annotated[int, Field(strict=True, ge=1, le=604800)]


class FirewallTimeouts(Model):
    """Seconds without a packet after which a connection ends."""

    tcp: Seconds = Field(7440, description="established (RFC 5382, REQ-5)")
    tcp_opening: Seconds = Field(240, description="before the handshake is done (RFC 5382)")
    tcp_closing: Seconds = Field(240, description="after a FIN of one side (RFC 5382)")
    tcp_closed: Seconds = Field(10, description="after a RST, or FINs of both sides")
    udp: Seconds = Field(180, description="answered (RFC 4787, REQ-5)")
    udp_unanswered: Seconds = Field(30, description="one direction seen")
    icmp: Seconds = Field(30, description="echoes, ICMP and ICMPv6")
    other: Seconds = Field(600, description="answered, protocols that have no state of their own")
    other_unanswered: Seconds = Field(60, description="one direction seen")


class FirewallConfig(FunctionConfig):
    """A firewall: its rules, and what happens to packets that no rule is for."""

    default: Action = Field("drop", description="for packets that no rule matches")
    stateless: Annotated[bool, Field(strict=True)] = Field(
        False, description="true: don't track connections, rules see every packet"
    )
    connections: Annotated[int, Field(strict=True, ge=1, le=1 << 24)] = Field(
        65536, description="size of the connection table"
    )
    pickup: Annotated[bool, Field(strict=True)] = Field(
        True, description="false: a TCP connection begins with a SYN, none is met in the middle"
    )
    timeouts: FirewallTimeouts = Field(FirewallTimeouts(), description="when connections end")
    rules: Many[Rule] = Field((), description="the first that matches decides")
    prefix_lists: dict[Name, OneOrMore[Network]] = Field(
        default_factory=dict, description="lists of prefixes that rules refer to by name"
    )


class Firewall(Function[FirewallConfig]):
    """Filters the packets of a chain in both directions."""

    Config = FirewallConfig
    rejects = True
    cacheable = True
    lists = True
    requests = ("forget",)
    kept = frozenset({"connections4", "connections6", "counters"})

    def defines(self) -> Mapping[str, int]:
        classes = tables.matcher_defines(self.patterns, _RULE.size)
        states = {"STATELESS": int(self.config.stateless), "PICKUP": int(self.config.pickup)}
        return {**states, **classes}

    def map_sizes(self) -> Mapping[str, int]:
        return {
            **tables.matcher_sizes(self.patterns, _RULE.size),
            "counters": self._places,
            "connections4": self.config.connections,
            "connections6": self.config.connections,
            "datagrams": tables.DATAGRAMS,
        }

    def rule_names(self) -> Mapping[str, int]:
        """Index of each rule by its name in statistics, or its text; -1 is the default."""
        names = {DEFAULT: -1}
        repeated = Counter([DEFAULT])
        for index, rule in enumerate(self.config.rules):
            text = rule.name or rule.model_dump_json(exclude_defaults=True, warnings=False)
            names[f"{text}#{repeated[text]}" if repeated[text] else text] = index
            repeated[text] += 1
        return names

    def counters(self, before: Mapping[str, int]) -> Mapping[str, int]:
        """A rule keeps its place wherever it moves; a place given up is not taken at once."""
        names = self.rule_names()
        size = self._places
        kept = {name: before[name] for name in names if before.get(name, size) < size}
        used, given_up = set(kept.values()), set(before.values())
        free = [place for place in range(size) if place not in used]
        fresh = iter(sorted(free, key=lambda place: place in given_up))
        return {name: kept[name] if name in kept else next(fresh) for name in names}

    def fill(self, maps: Maps, counters: Mapping[str, int], before: Mapping[str, int]) -> None:
        for name, place in counters.items():
            if before.get(name) != place:
                maps.clear("counters", place)
        actions = [self.config.default, *(rule.action for rule in self.config.rules)]
        names = self.rule_names()
        asking = [i for i, p in enumerate(self.patterns) if tables.asks_for_flags(p)]
        first = min(asking, default=len(names))
        elements = [
            _RULE.pack(
                _ACTIONS[actions[index + 1]],
                index >= first or (index < 0 and bool(asking)),
                counters[name],
            )
            for name, index in names.items()
        ]
        tables.publish(maps.memory("matcher"), self.patterns, elements)

    @cached_property
    def patterns(self) -> tuple[Pattern, ...]:
        """The pattern of each rule, in order."""
        return tuple(rule.pattern(self.config.prefix_lists) for rule in self.config.rules)

    @property
    def _places(self) -> int:
        """Twice those that its rules and the default need, and some for further rules."""
        return 2 * (max(64, 1 << (len(self.config.rules) - 1).bit_length()) + 1)

    def check(self, report: Report) -> None:
        names: dict[str, int] = {}
        lists = self.config.prefix_lists
        if len(self.config.rules) > MAX_RULES:
            message = f"{len(self.config.rules)} rules, the most is {MAX_RULES}"
            report.error(("rules",), message, "put prefixes and ports together into one rule")
        for index, rule in enumerate(self.config.rules):
            at = report.at("rules", index)
            if rule.name and names.setdefault(rule.name, index) != index:
                at.error(("name",), f"rules[{names[rule.name]}] is named '{rule.name}' too")
            known = [_check_lists(key, getattr(rule, key), lists, at) for key in ("src", "dst")]
            if all(known):
                rule.check_families(_expand(rule.src, lists), _expand(rule.dst, lists), at)

    def maintain(
        self, maps: Mapping[str, Table], age: Callable[[int], float]
    ) -> Generator[None, None, Mapping[str, Occupancy]]:
        found = {}
        for name in ("connections4", "connections6"):
            if name in maps:
                found[name] = yield from sweep(maps[name], age, self.config.timeouts)
        return found

    def entries(
        self, maps: Mapping[str, Table], age: Callable[[int], float], counted: Mapping[int, str]
    ) -> Iterator[Row]:
        for entry in connlist.entries(maps):
            yield {"kind": "connection", **entry.record(age, counted, self.config.timeouts)}

    def tell(self, maps: Mapping[str, Table], request: str, values: Mapping[str, str]) -> list[Row]:
        if request not in self.requests:
            raise InputError(f"a firewall cannot {request}", f"it can {listed(self.requests)}")
        connlist.check(values)
        gone = [one for one in connlist.entries(maps) if connlist.is_meant(one.name, values)]
        return [{"forgotten": sum(one.table.delete(one.key) for one in gone)}]


def _check_lists(
    key: str, entries: Sequence[Network | str], lists: PrefixLists, report: Report
) -> bool:
    """Report references to prefix lists that don't exist; True if there are none."""
    unknown = [
        (index, entry)
        for index, entry in enumerate(entries)
        if isinstance(entry, str) and entry not in lists
    ]
    for index, entry in unknown:
        otherwise = f"prefix lists are {listed(lists)}" if lists else "add it to prefix_lists"
        hint = did_you_mean(entry, lists, otherwise)
        report.error((key, index), f"'{entry}' is neither a prefix nor a prefix list", hint)
    return not unknown


def _expand(entries: Sequence[Network | str], lists: PrefixLists) -> tuple[Network, ...]:
    """The prefixes themselves in place of the names of lists."""
    groups = (lists[entry] if isinstance(entry, str) else (entry,) for entry in entries)
    return tuple(prefix for group in groups for prefix in group)
