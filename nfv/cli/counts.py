"""The counters of a topology as tables: as they are, or as rates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from nfv.cli import output, rates

if TYPE_CHECKING:
    from nfv.dataplane.statistics import Count, Counts, Statistics

_RULE_WIDTH = 34


@dataclass(frozen=True)
class Unit:
    """How a count is shown: as two cells under two titles, and as plain data."""

    titles: tuple[str, str]
    cells: Callable[[Count], tuple[str, str]]
    plain: Callable[[Count], Mapping[str, float]]


TOTALS = Unit(
    ("PACKETS", "BYTES"),
    lambda count: (f"{count.packets:,}", f"{count.bytes:,}"),
    asdict,
)
"""Packets and bytes of Ethernet frames."""


def per_second(seconds: float) -> Unit:
    """Rates of what was counted within so many seconds."""
    return Unit(
        ("PACKETS/S", "BITS/S"),
        lambda count: (rates.packets(count, seconds), rates.bits(count, seconds)),
        lambda count: {"pps": count.packets / seconds, "bps": count.bytes * 8 / seconds},
    )


def tables(counted: Statistics, name: str | None, unit: Unit) -> str:
    """Tables of what passed the SAPs and ended in functions; with `name`, only what concerns it."""
    shown = [place for place in counted.ports if name or place in counted.topology.saps]
    received = {place: counted.ports[place].received for place in shown} if name else {}
    found = [
        _traffic(counted, shown, unit),
        _reasons("ATTACHMENT", received, unit),
        _reasons("FUNCTION", {vnf: one.ended for vnf, one in counted.vnfs.items()}, unit),
        _rules(counted, unit),
    ]
    return "\n\n".join(table for table in found if table)


def _traffic(counted: Statistics, places: list[str], unit: Unit) -> str:
    header = ("ATTACHMENT", *(f"{title} {way}" for way in ("IN", "OUT") for title in unit.titles))
    rows = [
        (place, *unit.cells(counted.ports[place].entered), *unit.cells(counted.ports[place].sent))
        for place in places
    ]
    return output.table(header, rows, right=header[1:])


def _reasons(title: str, ended: Mapping[str, Counts], unit: Unit) -> str:
    from nfv.ebpf.sources import reasons

    words = dict(reasons().values())
    rows = [
        (name, *unit.cells(count), words[reason])
        for name, counts in ended.items()
        for reason, count in counts.items()
    ]
    return output.table((title, *unit.titles, "REASON"), rows, right=unit.titles)


def _rules(counted: Statistics, unit: Unit) -> str:
    rows = [
        (
            vnf,
            output.shortened(rule.text, _RULE_WIDTH),
            *unit.cells(counts.matched[key]),
            f"{rule.position.file}:{rule.position.line}",
        )
        for vnf, counts in counted.vnfs.items()
        for key, rule in counts.rules.items()
    ]
    header = ("FUNCTION", "RULE", *unit.titles, "WRITTEN IN")
    return output.table(header, rows, right=unit.titles)
