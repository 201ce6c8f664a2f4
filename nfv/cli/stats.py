"""nfvctl stats."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import click

from nfv.cli import arguments, output
from nfv.cli.output import Format

if TYPE_CHECKING:
    from nfv.chain.topology import Topology
    from nfv.dataplane.statistics import Count, Counts, Statistics

_RULE_WIDTH = 34


@click.command
@arguments.applied_argument
@click.argument("name", required=False, shell_complete=arguments.completes(arguments.parts))
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="Print what was counted in so many seconds, again and again.",
)
@output.format_option
def command(topology: str, name: str | None, interval: float | None, format_: Format) -> None:
    """Show how many packets and bytes went where.

    For each SAP what came in and went out; for each function the packets whose way ended there,
    with the reason, and the packets of each rule: those it decided, and all others of the
    connections it admitted. Bytes are those of Ethernet frames without FCS. With NAME, only what
    concerns that SAP or function, and how the packets that came in there ended.

    \b
    Examples:
      sudo nfvctl stats branch
      sudo nfvctl stats branch fw
      sudo nfvctl stats branch --interval 1
      sudo nfvctl stats branch --interval 10 --format json >> branch.jsonl
    """
    arguments.require_root("reading counters takes root")
    from nfv.dataplane import state, statistics

    applied = state.resolve(topology)
    declared = applied.topology()
    if name is not None:
        arguments.check_part(name, arguments.parts(applied), applied.name)
    last = statistics.read(applied)
    if interval is None:
        _print(declared, _of(last, name), name, format_)
        return
    while True:
        time.sleep(interval)
        present = statistics.read(applied)
        counted = _of(present.since(last), name)
        if format_ == "table":
            moment = time.strftime("%H:%M:%S")
            click.echo(f"\n{click.style(moment, bold=True)}, within {counted.moment:.1f} s")
            _print(declared, counted, name, format_)
        else:
            output.item({"seconds": counted.moment, **_plain(declared, counted)}, format_)
        last = present


def _of(counted: Statistics, name: str | None) -> Statistics:
    """What concerns one SAP or function, or all of it."""
    if name is None:
        return counted
    return replace(
        counted,
        ports={
            place: port for place, port in counted.ports.items() if place.partition(":")[0] == name
        },
        vnfs={vnf: counts for vnf, counts in counted.vnfs.items() if vnf == name},
    )


def _print(topology: Topology, counted: Statistics, name: str | None, format_: Format) -> None:
    if format_ != "table":
        output.document(_plain(topology, counted), format_)
        return
    shown = [place for place in counted.ports if name or place in topology.saps]
    tables = [
        _traffic(counted, shown),
        _reasons("ATTACHMENT", {place: counted.ports[place].received for place in shown})
        if name
        else "",
        _reasons("FUNCTION", {vnf: counts.ended for vnf, counts in counted.vnfs.items()}),
        _rules(topology, counted),
    ]
    click.echo("\n\n".join(table for table in tables if table))


def _traffic(counted: Statistics, places: list[str]) -> str:
    header = ("ATTACHMENT", "PACKETS IN", "BYTES IN", "PACKETS OUT", "BYTES OUT")
    rows = [
        (place, *_numbers(counted.ports[place].entered), *_numbers(counted.ports[place].sent))
        for place in places
    ]
    return output.table(header, rows, right=header[1:])


def _reasons(title: str, ended: Mapping[str, Counts]) -> str:
    from nfv.ebpf.sources import reasons

    words = dict(reasons().values())
    rows = [
        (name, *_numbers(count), words[reason])
        for name, counts in ended.items()
        for reason, count in counts.items()
    ]
    return output.table(
        (title, "PACKETS", "BYTES", "ENDED BECAUSE"), rows, right=("PACKETS", "BYTES")
    )


def _rules(topology: Topology, counted: Statistics) -> str:
    from nfv.dataplane.statistics import rules

    rows = []
    for vnf, counts in counted.vnfs.items():
        for key, rule in rules(topology, vnf).items():
            place = f"{rule.position.file}:{rule.position.line}"
            text = output.shortened(rule.text, _RULE_WIDTH)
            rows.append((vnf, text, *_numbers(counts.rules[key]), place))
    header = ("FUNCTION", "RULE", "PACKETS", "BYTES", "WRITTEN IN")
    return output.table(header, rows, right=("PACKETS", "BYTES"))


def _numbers(count: Count) -> tuple[str, str]:
    return f"{count.packets:,}", f"{count.bytes:,}"


def _plain(topology: Topology, counted: Statistics) -> dict[str, object]:
    return {
        "topology": topology.name,
        "ports": {
            place: {
                "in": asdict(port.entered),
                "out": asdict(port.sent),
                "ended": _plain_counts(port.received),
            }
            for place, port in counted.ports.items()
        },
        "vnfs": {
            name: {
                "type": topology.vnfs[name].type,
                "ended": _plain_counts(vnf.ended),
                "rules": list(_plain_rules(topology, name, vnf.rules)),
            }
            for name, vnf in counted.vnfs.items()
        },
    }


def _plain_counts(counts: Counts) -> dict[str, object]:
    return {reason: asdict(count) for reason, count in counts.items()}


def _plain_rules(topology: Topology, vnf: str, matched: Counts) -> Iterator[dict[str, object]]:
    from nfv.dataplane.statistics import rules

    for key, rule in rules(topology, vnf).items():
        position = {"file": rule.position.file, "line": rule.position.line}
        yield {"rule": rule.text, **position, **asdict(matched[key])}
