"""What `nfvctl import` makes of the rules of others: keys of a firewall, and what does not map."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from nfv.chain.rule import Rule

ACCEPTED = "known connections are always accepted"
DROPPED = "what belongs to no connection is dropped before the rules"
"""Why a rule that asks for a state of connections does not map: tracking decides otherwise."""

Keys = dict[str, object]
"""Keys of a rule, as they stand in a topology file."""


class NoRuleError(Exception):
    """Why a rule does not map."""


@dataclass(frozen=True)
class Missing:
    """A rule that does not map."""

    place: str  # a line, from 1, or what tells it apart otherwise
    text: str
    reason: str


@dataclass
class Imported:
    """Keys of a firewall, and what is not among them."""

    default: str = "accept"
    stateless: bool = False
    prefix_lists: dict[str, list[str]] = field(default_factory=dict)
    rules: list[Keys] = field(default_factory=list)
    groups: dict[str, list[Keys]] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)

    @property
    def keys(self) -> Keys:
        """As they stand under the firewall's name in a topology file."""
        stateless = {"stateless": True} if self.stateless else {}
        lists = {"prefix_lists": self.prefix_lists} if self.prefix_lists else {}
        groups = {"groups": self.groups} if self.groups else {}
        return {
            "type": "firewall",
            "default": self.default,
            **stateless,
            **lists,
            **groups,
            "rules": self.rules,
        }


def check(rule: Keys) -> None:
    """Raise `NoRuleError` if a value is none that a rule can have."""
    try:
        Rule.model_validate(rule)
    except ValueError as error:
        raise NoRuleError("a value does not fit") from error


def named(others: Iterable[str]) -> dict[str, str]:
    """Names as a topology has them, each another one, by those of somebody else."""
    found: dict[str, str] = {}
    for number, other in enumerate(others):
        plain = re.sub(r"[^a-z0-9]+", "-", other.lower()).strip("-")[:32].strip("-")
        taken = not plain or plain in found.values()
        found[other] = f"{plain[:24]}-{number}".strip("-") if taken else plain
    return found
