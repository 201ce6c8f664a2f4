"""nfvctl trace."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nfv.cli import arguments, failure, output
from nfv.cli.output import Format
from nfv.cli.progress import Progress
from nfv.errors import InputError

if TYPE_CHECKING:
    from nfv.chain.topology import Topology
    from nfv.dataplane.observe.explanation import Explanation, Outcome, Step
    from nfv.dataplane.observe.tracing import Trace

_PROGRESS = 256  # packets between two steps of the progress bar
_KINDS = {
    "forwarded": "forwarded out of {egress}",
    "dropped": "dropped by {node}: {words}",
    "kernel": "handed to Linux of {node}: {words}",
    "service": "handed to the service of {node}",
    "rejected": "rejected by {node}: {words}",
    "answered": "answered by {node}",
    "flooded": "flooded by {node}",
    "lost": "not known: notes were lost",
}
_TO_KERNEL = "to the kernel: "


@dataclass
class _Group:
    """Packets that took the same way, by the first of them."""

    example: Explanation
    first: int  # its number, from 1
    count: int = 0


@click.command
@arguments.topology_argument
@click.argument("packets", metavar="[PACKET...]", nargs=-1)
@click.option("--in", "sap", metavar="SAP", required=True, help="Where the packets enter.")
@click.option(
    "--pcap",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The packets of a pcap or pcapng file.",
)
@click.option("--scapy", metavar="EXPRESSION", help="Packets written with Scapy's layers.")
@output.format_option
def command(
    topology: str,
    packets: tuple[str, ...],
    sap: str,
    pcap: Path | None,
    scapy: str | None,
    format_: Format,
) -> None:
    """Show what the chains do to packets: function by function, with rule, route and change.

    Packets run through the real programs, and nothing is sent or changed. Of a topology that is
    applied, given by its name, the tables are those that are in use, and connections that are known
    are known here. A file is traced as it declares, nothing has to be applied: neighbours are then
    assumed to be resolved. Several packets are traced in their order, each as if the ones before
    it had passed.

    PACKET is tcp, udp, icmp, arp or ip, with KEY=VALUE behind commas: src, dst, sport, dport,
    flags, type, code, id, seq, ttl, tos, length, smac, dmac, proto. What is left out is what the
    host behind the SAP would send. A Scapy expression is read, not executed: it can name layers
    and their fields, and nothing else. Without Ether it gets what the host would put in front.

    Packets that take the same way are shown together, the most frequent way first.

    \b
    Examples:
      sudo nfvctl trace branch --in lan tcp,dst=192.0.2.9,dport=443
      sudo nfvctl trace branch.yaml --in lan tcp,src=10.0.1.5,dst=192.0.2.9,dport=23
      sudo nfvctl trace branch --in lan icmp,dst=2001:db8::1 udp,dst=192.0.2.9,dport=53,ttl=1
      sudo nfvctl trace branch --in wan --pcap replies.pcap --format json
      sudo nfvctl trace branch --in lan --scapy 'IP(dst="192.0.2.9")/TCP(dport=[22,80])'
    """
    if sum(map(bool, (packets, pcap, scapy))) != 1:
        raise click.UsageError("give packets, or --pcap, or --scapy", click.get_current_context())
    arguments.require_root("loading programs takes root")
    logging.getLogger("scapy.runtime").setLevel(logging.ERROR)  # on this machine's own routes
    from nfv.dataplane.observe import tracing

    is_running = not arguments.is_file(topology)
    declared = arguments.read(topology)
    arguments.check_part(sap, declared.saps, declared.name)
    with Progress(not pcap) as progress:
        progress("compiling", 0, 1)
        made = (
            tracing.trace_of(arguments.stored(topology))
            if is_running
            else tracing.trace_for(declared)
        )
        with closing(made) as trace:
            frames = _frames(trace, sap, packets, pcap, scapy)
            groups = _grouped(trace, sap, frames, progress)
    if not groups:
        raise InputError(f"{pcap or scapy} has no packets")
    if not is_running:
        _tell_assumed(declared)
    if format_ == "table":
        _print(groups, declared)
    else:
        output.document(_plain(groups, declared, is_running), format_)


def _tell_assumed(declared: Topology) -> None:
    """Say what of the tables is not known without a running topology."""
    failure.hint("neighbours are assumed to be resolved, and routes to be those declared")
    served = [name for name, function in declared.vnfs.items() if function.service]
    if served:
        failure.hint(f"the service of {', '.join(served)} does not run: its tables are empty")


def _frames(
    trace: Trace, sap: str, packets: Sequence[str], pcap: Path | None, scapy: str | None
) -> Iterator[bytes]:
    if pcap:
        yield from trace.capture(sap, pcap)
    elif scapy:
        yield from trace.expression(sap, scapy)
    else:
        yield from [trace.frame(sap, text) for text in packets]


def _grouped(trace: Trace, sap: str, frames: Iterator[bytes], progress: Progress) -> list[_Group]:
    """The packets by the way they took, the most frequent first."""
    groups: dict[object, _Group] = {}
    for number, frame in enumerate(frames, 1):
        found = trace.run(sap, frame)
        group = groups.setdefault(found.path, _Group(found, number))
        group.count += 1
        if number % _PROGRESS == 0:
            progress("packets traced", number, number)
    return sorted(groups.values(), key=lambda group: (-group.count, group.first))


def _print(groups: Sequence[_Group], topology: Topology) -> None:
    total = sum(group.count for group in groups)
    for number, group in enumerate(groups):
        if number:
            click.echo()
        if total > 1:
            packets = "packet" if group.count == 1 else "packets"
            head = f"{group.count:,} {packets} of {total:,}, the first is number {group.first:,}"
            click.secho(head, bold=True)
        click.echo(output.columns([[group.example.packet]]))
        rows = [row for at, step in enumerate(group.example.steps, 1) for row in _rows(at, step)]
        click.echo(output.columns(rows))
        click.secho(_words(group.example.outcome), fg=_colour(group.example.outcome))


def _rows(number: int, step: Step) -> Iterator[tuple[str, ...]]:
    """A step, and below it what the packet's fields have become."""
    chain = f"chain {step.chain}, {step.direction}" if step.chain else ""
    yield (
        f"{number:3}",
        step.node,
        step.verdict,
        step.because or _reason(step.reason) or chain,
        f"{Path(step.position.file).name}:{step.position.line}" if step.position else "",
    )
    for change in step.changes:
        yield "", "", change.field, f"{change.before} -> {change.after}", ""


