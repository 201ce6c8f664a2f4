"""Packet filter with connection tracking: ordered rules, the first that matches decides.

Rules may ask for MAC addresses, length, DSCP and fragments, and leave out packets by `unless`. A
rule that counts, or is above its `limit`, lets the packet go on to the next, up to 16 times; a
packet that more rules let go on is dropped. A `jump` is replaced by the rules of its group when
tables are built; what none of them decides goes on behind it.

With connections, rules see the first packet of each: `limit` and `log` are then of connections, and
`mark` is for all their packets in both directions. Of a stateless firewall they are of packets.
Packets that a rule limits, logs or marks are not sent on by the flow cache, nor are those of a
stateless firewall where rules ask for MAC addresses, length or DSCP.

`- include: FILE` in a list of rules stands for those in a file, a YAML list, below the directory of
the topology. Where rules are shown, it is with their own file and line.

`nfvctl import` makes rules of those of nftables and iptables, and names each that does not map and
why: interfaces, marks, `goto` and `return`, concatenations, named maps, sets that change by
themselves, bytes in a time, what is no field of the IP, TCP, UDP or ICMP header. In later
fragments, nftables without connection tracking takes data for ports, which here have none.

`nfvctl validate` and `apply` warn of rules whose packets are all taken by one rule before: of
redundant ones, if it does the same, and of shadowed ones. What several rules take together is not
found, nor what a later rule would do as well.

Rules ask by `src_set` and `dst_set` for addresses in one of some named sets. Those change while the
rules stay: `nfvctl tell TOPOLOGY NAME add set=SET address=A,B timeout=60s` adds addresses, for good
or for so many seconds, `remove set=SET address=A,B` and `empty set=SET` take them out. An apply
keeps what was changed so, unless it changes what the file says of the set; so does a restart of the
agent. `inspect` shows how many addresses a set has. A change is for packets that rules see:
connections that were admitted go on until they are told to `forget`. The end of an address's time
reaches known flows up to 5 seconds later. An apply that removed a set and is rolled back leaves it
as its file says. The agent looks through all addresses every 5 seconds.

A limit is a token bucket (GCRA). CPUs do not wait for each other, so as many packets too much may
pass at one moment as there are CPUs; 65,536 source addresses are known, those longest unseen are
forgotten. `log: N` writes a line of JSON about one packet in N, by chance, to
`/var/lib/nfv/TOPOLOGY/NAME/log.jsonl`: rule, action and the packet's addresses, ports, flags and
length. What comes too fast for the agent is not logged.

With `windows: strict` a TCP segment of a known connection is dropped if it lies outside the windows
that both sides have offered, or acknowledges what was not sent (Rooij's reckoning, as that of
conntrack in Linux, with window scaling). A RST ends the connection if it has the very number that
is expected; elsewhere in the window it passes and changes nothing, as does a SYN of the side that
began: the receiver answers both with an acknowledgement (RFC 5961, sections 3.2 and 4). It costs
the flow cache: all TCP packets walk, as what is sent on by the cache has no sequence numbers. Both
sides are kept track of without locks, by numbers that only grow. Where Linux does otherwise:

- Linux since 6.1 lets pass, and does not heed, what lies left of the window, acknowledgements of
  long ago, and up to a window more than was offered: here they are dropped
- the number of a RST is looked at also after a FIN of one side, and after a SYN that was let pass;
  one that answers a SYN acknowledges it; what was sent is not reckoned by one that is let pass
- of a connection that was picked up in the middle, Linux and this drop nothing but a RST older than
  what was acknowledged; here it is so too when both ends have lost a connection and begin it anew
- after a RST, a SYN of either side is a matter for the rules
- SACK is not read: what is acknowledged by it alone widens no window, which no sender needs. Of a
  fragmented segment the length is not known, and taken to be the longest
- ICMP errors pass whatever sequence number they quote

A change of `windows` begins with no connections: those there are picked up, with `pickup: true`.

Limits: VLAN and ethertype cannot be asked for, as tags are an affair of switches; nor interfaces,
of which a chain has two, that `direction` tells apart. There is no mirror: XDP can send a copy only
by a redirect to all devices of a map, which ends the walk. A group has no `return`, as its rules
stand in place of the jump. Not built are:

- sets of prefixes, ports or interfaces that change while the firewall runs: a prefix list is a part
  of the file, and of the tables that hold all rules
- a count of the log's lines that had no room; one file for this log and that of `nat`, which
  follows its maps and does not tell of packets
- helpers for FTP and TFTP: their data connections need rules of their own, as nothing here reads
  what a connection carries
- a command that changes one rule without reading the file, which would then not say what runs
- marks of flows that the flow cache sends on: each packet of a marked connection walks

Verdicts are compared with those of nftables, rule by rule, in tests. Every change, also of one
rule, reads the file and builds all tables again: `time nfvctl apply -q` of one rule more took 0.71
to 0.74 s with 1,000 rules and 2.6 s with 10,000, on 2 cores that others used as well; packets meet
the former rules meanwhile. With one rule it took 0.55 s: to begin the command, and to ask the
agent. The warnings of 10,000 rules take half a second more. A set of a million addresses from a
file took 12 s to apply, one address more 1.6 s.

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
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field

from nfv.chain import ruleset
from nfv.chain.addressset import AddressSet
from nfv.chain.fields import Model, Name, Network, OneOrMore
from nfv.chain.pattern import Pattern, SetCondition
from nfv.chain.report import Report, listed
from nfv.chain.rule import Action, Rule, Rules, Verdict
from nfv.chain.ruleset import Step
from nfv.chain.source import KeyPath, dotted
from nfv.ebpf import connlist, extras, logged, setverbs, tables
from nfv.ebpf.connections import Occupancy, Table, sweep
from nfv.ebpf.sets import MAX_SETS, Sets, key_of
from nfv.ebpf.tables import Maps
from nfv.ebpf.ticks import hz
from nfv.errors import InputError
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

    default: Verdict = Field("drop", description="for packets that no rule matches")
    stateless: Annotated[bool, Field(strict=True)] = Field(
        False, description="true: don't track connections, rules see every packet"
    )
    connections: Annotated[int, Field(strict=True, ge=1, le=1 << 24)] = Field(
        65536, description="size of the connection table"
    )
    pickup: Annotated[bool, Field(strict=True)] = Field(
        True, description="false: a TCP connection begins with a SYN, none is met in the middle"
    )
    windows: Literal["loose", "strict"] = Field(
        "loose",
        description="strict: TCP segments outside the windows of their connection are dropped",
    )
    timeouts: FirewallTimeouts = Field(FirewallTimeouts(), description="when connections end")
    rules: Rules = Field(
        (),
        description="the first that matches decides; among them `include: FILE`",
    )
    groups: dict[Name, Rules] = Field(
        default_factory=dict, description="rules that a jump leads to, by the name of the group"
    )
    prefix_lists: dict[Name, OneOrMore[Network]] = Field(
        default_factory=dict, description="lists of prefixes that rules refer to by name"
    )
    sets: dict[Name, AddressSet] = Field(
        default_factory=dict, description="sets of addresses that change while it runs, up to 8"
    )
    set_size: Annotated[int, Field(strict=True, ge=1, le=1 << 20)] = Field(
        65536, description="addresses of all sets together"
    )


class Firewall(Function[FirewallConfig]):
    """Filters the packets of a chain in both directions."""

    Config = FirewallConfig
    rejects = True
    cacheable = True
    lists = True
    requests = ("forget", *setverbs.REQUESTS)
    kept = frozenset({"connections4", "connections6", "counters", "members", "sets"})

    def defines(self) -> Mapping[str, int]:
        classes = tables.matcher_defines(self.patterns, _RULE.size)
        rules = [step.rule for step in self.steps]
        states = {"STATELESS": int(self.config.stateless), "PICKUP": int(self.config.pickup)}
        if self._is_strict:
            states["STRICT"] = 1
        return {**states, **classes, **extras.defines(rules)}

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
            "members": self.config.set_size,
            "sets": MAX_SETS,
            "segments": 1,
        }

    @property
    def _is_strict(self) -> bool:
        return self.config.windows == "strict" and not self.config.stateless

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
        numbers = {name: number for number, name in enumerate(config.sets)}
        named = ruleset.Named(config.groups, config.prefix_lists, numbers)
        return tuple(ruleset.steps(config.rules, named))

    @cached_property
    def _declared(self) -> Mapping[str, Sequence[bytes]]:
        """The addresses that the file has in each set, as keys."""
        return {
            name: [key_of(packed) for packed in found.packed(self.files)]
            for name, found in self.config.sets.items()
        }

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
        fresh = [place for name, place in counters.items() if before.get(name) != place]
        maps.clear("counters", fresh)
        self._fill_extras(maps, counters)
        *fleeting, last = self._fleeting()
        elements = [_RULE.pack(_ACTIONS[self.config.default], 0, last, counters[DEFAULT])]
        elements += [
            _RULE.pack(_ACTIONS[step.rule.action], step.rule.is_extra, flags, counters[name])
            for step, name, flags in zip(self.steps, self._names, fleeting, strict=True)
        ]
        sets = Sets(maps.table("members"), maps.table("sets")) if self._asks_for_sets else None
        numbers = sets.declare(self._declared) if sets else {}
        tables.publish(maps.memory("matcher"), self._numbered(numbers), elements)
        if sets:
            sets.tidy(self._declared)

    @property
    def _asks_for_sets(self) -> bool:
        """Whether its C has maps for sets."""
        return any(pattern.src_sets or pattern.dst_sets for pattern in self.patterns)

    def _numbered(self, numbers: Mapping[str, int]) -> tuple[Pattern, ...]:
        """The patterns with the numbers that sets have in the maps."""
        there = [numbers[name] for name in self.config.sets] if numbers else []
        if there == list(range(len(there))):
            return self.patterns

        def moved(condition: SetCondition) -> SetCondition:
            return tuple(tuple(there[number] for number in group) for group in condition)

        return tuple(
            replace(one, src_sets=moved(one.src_sets), dst_sets=moved(one.dst_sets))
            for one in self.patterns
        )

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
        chains: dict[KeyPath, Sequence[Rule]] = {("rules",): config.rules}
        chains |= {("groups", name): group for name, group in config.groups.items()}
        for path, rules in chains.items():
            self._check_rules(path, rules, report)
        self._check_sets(report)
        if not ruleset.check_jumps(config.rules, config.groups, report):
            return
        tried = ruleset.amount(config.rules, config.groups)
        if tried > MAX_RULES:
            message = f"{tried} rules, the most is {MAX_RULES}"
            report.error(("rules",), message, "put prefixes and ports together into one rule")

    def _check_rules(self, path: KeyPath, rules: Sequence[Rule], report: Report) -> None:
        names: dict[str, int] = {}
        for index, rule in enumerate(rules):
            at = report.at(*path, index)
            if rule.name and names.setdefault(rule.name, index) != index:
                other = dotted((*path, names[rule.name]))
                at.error(("name",), f"{other} is named '{rule.name}' too")
            rule.check_lists(self.config.prefix_lists, at)
            rule.check_sets(self.config.sets, at)

    def _check_sets(self, report: Report) -> None:
        config = self.config
        if len(config.sets) > MAX_SETS:
            report.error(("sets",), f"{len(config.sets)} sets, the most is {MAX_SETS}", key=True)
        readable = [
            one.check_file(self.files, report.at("sets", name)) for name, one in config.sets.items()
        ]
        if all(readable):
            count = len({key for keys in self._declared.values() for key in keys})
            if count > config.set_size:
                message = f"{count} addresses in sets, set_size is {config.set_size}"
                report.error(("sets",), message, f"write set_size: {count} or more", key=True)

    def advise(self, report: Report) -> None:
        ruleset.warn_unreached(self.steps, report)

    def described(self, entry: bytes, names: Mapping[int, str]) -> Row:
        return logged.document(entry, names)

    def expire(self, maps: Mapping[str, Table]) -> Generator[None, None, bool]:
        sets = Sets.among(maps)
        return (yield from sets.expire(int(time.monotonic()))) if sets else False

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
        sets = Sets.among(maps)
        if sets:
            sizes = sets.sizes()
            for name, bit in sets.bits.items():
                yield {"kind": "set", "set": name, "addresses": sizes[bit]}
        for entry in connlist.entries(maps):
            yield {"kind": "connection", **entry.record(age, counted, self.config.timeouts)}

    def tell(self, maps: Mapping[str, Table], request: str, values: Mapping[str, str]) -> list[Row]:
        if request not in self.requests:
            raise InputError(f"a firewall cannot {request}", f"it can {listed(self.requests)}")
        if request in setverbs.REQUESTS:
            return [setverbs.do(Sets.among(maps), request, values)]
        connlist.check(values)
        gone = [one for one in connlist.entries(maps) if connlist.is_meant(one.name, values)]
        return [{"forgotten": sum(one.table.delete(one.key) for one in gone)}]
