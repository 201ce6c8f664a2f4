"""Firewall rules as many as wanted, the same ones for a firewall of ours and for nftables. Pure.

As in ClassBench's access lists, a rule names a source and a destination prefix, a protocol and
mostly a port or a range of them. No packet of the benchmarks matches any but the last, so all are
looked at where they are looked at one by one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_SEED = 3
_SOURCES, _DESTINATIONS = "10", "172"  # first bytes
_LENGTHS = (16, 20, 24, 24, 28, 32)
_PORTS = ("22", "53", "80", "443", "1024-65535", "5060-5090", "8000-8999", "")


@dataclass(frozen=True)
class Rule:
    """What is dropped; no `ports` are all of them."""

    protocol: str
    source: str
    destination: str
    ports: str


def rules(count: int) -> Iterator[Rule]:
    """All but the last rule, which accepts the benchmarks' packets; always the same ones."""
    choose = random.Random(_SEED)
    seen: set[Rule] = set()
    while len(seen) < count - 1:
        rule = Rule(
            choose.choice(("tcp", "udp")),
            _prefix(choose, _SOURCES),
            _prefix(choose, _DESTINATIONS),
            choose.choice(_PORTS),
        )
        if rule not in seen:
            seen.add(rule)
            yield rule


def as_yaml(count: int) -> dict[str, Any]:
    """A firewall's configuration; without any rules it accepts everything."""
    if not count:
        return {"default": "accept"}
    drops = [
        {
            "action": "drop",
            "proto": rule.protocol,
            "src": rule.source,
            "dst": rule.destination,
            **({"dport": rule.ports} if rule.ports else {}),
        }
        for rule in rules(count)
    ]
    accept = {"action": "accept", "proto": ["tcp", "udp"]}
    return {"default": "drop", "rules": [*drops, accept]}


def as_nft(count: int, stateful: bool = True) -> str:
    """The same for nftables, where the first rules let established connections pass."""
    lines = ["ct state established,related accept", "ct state invalid drop"] if stateful else []
    for rule in rules(count) if count else ():
        ports = (
            f"{rule.protocol} dport {rule.ports}" if rule.ports else f"ip protocol {rule.protocol}"
        )
        lines.append(f"ip saddr {rule.source} ip daddr {rule.destination} {ports} drop")
    if count:
        lines.append("meta l4proto { tcp, udp } accept")
    policy = "drop" if count else "accept"
    body = "\n\t\t".join([f"type filter hook forward priority filter; policy {policy};", *lines])
    return f"table inet filter {{\n\tchain forward {{\n\t\t{body}\n\t}}\n}}\n"


def _prefix(choose: random.Random, first: str) -> str:
    length = choose.choice(_LENGTHS)
    low = {"10": 100, "172": 16}[first]  # beside the benchmarks' own 10.0.0.0/16
    key = int(first) << 24 | choose.randrange(low, low + 16) << 16 | choose.randrange(1 << 16)
    key = key >> (32 - length) << (32 - length)
    return f"{key >> 24}.{key >> 16 & 255}.{key >> 8 & 255}.{key & 255}/{length}"
