"""Rules of nftables as those of a firewall, as far as they map: what `nft -j list ruleset` writes.

One chain becomes the rules, the chains that it jumps to become groups, and fixed sets of addresses
prefix lists. Where no rule asks for states of connections, the firewall is stateless. What a
firewall cannot say is left out, and named with its chain, its handle and why.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nfv.chain.imported import ACCEPTED, DROPPED, Imported, Keys, Missing, NoRuleError, check, named
from nfv.chain.nftmatch import FAMILIES, Conditions, prefixes
from nfv.errors import InputError

_ADDRESSES = ("ipv4_addr", "ipv6_addr")
_CHANGING = frozenset({"timeout", "dynamic"})
_PERIODS = ("second", "minute", "hour", "day")
_DAMAGE = (KeyError, TypeError, ValueError, AttributeError)  # raised by what has another form
_SHOWN = 90  # characters of a rule that does not map

Statements = Sequence[Mapping[str, Any]]


@dataclass
class _Table:
    """A table: its chains, their rules, and its sets."""

    family: str
    policies: dict[str, str] = field(default_factory=dict)  # of chains
    rules: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    sets: dict[str, list[Any]] = field(default_factory=dict)  # fixed ones
    lists: dict[str, list[str]] = field(default_factory=dict)  # prefixes of those of addresses


def read(text: str, chain: str) -> Imported:
    """The rules of a chain and of those that it leads to.

    `chain` is its name, or "inet filter forward". Raises InputError if there is none, or several.
    """
    tables = _tables(text)
    table, name = _chosen(tables, chain)
    return _Reader(table, name).read()


def is_meant(text: str) -> bool:
    """Whether a text is from nftables rather than iptables."""
    return text.lstrip().startswith("{")


def _tables(text: str) -> Mapping[str, _Table]:
    """The tables that have chains for IP, by "FAMILY NAME"."""
    hint = "is it from nft -j list ruleset?"
    try:
        objects = json.loads(text)["nftables"]
        found: dict[str, _Table] = {}
        for one in objects:
            ((kind, what),) = one.items()
            if kind in ("chain", "rule", "set") and what["family"] in ("inet", *FAMILIES):
                title = f"{what['family']} {what['table']}"
                _take_in(found.setdefault(title, _Table(what["family"])), kind, what)
        return found
    except (*_DAMAGE, NoRuleError, RecursionError) as error:
        raise InputError(f"no rule set of nftables: {error}", hint) from error


def _take_in(table: _Table, kind: str, what: Mapping[str, Any]) -> None:
    if kind == "chain":
        table.policies[what["name"]] = what.get("policy", "accept")
    elif kind == "rule":
        table.rules.setdefault(what["chain"], []).append(what)
    elif isinstance(what["type"], str) and _CHANGING.isdisjoint(what.get("flags", ())):
        elements = [_plain(element) for element in what.get("elem", ())]
        if elements and what["type"] in _ADDRESSES:
            table.lists[what["name"]] = [prefix for one in elements for prefix in prefixes(one)]
        elif elements:
            table.sets[what["name"]] = elements


def _plain(element: Any) -> Any:
    """An element of a set without its comment or counter."""
    return element["elem"]["val"] if isinstance(element, dict) and "elem" in element else element


def _chosen(tables: Mapping[str, _Table], chain: str) -> tuple[_Table, str]:
    """The table and the chain that are meant: names may be written in capitals or not."""
    known = [(title, name) for title, table in tables.items() for name in table.policies]
    wanted = chain.lower().split()
    found = [one for one in known if f"{one[0]} {one[1]}".lower().split()[-len(wanted) :] == wanted]
    if len(found) != 1 or not wanted:
        what = "is no chain" if not found else "are several chains"
        shown = ", ".join(f"'{title} {name}'" for title, name in known) or "none"
        raise InputError(f"there {what} {chain}", f"chains are {shown}")
    ((title, name),) = found
    return tables[title], name


class _Reader:
    """Reads a chain of a table, and those that it leads to."""

    def __init__(self, table: _Table, chain: str) -> None:
        self._table = table
        self._chain = chain
        self._groups = named(table.policies)
        self._lists = named(table.lists)
        self._waiting = [chain]

    def read(self) -> Imported:
        """All of them."""
        found = Imported(self._table.policies[self._chain], stateless=True)
        for name in self._waiting:  # it grows
            rules = found.rules
            if name != self._chain:
                rules = found.groups.setdefault(self._groups[name], [])
            self._read_chain(name, rules, found)
        return found

    def _read_chain(self, name: str, rules: list[Keys], found: Imported) -> None:
        there = self._table.rules.get(name, [])
        for number, rule in enumerate(there):
            statements = rule.get("expr", [])
            if number == len(there) - 1 and _verdict(statements) == ["return"]:
                continue  # which it would do all the same
            try:
                rules += self._rules(statements, found)
            except (*_DAMAGE, NoRuleError) as error:
                reason = str(error) if isinstance(error, NoRuleError) else "it is not understood"
                place = f"chain {name} handle {rule.get('handle')}"
                found.missing.append(Missing(place, _shown(statements), reason))

    def _rules(self, statements: Statements, found: Imported) -> list[Keys]:
        """What one rule becomes: by a verdict map several, and none if tracking does the same."""
        made, targets = [], []
        lists: set[str] = set()
        for each in _unfolded(statements):
            conditions = Conditions(self._table.sets, self._lists)
            if self._table.family in FAMILIES:
                conditions.keys["family"] = FAMILIES[self._table.family]
            rule, to = self._rule(each, conditions)
            found.stateless &= not conditions.asks_for_states
            if rule:
                check(rule)
                made.append(rule)
                targets += [to] if to else []
                lists |= conditions.used
        self._waiting += [to for to in dict.fromkeys(targets) if to not in self._waiting]
        found.prefix_lists |= {self._lists[name]: self._table.lists[name] for name in sorted(lists)}
        return made

    def _rule(self, statements: Statements, conditions: Conditions) -> tuple[Keys, str]:
        """The keys, none if connection tracking does the same; and the chain that it jumps to."""
        effects: Keys = {}
        action, to = "count", ""
        for statement in statements:
            ((kind, what),) = statement.items()
            if kind == "match" and effects:
                raise NoRuleError("a condition behind a limit or a log")
            if kind == "match":
                conditions.add(what)
            elif kind == "jump":
                action, to = "jump", what["target"]
            elif kind in ("accept", "drop", "reject"):
                action = kind
            elif kind in ("limit", "log"):
                effects |= {kind: _limit(what) if kind == "limit" else 1}
            elif kind not in ("counter", "continue"):
                raise NoRuleError(f"{kind} has no equivalent")
        if conditions.is_tracked or conditions.is_invalid:
            _check_tracking(action, conditions)
            return {}, ""
        if action == "jump" and (effects or to == self._chain):
            raise NoRuleError("a jump has neither limit nor log, and does not lead back")
        jump = {"to": self._groups[to]} if to else {}
        return {"action": action, **jump, **_tidy(conditions), **effects}, to


def _check_tracking(action: str, conditions: Conditions) -> None:
    if conditions.is_tracked and action != "accept":
        raise NoRuleError(ACCEPTED)
    if conditions.is_invalid and action != "drop":
        raise NoRuleError(DROPPED)


def _tidy(conditions: Conditions) -> Keys:
    """The conditions, without a family that others say."""
    keys = dict(conditions.keys)
    if "src" in keys or "dst" in keys or keys.get("proto") in ("icmp", "icmpv6"):
        keys.pop("family", None)
    return {**keys, **({"unless": conditions.without} if conditions.without else {})}


def _limit(what: Mapping[str, Any]) -> Keys:
    if what.get("inv") or what.get("rate_unit", "packets") != "packets":
        raise NoRuleError("this limit has no equivalent")
    if what.get("per") not in _PERIODS:
        raise NoRuleError(f"a limit per {what.get('per')}")
    return {"rate": f"{what['rate']}/{what['per']}", "burst": what.get("burst", 5)}


def _unfolded(statements: Statements) -> Iterator[Statements]:
    """The rule, or one for each element of its verdict map."""
    places = [number for number, one in enumerate(statements) if "vmap" in one]
    if not places:
        yield statements
        return
    place = places[0]
    vmap = statements[place]["vmap"]
    if not isinstance(vmap["data"], dict):
        raise NoRuleError("a named map has no equivalent")
    for value, verdict in vmap["data"]["set"]:
        match = {"match": {"op": "==", "left": vmap["key"], "right": value}}
        yield [*statements[:place], match, verdict, *statements[place + 1 :]]


def _verdict(statements: Statements) -> list[str]:
    """What the statements are, but for counters."""
    return [kind for one in statements for kind in one if kind != "counter"]


def _shown(statements: Statements) -> str:
    text = json.dumps(statements)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
