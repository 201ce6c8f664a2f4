"""How the walk of a packet ended, in words and as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nfv.dataplane import statistics
from nfv.dataplane.observe.journey import Journey
from nfv.dataplane.state import State
from nfv.dataplane.statistics import Rule
from nfv.ebpf.sources import reasons, verdicts

_REASONS = reasons()
_TO, _OWN = "to the ", "function's "  # in the words of reasons that hand a packet over
_OF_RULES = frozenset({"rule", "rejected", "reject_limit"})
_KINDS = {
    "NEXT": "forwarded",
    "FORWARD": "forwarded",
    "DROP": "dropped",
    "PUNT": "handed over",
    "SERVE": "handed over",
    "REJECT": "rejected",
    "ANSWER": "answered",
    "FLOOD": "flooded",
}
_BY_NUMBER = {number: _KINDS[name] for name, number in verdicts().items()}


@dataclass(frozen=True)
class Outcome:
    """What became of a packet."""

    kind: str
    """"forwarded", "dropped", "rejected", "answered", "flooded", "handed over"; "" if not known."""
    reason: str = ""  # as `nfvctl stats` names it
    node: str = ""  # the function that decided, or the SAP or interface where no function saw it
    rule: Rule | None = None  # that decided

    def __str__(self) -> str:
        """In one line; nothing if the packet was sent on."""
        if self.kind in ("", "forwarded", "flooded"):
            return ""
        head = f"{self.kind} by {self.node}"
        if self.kind == "answered":
            return head
        if self.rule is not None:
            return f"{head}: rule {self.rule.text}, {_place(self.rule)}"
        words = dict(_REASONS.values())[self.reason]
        if not words.startswith(_TO):
            return f"{head}: {words}"
        receiver, colon, why = words.partition(":")
        return f"{receiver.replace(_OWN, '')} of {self.node}{colon}{why}"

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        rule = self.rule and {
            "text": self.rule.text,
            "written_in": _place(self.rule),
        }
        return {
            "outcome": self.kind.replace(" ", "_") or None,
            "node": self.node or None,
            "reason": self.reason or None,
            "rule": rule,
        }


class Outcomes:
    """Finds the outcome of journeys in an applied topology."""

    def __init__(self, applied: State) -> None:
        topology = applied.topology()
        self._rules: Mapping[str, Mapping[int, Rule]] = {}
        for name, places in applied.counters.items():
            known = statistics.rules(topology, name)
            self._rules[name] = {place: known[key] for key, place in places.items() if key in known}

    def of(self, journey: Journey) -> Outcome:
        """What became of the packet of a journey."""
        ending = journey.ending
        if ending is None:
            return Outcome("")
        node = ending.function or str(journey.entry)
        reason = _REASONS[ending.reason][0]
        rules = self._rules.get(ending.function, {}) if reason in _OF_RULES else {}
        return Outcome(_BY_NUMBER[ending.verdict], reason, node, rules.get(ending.counter))


def _place(rule: Rule) -> str:
    return f"{rule.position.file}:{rule.position.line}"