def _reason(name: str | None) -> str:
    from nfv.ebpf.sources import reasons

    words = dict(reasons().values())
    return words[name].removeprefix(_TO_KERNEL) if name not in (None, "forwarded") else ""


def _words(outcome: Outcome) -> str:
    text = _KINDS[outcome.kind].format(
        node=outcome.node, egress=outcome.egress, words=_reason(outcome.reason)
    )
    if outcome.kind in ("rejected", "answered") and outcome.egress:
        text += f"; the answer leaves by {outcome.egress}"
    return text


def _colour(outcome: Outcome) -> str:
    return {"forwarded": "green", "dropped": "red", "rejected": "red"}.get(outcome.kind, "yellow")


def _plain(groups: Sequence[_Group], topology: Topology, is_running: bool) -> dict[str, object]:
    return {
        "topology": topology.name,
        "tables": "running" if is_running else "declared",
        "packets": sum(group.count for group in groups),
        "paths": [
            {
                "packets": group.count,
                "first": group.first,
                "example": group.example.packet,
                "steps": [_plain_step(step) for step in group.example.steps],
                "outcome": {
                    "verdict": group.example.outcome.kind,
                    "at": group.example.outcome.node,
                    "reason": group.example.outcome.reason,
                    "egress": group.example.outcome.egress,
                },
            }
            for group in groups
        ],
    }


def _plain_step(step: Step) -> dict[str, object]:
    return {
        "at": step.node,
        "verdict": step.verdict,
        "reason": step.reason,
        "because": step.because,
        "written_in": step.position and f"{step.position.file}:{step.position.line}",
        "chain": step.chain,
        "direction": step.direction,
        "changes": [
            {"field": change.field, "before": change.before, "after": change.after}
            for change in step.changes
        ],
    }
