"""nfvctl stats."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import click

from nfv.cli import arguments, output
from nfv.cli.output import Format

if TYPE_CHECKING:
    from nfv.dataplane.statistics import Count, Counts, Statistics, VnfCounts

_RULE_WIDTH = 34


@click.command
@arguments.applied_argument
@click.argument("name", required=False, shell_complete=arguments.completes(arguments.parts))
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="Show what each interval counted, until Ctrl-C.",
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
    last = _read(topology, name)
    if interval is None:
        _print(last, name, format_)
        return
    while True:
        time.sleep(interval)
        present = _read(topology, name)
        counted = present.since(last)
        if format_ == "table":
            moment = click.style(time.strftime("%H:%M:%S"), bold=True)
            click.echo(f"\n{moment}, within {counted.moment:.1f} s")
            _print(counted, name, format_)
        else:
            output.item({"seconds": counted.moment, **_plain(counted)}, format_)
        last = present


def _read(text: str, name: str | None) -> Statistics:
    """The counters of a topology, or of one SAP or function of it."""
    from nfv.dataplane import statistics

    applied = arguments.attended(text)
    counted = statistics.read(applied)
    if name is None:
        return counted
    arguments.check_part(name, arguments.parts(applied), applied.name)
    return replace(
        counted,
        ports={
            place: port for place, port in counted.ports.items() if place.partition(":")[0] == name
        },
        vnfs={vnf: counts for vnf, counts in counted.vnfs.items() if vnf == name},
    )


def _print(counted: Statistics, name: str | None, format_: Format) -> None:
    if format_ != "table":
        output.document(_plain(counted), format_)
        return
    shown = [place for place in counted.ports if name or place in counted.topology.saps]
    received = {place: counted.ports[place].received for place in shown} if name else {}
    tables = [
        _traffic(counted, shown),
        _reasons("ATTACHMENT", received),
        _reasons("FUNCTION", {vnf: counts.ended for vnf, counts in counted.vnfs.items()}),
        _rules(counted),
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
    return output.table((title, "PACKETS", "BYTES", "REASON"), rows, right=("PACKETS", "BYTES"))


def _rules(counted: Statistics) -> str:
    rows = [
        (
            vnf,
            output.shortened(rule.text, _RULE_WIDTH),
            *_numbers(counts.matched[key]),
            f"{rule.position.file}:{rule.position.line}",
        )
        for vnf, counts in counted.vnfs.items()
        for key, rule in counts.rules.items()
    ]
    header = ("FUNCTION", "RULE", "PACKETS", "BYTES", "WRITTEN IN")
    return output.table(header, rows, right=("PACKETS", "BYTES"))


def _numbers(count: Count) -> tuple[str, str]:
    return f"{count.packets:,}", f"{count.bytes:,}"


def _plain(counted: Statistics) -> dict[str, object]:
    return {
        "topology": counted.topology.name,
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
                "type": counted.topology.vnfs[name].type,
                "ended": _plain_counts(vnf.ended),
                "rules": _plain_rules(vnf),
            }
            for name, vnf in counted.vnfs.items()
        },
    }


def _plain_counts(counts: Counts) -> dict[str, object]:
    return {reason: asdict(count) for reason, count in counts.items()}


def _plain_rules(vnf: VnfCounts) -> list[dict[str, object]]:
    return [
        {
            "rule": rule.text,
            "file": rule.position.file,
            "line": rule.position.line,
            **asdict(vnf.matched[key]),
        }
        for key, rule in vnf.rules.items()
    ]
