"""nfvctl trace."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nfv.cli import arguments, failure, livetrace, output, ways
from nfv.cli.output import Format
from nfv.cli.progress import Progress
from nfv.errors import InputError

if TYPE_CHECKING:
    from nfv.chain.topology import Topology
    from nfv.dataplane.observe.explanation import Explanation
    from nfv.dataplane.observe.tracing import Trace

_PROGRESS = 256  # packets between two steps of the progress bar


@dataclass
class _Group:
    """Packets that took the same way, by the first of them."""

    example: Explanation
    first: int  # its number, from 1
    count: int = 0


@click.command
@arguments.topology_argument
@click.argument("packets", metavar="[PACKET...]", nargs=-1)
@click.option("--in", "sap", metavar="SAP", help="Where the packets enter.")
@click.option(
    "--pcap",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The packets of a pcap or pcapng file.",
)
@click.option("--scapy", metavar="EXPRESSION", help="Packets written with Scapy's layers.")
@click.option("--live", metavar="FILTER", help='Packets that pass; with "" all of them.')
@click.option(
    "-c",
    "--count",
    type=click.IntRange(min=1),
    metavar="COUNT",
    help="With --live: end after so many packets.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="With --live: end after so long.",
)
@output.format_option
def command(
    topology: str,
    packets: tuple[str, ...],
    sap: str | None,
    pcap: Path | None,
    scapy: str | None,
    live: str | None,
    count: int | None,
    seconds: float | None,
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

    With --live, packets are those that pass through the applied topology and match a filter, as
    tcpdump has it, where they enter. Each is shown when its way has ended. It ends by Ctrl-C, after
    COUNT packets or after SECONDS; the chains lose nothing, and cost nothing more afterwards.

    \b
    Examples:
      sudo nfvctl trace branch --in lan tcp,dst=192.0.2.9,dport=443
      sudo nfvctl trace branch.yaml --in lan tcp,src=10.0.1.5,dst=192.0.2.9,dport=23
      sudo nfvctl trace branch --in lan icmp,dst=2001:db8::1 udp,dst=192.0.2.9,dport=53,ttl=1
      sudo nfvctl trace branch --in wan --pcap replies.pcap --format json
      sudo nfvctl trace branch --in lan --scapy 'IP(dst="192.0.2.9")/TCP(dport=[22,80])'
      sudo nfvctl trace branch --live 'icmp or tcp port 443' -c 10
    """
    _check(packets, sap, pcap, scapy, live, count, seconds)
    arguments.require_root("loading programs takes root")
    logging.getLogger("scapy.runtime").setLevel(logging.ERROR)  # on this machine's own routes
    if live is not None:
        livetrace.run(topology, live, sap, count, seconds, format_)
    else:
        assert sap is not None
        _trace(topology, sap, packets, pcap, scapy, format_)


def _check(
    packets: Sequence[str],
    sap: str | None,
    pcap: Path | None,
    scapy: str | None,
    live: str | None,
    count: int | None,
    seconds: float | None,
) -> None:
    """Raise UsageError for options that do not go together."""
    wrong = None
    if sum((bool(packets), pcap is not None, scapy is not None, live is not None)) != 1:
        wrong = "give packets, or --pcap, or --scapy, or --live"
    elif live is None and sap is None:
        wrong = "missing option '--in'"
    elif live is None and (count is not None or seconds is not None):
        wrong = "-c and --seconds are for --live"
    if wrong is not None:
        raise click.UsageError(wrong, click.get_current_context())


def _trace(
    topology: str,
    sap: str,
    packets: Sequence[str],
    pcap: Path | None,
    scapy: str | None,
    format_: Format,
) -> None:
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
            if pcap:
                groups = _captured(trace, sap, pcap, progress)
            else:
                frames = enumerate(_frames(trace, sap, packets, scapy), 1)
                traced = ((number, trace.run(sap, frame)) for number, frame in frames)
                groups = _grouped(traced, progress)
    if not groups:
        raise InputError(f"{pcap or scapy} has no packets that can be traced")
    if not is_running:
        _tell_assumed(declared)
    if format_ == "table":
        _print(groups)
    else:
        output.document(_plain(groups, declared, is_running), format_)


def _tell_assumed(declared: Topology) -> None:
    """Say what of the tables is not known without a running topology."""
    failure.hint("neighbours are assumed to be resolved, and routes to be those declared")
    served = [name for name, function in declared.vnfs.items() if function.service]
    if served:
        failure.hint(f"the service of {', '.join(served)} does not run: its tables are empty")


def _frames(trace: Trace, sap: str, packets: Sequence[str], scapy: str | None) -> Iterator[bytes]:
    if scapy:
        yield from trace.expression(sap, scapy)
    else:
        yield from [trace.frame(sap, text) for text in packets]


def _captured(trace: Trace, sap: str, pcap: Path, progress: Progress) -> list[_Group]:
    """Those of a capture; what no program takes as a frame is left out, and told."""
    left: dict[str, list[int]] = {}

    def traced() -> Iterator[tuple[int, Explanation]]:
        for number, (frame, unfit) in enumerate(trace.capture(sap, pcap), 1):
            if not unfit:
                try:
                    yield number, trace.run(sap, frame)
                    continue
                except InputError:
                    unfit = "longer than a test run takes"
            left.setdefault(unfit, []).append(number)

    groups = _grouped(traced(), progress)
    for why, numbers in left.items():
        count = "1 packet" if len(numbers) == 1 else f"{len(numbers):,} packets"
        failure.hint(f"left out: {count} {why}; the first is number {numbers[0]:,}")
    return groups


def _grouped(traced: Iterable[tuple[int, Explanation]], progress: Progress) -> list[_Group]:
    """The packets, given with their numbers, by the way they took: the most frequent first."""
    groups: dict[object, _Group] = {}
    for number, found in traced:
        group = groups.setdefault(found.path, _Group(found, number))
        group.count += 1
        if number % _PROGRESS == 0:
            progress.count("packets traced", number)
    return sorted(groups.values(), key=lambda group: (-group.count, group.first))


def _print(groups: Sequence[_Group]) -> None:
    total = sum(group.count for group in groups)
    for number, group in enumerate(groups):
        if number:
            click.echo()
        if total > 1:
            packets = "packet" if group.count == 1 else "packets"
            head = f"{group.count:,} {packets} of {total:,}, the first is number {group.first:,}"
            click.secho(head, bold=True)
        ways.show(group.example)


def _plain(groups: Sequence[_Group], topology: Topology, is_running: bool) -> dict[str, object]:
    return {
        "topology": topology.name,
        "tables": "running" if is_running else "declared",
        "packets": sum(group.count for group in groups),
        "paths": [
            {"packets": group.count, "first": group.first, **ways.plain(group.example)}
            for group in groups
        ],
    }
