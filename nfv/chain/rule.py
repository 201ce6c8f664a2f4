"""Rules of a firewall: conditions on a packet, and what happens to those they hold for."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv6Network
from typing import Annotated, Any, Literal
from weakref import WeakValueDictionary

from pydantic import (
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import CoreSchema

from nfv.chain import algebra
from nfv.chain.fields import (
    NAME,
    Model,
    Name,
    Network,
    OneOrMore,
    as_tuple,
    parse_network,
    quoted,
    refusal,
    text_of,
    text_schema,
)
from nfv.chain.match import WITH_PORTS, Conditions, Ports, Protocol
from nfv.chain.pattern import MAC_SHIFT, Direction, Fragment, Pattern, SetCondition
from nfv.chain.report import Report, did_you_mean, listed

Verdict = Literal["accept", "drop", "reject"]
Action = Literal["accept", "drop", "reject", "count", "jump"]

PrefixLists = Mapping[str, tuple[Network, ...]]

DSCPS: Mapping[str, int] = {  # RFC 2474, RFC 2597, RFC 3246, RFC 5865, RFC 8622
    "df": 0, "le": 1, "cs1": 8, "cs2": 16, "cs3": 24, "cs4": 32, "cs5": 40, "cs6": 48, "cs7": 56,
    "af11": 10, "af12": 12, "af13": 14, "af21": 18, "af22": 20, "af23": 22, "af31": 26, "af32": 28,
    "af33": 30, "af41": 34, "af42": 36, "af43": 38, "va": 44, "ef": 46,
}  # fmt: skip

_FRAGMENTS = {"none": Fragment.NONE, "first": Fragment.FIRST, "later": Fragment.LATER}
_MAC = re.compile(r"([0-9a-f]{2}(?::[0-9a-f]{2}){5})(?:/([0-9]{1,2}))?")
_MAC_BITS = 48


def _parse_prefix_or_list(value: object) -> object:
    if isinstance(value, str) and NAME.fullmatch(value) and not value[0].isdigit():
        return value
    return parse_network(value)


def parse_mac_prefix(value: object) -> IPv6Network:
    """A MAC address, or so many of its upper bits: 02:00:5e:00:00:00/24."""
    text = text_of(value, "a MAC address").lower()
    found = _MAC.fullmatch(text)
    if not found or int(found[2] or _MAC_BITS) > _MAC_BITS:
        hint = "write it as 02:00:00:00:00:01, or 02:00:00:00:00:00/24"
        raise refusal(f"{quoted(value)} is not a MAC address", hint)
    key = int(found[1].replace(":", ""), 16)
    length = int(found[2] or _MAC_BITS)
    if key & (1 << _MAC_BITS - length) - 1:
        raise refusal(f"{text} has bits set beyond its prefix length", "write them as 0")
    return IPv6Network((key << MAC_SHIFT, length))


def parse_dscp(value: object) -> int:
    """A differentiated services code point, by name or number."""
    if isinstance(value, str) and value in DSCPS:
        return DSCPS[value]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 64:
        return value
    hint = did_you_mean(str(value).lower(), DSCPS, f"a number 0 to 63, or {', '.join(DSCPS)}")
    raise refusal(f"{quoted(value)} is not a DSCP", hint)


_PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}  # in seconds


def parse_rate(value: object) -> tuple[int, int]:
    """Packets, and the seconds in which they may come, of "100/second"."""
    found = re.fullmatch(r"([1-9][0-9]{0,6})/(second|minute|hour|day)", str(value))
    if not found:
        raise refusal(f"{quoted(value)} is not a rate", "write 100/second, or /minute, /hour, /day")
    return int(found[1]), _PERIODS[found[2]]


def parse_length(value: object) -> tuple[int, int]:
    """A length in bytes, or a range written 20-1280."""
    found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", str(value))
    if not found or isinstance(value, (bool, float)) or int(found[2] or found[1]) > 0xFFFF:
        raise refusal(f"{quoted(value)} is not a length in bytes", "write 1280 or 20-1280")
    low, high = int(found[1]), int(found[2] or found[1])
    if low > high:
        raise refusal(f"the range {value} is empty", f"write {high}-{low}")
    return low, high


class _RulesSchema:
    """In the JSON Schema: a list of rules, and of files with rules (nfv.chain.include)."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        found = handler(core_schema)
        file = {"type": "string", "description": "file with a list of rules, that stand here"}
        include = {
            "type": "object",
            "properties": {"include": file},
            "required": ["include"],
            "additionalProperties": False,
        }
        return found | {"items": {"anyOf": [found["items"], include]}}


