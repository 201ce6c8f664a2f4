"""The counters of a topology as plain data, the JSON of `nfvctl stats`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nfv.dataplane.statistics import Count, Counts, Statistics, VnfCounts

Each = Callable[[Count], Mapping[str, float]]
"""A count as numbers by name."""


def plain(counted: Statistics, each: Each) -> dict[str, object]:
    """All counters; `each` says how one is shown."""
    return {
        "topology": counted.topology.name,
        "ports": {
            place: {
                "in": each(port.entered),
                "out": each(port.sent),
                "ended": _plain_counts(port.received, each),
            }
            for place, port in counted.ports.items()
        },
        "vnfs": {
            name: {
                "type": counted.topology.vnfs[name].type,
                "ended": _plain_counts(vnf.ended, each),
                "rules": _plain_rules(vnf, each),
            }
            for name, vnf in counted.vnfs.items()
        },
    }


def _plain_counts(counts: Counts, each: Each) -> dict[str, object]:
    return {reason: each(count) for reason, count in counts.items()}


def _plain_rules(vnf: VnfCounts, each: Each) -> list[dict[str, object]]:
    return [
        {
            "rule": rule.text,
            "file": rule.position.file,
            "line": rule.position.line,
            **each(vnf.matched[key]),
        }
        for key, rule in vnf.rules.items()
    ]
