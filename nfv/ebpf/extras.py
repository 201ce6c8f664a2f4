"""What rules do besides deciding, as extras.h reads it: limits, samples for the log, marks."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from nfv.chain.rule import Limit, Rule
from nfv.ebpf.sources import constant

SOURCES = 65536
"""Source addresses of which the packets are limited, of all rules of a function."""

LOG_BYTES = 1 << 18

_MARK = constant("extras.h", "EXTRAS_MARK")
_FRACTION = constant("extras.h", "EXTRAS_FRACTION")
_SIZE = 32  # of struct self_extra
_LIMIT = struct.Struct("=QQ")  # its beginning: cost, tolerance
_REST = struct.Struct("=IBBH")  # its end: sample, by_source, mark
_REST_AT = 24


def defines(rules: list[Rule]) -> Mapping[str, int]:
    """What of extras.h rules use; nothing if they only decide."""
    if not any(rule.is_extra for rule in rules):
        return {}
    return {
        "EXTRAS": 1,
        "SOURCES": int(any(rule.limit and rule.limit.by == "source" for rule in rules)),
        "LOGS": int(any(rule.log for rule in rules)),
        "MARKS": int(any(rule.mark is not None for rule in rules)),
    }


def write(memory: memoryview, place: int, rule: Rule, hz: int) -> None:
    """Write what a rule does besides; as long as its limit is the same, what has passed counts."""
    at = place * _SIZE
    limit = _LIMIT.pack(*_gcra(rule.limit, hz))
    if memory[at : at + _LIMIT.size] != limit:
        memory[at : at + _REST_AT] = limit + bytes(_REST_AT - _LIMIT.size)
    by_source = bool(rule.limit and rule.limit.by == "source")
    mark = 0 if rule.mark is None else _MARK | rule.mark
    memory[at + _REST_AT : at + _SIZE] = _REST.pack(rule.log or 0, by_source, mark, 0)


def _gcra(limit: Limit | None, hz: int) -> tuple[int, int]:
    """Cost of a packet and tolerance, in jiffies << EXTRAS_FRACTION."""
    if limit is None:
        return 0, 0
    packets, seconds = limit.rate
    cost = max(1, (seconds * hz << _FRACTION) // packets)
    return cost, cost * limit.burst
