"""The rules of a firewall in the order in which they are tried, groups in place of the jumps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nfv.chain import algebra, cover
from nfv.chain.pattern import NEVER, Pattern
from nfv.chain.report import Report, did_you_mean, listed
from nfv.chain.rule import PrefixLists, Rule
from nfv.chain.source import KeyPath, dotted

Groups = Mapping[str, Sequence[Rule]]

MAX_DEPTH = 8
"""Jumps from group to group."""


@dataclass(frozen=True)
class Step:
    """A rule at one of the places where it is tried."""

    pattern: Pattern
    rule: Rule
    path: KeyPath  # in the function's keys
    name: str  # its own or its text, behind the name of its group


@dataclass(frozen=True)
class Named:
    """What rules refer to by name."""

    groups: Groups
    lists: PrefixLists
    sets: Mapping[str, int]  # their numbers


def steps(rules: Sequence[Rule], named: Named) -> Iterator[Step]:
    """The rules without jumps: those of a group stand where a jump leads to it.

    A packet that no rule of a group decides goes on behind the jump.
    """
    for index, rule in enumerate(rules):
        yield from _steps(rule, ("rules", index), "", None, named)


def _steps(
    rule: Rule, path: KeyPath, group: str, around: Pattern | None, named: Named
) -> Iterator[Step]:
    """The steps of a rule, for packets that match the jumps `around`."""
    own = rule.pattern(named.lists, named.sets)
    pattern = algebra.both(own, around) if own and around else own
    if rule.action != "jump":
        text = rule.name or rule.model_dump_json(exclude_defaults=True, warnings=False)
        yield Step(pattern or NEVER, rule, path, f"{group}/{text}" if group else text)
    elif pattern and rule.to:
        for index, inner in enumerate(named.groups[rule.to]):
            place = ("groups", rule.to, index)
            yield from _steps(inner, place, rule.to, pattern, named)


def check_jumps(rules: Sequence[Rule], groups: Groups, report: Report) -> bool:
    """Report jumps to groups that don't exist, or in circles; True if there are none."""
    good = True
    chains = [(("rules",), rules), *((("groups", name), group) for name, group in groups.items())]
    for path, chain in chains:
        for index, rule in enumerate(chain):
            if rule.to is not None and rule.to not in groups:
                otherwise = f"groups are {listed(groups)}" if groups else "add it to groups"
                hint = did_you_mean(rule.to, groups, otherwise)
                report.error((*path, index, "to"), f"no group '{rule.to}'", hint)
                good = False
    if not good:
        return False
    for name in groups:
        if _depth(name, groups, 0) > MAX_DEPTH:
            message = f"its jumps lead back to it, or through more than {MAX_DEPTH} groups"
            report.error(("groups", name), message, "remove one of the jumps", key=True)
            good = False
    return good


def warn_unreached(steps: Sequence[Step], report: Report) -> None:
    """Report rules that no packet reaches, wherever they are tried, and what takes the packets.

    Only single rules that take all of them are found, not several together.
    """
    deciding = [step.rule.action != "count" and step.rule.limit is None for step in steps]
    covering = cover.first_covering([step.pattern for step in steps], deciding)
    rules = {step.path: step.rule for step in steps}
    takers: dict[KeyPath, list[int | None]] = {path: [] for path in rules}
    for step, taker in zip(steps, covering, strict=True):
        if step.pattern != NEVER:
            takers[step.path].append(taker)
    for path, found in takers.items():
        if not found:
            report.error(path, "no packet that a jump lets through matches it", "remove it")
        elif found[0] is not None and None not in found:
            _warn_covered(path, rules[path], steps[found[0]], report)


def _warn_covered(path: KeyPath, rule: Rule, taker: Step, report: Report) -> None:
    same = taker.rule.action == rule.action
    what, hint = ("redundant", "remove it") if same else ("shadowed", "move it up, or remove it")
    message = f"{what}: {dotted(taker.path)} ({report.place(taker.path)}) takes all its packets"
    report.error(path, message, hint)


def amount(rules: Sequence[Rule], groups: Groups) -> int:
    """How many steps there are, after `check_jumps`."""
    return sum(1 if rule.to is None else amount(groups[rule.to], groups) for rule in rules)


def _depth(name: str, groups: Groups, above: int) -> int:
    """How many groups are entered one from the other, beginning with this."""
    if above >= MAX_DEPTH:
        return above + 1
    inner = {rule.to for rule in groups[name] if rule.to is not None}
    return max((_depth(to, groups, above + 1) for to in inner), default=above + 1)
