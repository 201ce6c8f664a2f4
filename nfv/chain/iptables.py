"""Rules of iptables-save and ip6tables-save as those of a firewall, as far as they map.

One chain of the table `filter` becomes the rules, the chains that it jumps to become groups. What a
firewall cannot say is left out, and named with its line and why.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping

from nfv.chain.imported import ACCEPTED, DROPPED, Imported, Keys, Missing, NoRuleError, check, named
from nfv.errors import InputError

_POLICIES = {"ACCEPT": "accept", "DROP": "drop"}
_TARGETS = {**_POLICIES, "REJECT": "reject"}
_CHAIN = re.compile(r":(\S+) (\S+)")
_TRACKED = frozenset({"ESTABLISHED", "RELATED"})
_UNTRACKED = frozenset({"INVALID"})
_MODULES = frozenset({
    "tcp", "udp", "sctp", "dccp", "udplite", "icmp", "icmp6", "icmpv6", "multiport", "conntrack",
    "state", "comment", "limit", "length", "dscp", "mac",
})  # fmt: skip


def read(text: str, chain: str) -> Imported:
    """The rules of a chain and of those that it leads to. Raises InputError if there is none."""
    family = "ipv6" if "ip6tables-save" in text[:200] else "ipv4"
    policies, lines = _filter(text)
    if chain not in policies:
        known = ", ".join(policies) or "none"
        raise InputError(f"there is no chain {chain} in the table filter", f"chains are {known}")
    names = named(policies)
    found = Imported(_POLICIES.get(policies[chain], "accept"))
    waiting, seen = [chain], {chain}
    while waiting:
        name = waiting.pop(0)
        rules = found.rules if name == chain else found.groups.setdefault(names[name], [])
        for number, words in lines.get(name, ()):
            try:
                rule, to = _rule(words, family, names)
                if rule:
                    check(rule)
            except (NoRuleError, ValueError) as error:
                reason = str(error) if isinstance(error, NoRuleError) else "a value does not fit"
                found.missing.append(Missing(str(number), shlex.join(words), reason))
                continue
            rules += [rule] if rule else []
            if to and to not in seen:
                seen.add(to)
                waiting.append(to)
    return found


def _filter(text: str) -> tuple[dict[str, str], dict[str, list[tuple[int, list[str]]]]]:
    """Policies by chain of the table filter, and rules by chain, with their lines."""
    table, policies = "", {}
    lines: dict[str, list[tuple[int, list[str]]]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("*"):
            table = line[1:].strip()
        elif table == "filter" and (found := _CHAIN.match(line)):
            policies[found[1]] = found[2]
        elif table == "filter" and re.match(r"(\[\d+:\d+\] )?-A ", line):
            try:
                _, name, *words = shlex.split(line[line.index("-A ") :])
            except ValueError as error:
                raise InputError(f"line {number}: {error}", "is it from iptables-save?") from error
            lines.setdefault(name, []).append((number, words))
    return policies, lines


class _Reader:
    """The words of one rule, and what they have become so far."""

    def __init__(self, words: list[str]) -> None:
        self._words = iter(words)
        self.keys: Keys = {}
        self.without: Keys = {}
        self.target = ""
        self.done: tuple[str, str] | None = None  # the action that tracking has, and what says so
        self.negated = False

    def word(self) -> str:
        """The next word, which must be there."""
        found = next(self._words, None)
        if found is None:
            raise NoRuleError("a value is missing")
        return found

    def options(self) -> Iterator[str]:
        """The options, of which each takes its values by `word`."""
        for word in self._words:
            if word == "!":
                self.negated = True
                continue
            yield word
            self.negated = False

    def put(self, key: str, value: object) -> None:
        """A condition, or an exception if it is negated."""
        if self.negated and key in ("tcp_flags", "icmp_type"):
            raise NoRuleError(f"! with {key}")
        (self.without if self.negated else self.keys)[key] = value


def _rule(words: list[str], family: str, groups: Mapping[str, str]) -> tuple[Keys, str]:
    """A rule, or nothing if connection tracking does the same; and the chain that it jumps to.

    `groups` are our names of the chains.
    """
    reader = _Reader(words)
    for option in reader.options():
        handler = _OPTIONS.get(option)
        if handler is None:
            raise NoRuleError(f"{option} has no equivalent")
        handler(reader)
    action, to = _action(reader, groups)
    if reader.done:
        if action != reader.done[0]:
            raise NoRuleError(reader.done[1])
        return {}, ""
    keys: Keys = {"action": action, **({"to": groups[to]} if to else {}), **reader.keys}
    if "src" not in keys and "dst" not in keys and keys.get("proto") not in ("icmp", "icmpv6"):
        keys["family"] = family
    if reader.target == "LOG":
        keys["log"] = 1
    return {**keys, **({"unless": reader.without} if reader.without else {})}, to


def _action(reader: _Reader, groups: Mapping[str, str]) -> tuple[str, str]:
    target = reader.target
    if target in _TARGETS:
        return _TARGETS[target], ""
    if target in ("", "LOG"):
        return "count", ""
    if target in groups:
        if "limit" in reader.keys:
            raise NoRuleError("a jump has no limit")
        return "jump", target
    raise NoRuleError(f"target {target} has no equivalent")


def _value(key: str) -> Callable[[_Reader], None]:
    return lambda reader: reader.put(key, reader.word())


def _ports(key: str) -> Callable[[_Reader], None]:
    return lambda reader: reader.put(
        key, [one.replace(":", "-") for one in reader.word().split(",")]
    )


def _protocol(reader: _Reader) -> None:
    word = reader.word()
    if word == "all":
        return
    named = {"icmp6": "icmpv6", "ipv6-icmp": "icmpv6"}.get(word, word)
    reader.put("proto", int(named) if named.isdecimal() else named)


def _flags(reader: _Reader) -> None:
    mask, value = reader.word().lower(), reader.word().lower()
    every = "fin,syn,rst,psh,ack,urg"
    mask, value = (every if word == "all" else word for word in (mask, value))
    reader.put("tcp_flags", f"{value}/{mask}")


def _syn(reader: _Reader) -> None:
    reader.put("tcp_flags", "syn/fin,syn,rst,ack")


def _icmp(reader: _Reader) -> None:
    word = reader.word()
    if word not in ("any", "255"):
        reader.put("icmp_type", word)


def _state(reader: _Reader) -> None:
    states = set(reader.word().split(","))
    if reader.negated:
        raise NoRuleError("! with states of connections")
    if states <= _TRACKED:
        reader.done = "accept", ACCEPTED
    elif states <= _UNTRACKED:
        reader.done = "drop", DROPPED
    elif "NEW" not in states:
        raise NoRuleError("known connections are accepted before the rules, others dropped")


def _limit(reader: _Reader) -> None:
    rate, _, unit = reader.word().partition("/")
    names = ("second", "minute", "hour", "day")
    period = next((name for name in names if unit and name.startswith(unit[:3])), None)
    if period is None or reader.negated:
        raise NoRuleError("this limit has no equivalent")
    reader.keys["limit"] = {"rate": f"{rate}/{period}"}


def _burst(reader: _Reader) -> None:
    limit = reader.keys.get("limit")
    if not isinstance(limit, dict):
        raise NoRuleError("a burst without a limit")
    limit["burst"] = int(reader.word())


def _dscp(reader: _Reader) -> None:
    reader.put("dscp", int(reader.word(), 0))


def _length(reader: _Reader) -> None:
    reader.put("length", reader.word().replace(":", "-"))


def _module(reader: _Reader) -> None:
    name = reader.word()
    if name not in _MODULES:
        raise NoRuleError(f"-m {name} has no equivalent")


def _target(reader: _Reader) -> None:
    reader.target = reader.word()


def _fragment(reader: _Reader) -> None:
    reader.put("fragment", "later")


def _ignored(reader: _Reader) -> None:
    reader.word()


_OPTIONS: Mapping[str, Callable[[_Reader], None]] = {
    "-s": _value("src"), "-d": _value("dst"), "-p": _protocol, "-m": _module, "-j": _target,
    "-f": _fragment, "--sport": _ports("sport"), "--dport": _ports("dport"),
    "--sports": _ports("sport"), "--dports": _ports("dport"), "--tcp-flags": _flags,
    "--syn": _syn, "--icmp-type": _icmp, "--icmpv6-type": _icmp, "--ctstate": _state,
    "--state": _state, "--comment": _ignored, "--limit": _limit, "--limit-burst": _burst,
    "--length": _length, "--dscp": _dscp, "--mac-source": _value("src_mac"),
    "--reject-with": _ignored, "--log-prefix": _ignored, "--log-level": _ignored,
}  # fmt: skip
