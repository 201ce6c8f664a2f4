"""Packet filter with connection tracking: ordered rules, the first that matches decides."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import cached_property
from typing import Annotated

from pydantic import Field

from nfv.chain.fields import Many, Name, Network, OneOrMore
from nfv.chain.pattern import NEVER, Pattern
from nfv.chain.report import Report
from nfv.chain.rule import Action, Rule
from nfv.ebpf import tables
from nfv.ebpf.connections import HashMap, Occupancy, sweep
from nfv.ebpf.tables import Maps
from nfv.functions.base import Function, FunctionConfig

_ACTIONS: Mapping[Action, int] = {"accept": 0, "drop": 1, "reject": 2}  # enum self_action

DEFAULT = "default"
"""The default policy's name in statistics."""

MAX_RULES = 10_000

_FLEETING, _TCP_FLEETING = 1, 2  # bits of self_rule.fleeting

_RULE = struct.Struct("=HHI")  # struct self_rule

class FirewallConfig(FunctionConfig):
    """A firewall: its rules, and what happens to packets that no rule is for."""

    default: Action = Field("drop", description="for packets that no rule matches")
    stateless: Annotated[bool, Field(strict=True)] = Field(
        False, description="true: don't track connections, rules see every packet"
    )
    connections: Annotated[int, Field(strict=True, ge=1, le=1 << 24)] = Field(
        65536, description="size of the connection table"
    )
    rules: Many[Rule] = Field((), description="the first that matches decides")
    prefix_lists: dict[Name, OneOrMore[Network]] = Field(
        default_factory=dict, description="lists of prefixes that rules refer to by name"
    )


class Firewall(Function[FirewallConfig]):
    """Filters the packets of a chain in both directions."""

    Config = FirewallConfig
    rejects = True
    cacheable = True
    kept = frozenset({"connections4", "connections6", "counters"})

    def defines(self) -> Mapping[str, int]:
        classes = tables.matcher_defines(self.patterns, _RULE.size)
        return {"STATELESS": int(self.config.stateless), **classes}

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
        fleeting = self._fleeting()
        elements = [
            _RULE.pack(_ACTIONS[actions[index + 1]], fleeting[index], counters[name])
            for name, index in names.items()
        ]
        tables.publish(maps.memory("matcher"), self.patterns, elements)

    def _fleeting(self) -> Sequence[int]:
        """Of each rule, and of the default at the end, which packets' flows may go otherwise."""
        found, so_far = [], 0
        for pattern in self.patterns:
            so_far |= _TCP_FLEETING if tables.asks_for_flags(pattern) else 0
            so_far |= _FLEETING if tables.asks_for_packets(pattern) else 0
            found.append(so_far)
        return [*found, so_far]

    @cached_property
    def patterns(self) -> tuple[Pattern, ...]:
        """The pattern of each rule, in order."""
        lists = self.config.prefix_lists
        return tuple(rule.pattern(lists) or NEVER for rule in self.config.rules)

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
            rule.check_lists(lists, at)

    def maintain(
        self, maps: Mapping[str, HashMap], age: Callable[[int], float]
    ) -> Generator[None, None, Mapping[str, Occupancy]]:
        found = {}
        for name in ("connections4", "connections6"):
            if name in maps:
                found[name] = yield from sweep(maps[name], age)
        return found