PrefixOrList = Annotated[
    Network | str,
    PlainValidator(_parse_prefix_or_list),
    text_schema("prefix, address, or name of a prefix list", "10.0.0.0/8", "2001:db8::/32"),
]
MacPrefix = Annotated[
    IPv6Network,
    PlainValidator(parse_mac_prefix),
    text_schema("MAC address or prefix", "02:00:00:00:00:01", "02:00:5e:00:00:00/24"),
]
Dscp = Annotated[
    int,
    PlainValidator(parse_dscp),
    WithJsonSchema(
        {
            "anyOf": [{"enum": list(DSCPS)}, {"type": "integer", "minimum": 0, "maximum": 63}],
            "description": "DSCP, by name or number",
        }
    ),
]
Length = Annotated[
    tuple[int, int],
    PlainValidator(parse_length),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": 65535},
                {"type": "string", "pattern": "^[0-9]{1,5}(-[0-9]{1,5})?$"},
            ],
            "description": "length in bytes, or range of lengths",
            "examples": [1280, "20-1280"],
        }
    ),
]


Rate = Annotated[
    tuple[int, int],
    PlainValidator(lambda value: parse_rate(value)),
    text_schema("packets in a time", "100/second", "5/minute"),
]


class Limit(Model):
    """How many packets a rule is for; those above go on to the next rule."""

    rate: Rate = Field(description="packets per second, minute, hour or day")
    burst: Annotated[int, Field(strict=True, ge=1, le=65536)] = Field(
        5, description="packets that may come at once"
    )
    by: Literal["rule", "source"] = Field(
        "rule", description="source: so many of each source address"
    )


class LinkConditions(Model):
    """Conditions of a rule, or of what it leaves out, that classifiers have not."""

    src: OneOrMore[PrefixOrList] = Field((), description="source prefixes or prefix lists")
    dst: OneOrMore[PrefixOrList] = Field((), description="destination prefixes or prefix lists")
    src_mac: OneOrMore[MacPrefix] = Field((), description="source MAC addresses")
    dst_mac: OneOrMore[MacPrefix] = Field((), description="destination MAC addresses")
    length: OneOrMore[Length] = Field(
        (), description="of the IP packet with its header; of a segmented one, the largest's"
    )
    dscp: OneOrMore[Dscp] = Field((), description="differentiated services code points")
    fragment: OneOrMore[Literal["none", "first", "later"]] = Field(
        (), description="place in the datagram; none: it is no fragment"
    )

    def check_lists(self, lists: PrefixLists, report: Report) -> bool:
        """Report references to prefix lists that don't exist; True if there are none."""
        known = [_check_names(key, getattr(self, key), lists, report) for key in ("src", "dst")]
        return all(known)

    def narrow(self, pattern: Pattern, lists: PrefixLists) -> Pattern:
        """The pattern with these conditions too."""
        return replace(
            pattern,
            src=expand(self.src, lists),
            dst=expand(self.dst, lists),
            src_macs=self.src_mac,
            dst_macs=self.dst_mac,
            lengths=self.length,
            dscps=self.dscp,
            fragments=tuple(_FRAGMENTS[word] for word in self.fragment),
        )


class Exceptions(LinkConditions):
    """What a rule leaves out: the packets that any one of these conditions holds for."""

    proto: OneOrMore[Protocol] = Field((), description="IP protocols")
    sport: OneOrMore[Ports] = Field((), description="source ports")
    dport: OneOrMore[Ports] = Field((), description="destination ports")

    def pattern(self, lists: PrefixLists) -> Pattern:
        """Its conditions, of which each is to be taken for itself."""
        pattern = Pattern(protocols=self.proto, sports=self.sport, dports=self.dport)
        return self.narrow(pattern, lists)


