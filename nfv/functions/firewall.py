"""Packet filter with connection tracking: ordered rules, the first that matches decides."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Annotated

from pydantic import Field

from nfv.chain import ruleset
from nfv.chain.fields import Many, Name, Network, OneOrMore
from nfv.chain.pattern import Pattern
from nfv.chain.report import Report
from nfv.chain.rule import Action, Rule, Verdict
from nfv.chain.ruleset import Step
from nfv.chain.source import KeyPath, dotted
from nfv.ebpf import extras, logged, tables
from nfv.ebpf.connections import HashMap, Occupancy, sweep
from nfv.ebpf.tables import Maps
from nfv.ebpf.ticks import hz
from nfv.functions.base import Function, FunctionConfig, Row

_ACTIONS: Mapping[Action, int] = {
    "accept": 0,
    "drop": 1,
    "reject": 2,
    "count": 3,
}  # enum self_action

DEFAULT = "default"
"""The default policy's name in statistics."""

MAX_RULES = 10_000

_FLEETING, _TCP_FLEETING = 1, 2  # bits of self_rule.fleeting

_RULE = struct.Struct("=BBHI")  # struct self_rule


class FirewallConfig(FunctionConfig):
    """A firewall: its rules, and what happens to packets that no rule is for."""

    default: Verdict = Field("drop", description="for packets that no rule matches")
    stateless: Annotated[bool, Field(strict=True)] = Field(
        False, description="true: don't track connections, rules see every packet"
    )
    connections: Annotated[int, Field(strict=True, ge=1, le=1 << 24)] = Field(
        65536, description="size of the connection table"
    )
    rules: Many[Rule] = Field((), description="the first that matches decides")
    groups: dict[Name, Many[Rule]] = Field(
        default_factory=dict, description="rules that a jump leads to, by the name of the group"
    )
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
        rules = [step.rule for step in self.steps]
        return {"STATELESS": int(self.config.stateless), **classes, **extras.defines(rules)}

    def map_sizes(self) -> Mapping[str, int]:
        return {
            **tables.matcher_sizes(self.patterns, _RULE.size),
            "matched": 1,
            "counters": self._places,
            "extras": self._places,
            "sources": extras.SOURCES,
            "log": extras.LOG_BYTES,
            "connections4": self.config.connections,
            "connections6": self.config.connections,
            "datagrams": tables.DATAGRAMS,
        }

    def rule_paths(self) -> Mapping[str, KeyPath]:
        """Where each rule stands in the function's keys, by its name in statistics or its text.

        The default is the last.
        """
        paths = {name: step.path for name, step in zip(self._names, self.steps, strict=True)}
        return {**paths, DEFAULT: (DEFAULT,)}

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The rules in the order in which they are tried, those of groups where they are."""
        config = self.config
        return tuple(ruleset.steps(config.rules, config.groups, config.prefix_lists))

    @cached_property
    def _names(self) -> Sequence[str]:
        """Of each step, what it is counted under: all those of one rule in one place."""
        names: dict[KeyPath, str] = {}
        repeated = Counter([DEFAULT])
        for step in self.steps:
            if step.path not in names:
                count = repeated[step.name]
                names[step.path] = f"{step.name}#{count}" if count else step.name
                repeated[step.name] += 1
        return [names[step.path] for step in self.steps]

    def counters(self, before: Mapping[str, int]) -> Mapping[str, int]:
        """A rule keeps its place wherever it moves; a place given up is not taken at once."""
        names = self.rule_paths()
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
        self._fill_extras(maps, counters)
        *fleeting, last = self._fleeting()
        elements = [_RULE.pack(_ACTIONS[self.config.default], 0, last, counters[DEFAULT])]
        elements += [
            _RULE.pack(_ACTIONS[step.rule.action], step.rule.is_extra, flags, counters[name])
            for step, name, flags in zip(self.steps, self._names, fleeting, strict=True)
        ]
        tables.publish(maps.memory("matcher"), self.patterns, elements)

    def _fill_extras(self, maps: Maps, counters: Mapping[str, int]) -> None:
        rules = dict(zip(self._names, (step.rule for step in self.steps), strict=True))
        if not any(rule.is_extra for rule in rules.values()):
            return
        memory, second = maps.memory("extras"), hz()
        for name, rule in rules.items():
            extras.write(memory, counters[name], rule, second)

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
        """The pattern of each step, in order."""
        return tuple(step.pattern for step in self.steps)

    @property
    def _places(self) -> int:
        """Twice those that its rules and the default need, and some for further rules."""
        rules = len(set(self._names))
        return 2 * (max(64, 1 << (rules - 1).bit_length()) + 1)

    def check(self, report: Report) -> None:
        config = self.config
        chains = {("rules",): config.rules}
        chains |= {("groups", name): group for name, group in config.groups.items()}
        for path, rules in chains.items():
            self._check_rules(path, rules, report)
        if not ruleset.check_jumps(config.rules, config.groups, report):
            return
        tried = sum(
            1
            for _ in islice(
                ruleset.steps(config.rules, config.groups, config.prefix_lists), MAX_RULES + 1
            )
        )
        if tried > MAX_RULES:
            message = f"more than {MAX_RULES} rules, with those of groups at each jump"
            report.error(("rules",), message, "put prefixes and ports together into one rule")

    def _check_rules(self, path: KeyPath, rules: Sequence[Rule], report: Report) -> None:
        names: dict[str, int] = {}
        for index, rule in enumerate(rules):
            at = report.at(*path, index)
            if rule.name and names.setdefault(rule.name, index) != index:
                other = dotted((*path, names[rule.name]))
                at.error(("name",), f"{other} is named '{rule.name}' too")
            rule.check_lists(self.config.prefix_lists, at)

    def described(self, entry: bytes, names: Mapping[int, str]) -> Row:
        return logged.document(entry, names)

    def maintain(
        self, maps: Mapping[str, HashMap], age: Callable[[int], float]
    ) -> Generator[None, None, Mapping[str, Occupancy]]:
        found = {}
        for name in ("connections4", "connections6"):
            if name in maps:
                found[name] = yield from sweep(maps[name], age)
        return found