class Rule(Conditions, LinkConditions):
    """A rule: what happens to the packets that all its conditions hold for."""

    name: Name | None = Field(None, description="name of the rule in statistics")
    action: Action = Field(
        description="reject: drop, and answer with a TCP reset or an ICMP error; "
        "count: count the packet, and look for the next rule; jump: to the rules of a group"
    )
    to: Name | None = Field(None, description="the group that a jump leads to")
    limit: Limit | None = Field(None, description="for so many packets only")
    log: Annotated[int, Field(strict=True, ge=1, le=1 << 20)] | None = Field(
        None, description="write a line to the log about one packet in so many"
    )
    mark: Dscp | None = Field(None, description="DSCP that packets are given which it accepts")
    direction: Literal["forward", "reverse"] | None = Field(
        None, description="only packets going along the path, or only against it"
    )
    src_set: OneOrMore[Name] = Field((), description="named sets that the source is in one of")
    dst_set: OneOrMore[Name] = Field((), description="the same for the destination")
    unless: Exceptions | None = Field(
        None, description="leave out the packets that any of these conditions holds for"
    )

    def check(self, report: Report) -> None:
        super().check(report)
        self._check_action(report)
        excluded = self.unless
        if excluded and not (self.proto and WITH_PORTS.issuperset(self.proto)):
            for key in ("sport", "dport"):
                if getattr(excluded, key):
                    message = f"{key} needs the rule to have a proto with ports"
                    report.error(("unless", key), message, "add proto: tcp to the rule", key=True)

    @property
    def is_extra(self) -> bool:
        """Whether it does something besides deciding."""
        return bool(self.limit or self.log or self.mark is not None or self.action == "count")

    def _check_action(self, report: Report) -> None:
        if self.action == "jump" and self.to is None:
            report.error(("action",), "jump needs the name of a group", "add to: NAME")
        if self.action != "jump" and self.to is not None:
            report.error(("to",), "to is for action: jump", "remove it", key=True)
        if self.action == "jump":
            for key in ("limit", "log", "mark"):
                if getattr(self, key) is not None:
                    hint = "give it to the group's rules, or to a rule with action: count before"
                    report.error((key,), f"a jump has no {key}", hint, key=True)
        elif self.mark is not None and self.action != "accept":
            report.error(("mark",), "mark is for action: accept", "remove it", key=True)

    def check_lists(self, lists: PrefixLists, report: Report) -> bool:
        """Report what is wrong with the names of prefix lists, or by what they stand for."""
        known = super().check_lists(lists, report)
        if self.unless:
            known &= self.unless.check_lists(lists, report.at("unless"))
        if known:
            self.check_families(expand(self.src, lists), expand(self.dst, lists), report)
        if known and self.unless:
            ported = Pattern(protocols=self.proto, sports=self.sport, dports=self.dport)
            if self._without_exceptions(self.narrow(ported, lists), lists) is None:
                message = "leaves out everything that the rule is for"
                report.error(("unless",), message, "no packet is left", key=True)
        return known

    def check_sets(self, sets: Collection[str], report: Report) -> None:
        """Report named sets that don't exist."""
        for key in ("src_set", "dst_set"):
            for index, name in enumerate(getattr(self, key)):
                if name not in sets:
                    otherwise = f"sets are {listed(sets)}" if sets else "add it to sets"
                    hint = did_you_mean(name, sets, otherwise)
                    report.error((key, index), f"no set '{name}'", hint)

    def pattern(self, lists: PrefixLists, sets: Mapping[str, int]) -> Pattern | None:
        """The packets that the rule is for; None if it leaves out all of them.

        `sets` are the numbers of named sets.
        """
        directions = (Direction[self.direction.upper()],) if self.direction else ()
        pattern = self.narrow(self.reduce((), (), directions), lists)
        if self.src_set or self.dst_set:
            src, dst = _group(self.src_set, sets), _group(self.dst_set, sets)
            pattern = replace(pattern, src_sets=src, dst_sets=dst)
        return self._without_exceptions(pattern, lists)

    def _without_exceptions(self, pattern: Pattern, lists: PrefixLists) -> Pattern | None:
        return algebra.without(pattern, self.unless.pattern(lists)) if self.unless else pattern


def _group(names: Sequence[str], sets: Mapping[str, int]) -> SetCondition:
    return (tuple(sets[name] for name in names),) if names else ()


def _check_names(
    key: str, entries: Sequence[Network | str], lists: PrefixLists, report: Report
) -> bool:
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


def expand(entries: Sequence[Network | str], lists: PrefixLists) -> tuple[Network, ...]:
    """The prefixes themselves in place of the names of lists."""
    groups = (lists[entry] if isinstance(entry, str) else (entry,) for entry in entries)
    return tuple(prefix for group in groups for prefix in group)


_known: WeakValueDictionary[str, Rule] = WeakValueDictionary()  # by what they were read from


def _read_once(value: object, read: ValidatorFunctionWrapHandler) -> Rule:
    """A rule; if it was read before and is in use, that one: most changes leave most rules alone.

    So former rules and those of a changed file are quickly found to be the same.
    """
    written = repr(value)
    rule = _known.get(written)
    if rule is None:
        rule = _known[written] = read(value)
    return rule


Rules = Annotated[
    tuple[Annotated[Rule, WrapValidator(_read_once)], ...],
    BeforeValidator(as_tuple),
    _RulesSchema(),
]
"""A list of rules."""
