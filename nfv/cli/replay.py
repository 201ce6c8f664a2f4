"""nfvctl replay."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nfv.cli import arguments, failure, output
from nfv.cli.output import Format
from nfv.cli.progress import Progress
from nfv.cli.quantity import Quantity
from nfv.errors import ExitCode, InputError

if TYPE_CHECKING:
    from nfv.dataplane.load.replay import Report
    from nfv.dataplane.state import State
    from nfv.traffic.feed import Feed
    from nfv.traffic.pace import Pace
    from nfv.traffic.rewrite import AddressMap

_RATES = ("", "SECONDS", "PACKETS/S", "BITS/S")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")


class _Mac(click.ParamType):  # type: ignore[type-arg]
    name = "mac"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).lower()
        if text != "auto" and not _MAC.fullmatch(text):
            self.fail(f"'{value}' is neither a MAC address nor auto", param, ctx)
        return text


class _AddressMap(click.ParamType):  # type: ignore[type-arg]
    """OLD=NEW: two networks of the same size."""

    name = "map"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> AddressMap:
        from ipaddress import ip_network

        from nfv.traffic.rewrite import AddressMap

        try:
            old, new = (ip_network(text) for text in value.split("="))
        except ValueError:
            self.fail(f"'{value}' is not OLD=NEW, such as 10.0.0.0/8=10.1.0.0/8", param, ctx)
        if (old.version, old.prefixlen) != (new.version, new.prefixlen):
            self.fail(f"'{value}' has networks of different sizes", param, ctx)
        return AddressMap(old, new)


class _Capture(click.ParamType):  # type: ignore[type-arg]
    """SAP=FILE."""

    name = "capture"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Path]:
        sap, equals, file = value.partition("=")
        if not equals or not sap or not file:
            self.fail(f"'{value}' is not SAP=FILE", param, ctx)
        return sap, Path(file)


@click.command
@arguments.applied_argument
@click.argument("captures", metavar="SAP=FILE...", type=_Capture(), nargs=-1, required=True)
@click.option("--topspeed", is_flag=True, help="As fast as the chains take it.")
@click.option("--pps", type=Quantity(), metavar="RATE", help="So many packets a second.")
@click.option(
    "--bps", type=Quantity(), metavar="RATE", help="So many bits of frames, without FCS, a second."
)
@click.option("--speed", type=Quantity(), metavar="N", help="N times as fast as it was captured.")
@click.option(
    "--loop",
    type=click.IntRange(min=0),
    default=1,
    metavar="N",
    help="Send everything N times; 0 means until Ctrl-C.",
)
@click.option("--align", is_flag=True, help="Let all captures begin at the same moment.")
@click.option("--src-mac", type=_Mac(), metavar="MAC|auto", help="Source of all frames.")
@click.option("--dst-mac", type=_Mac(), metavar="MAC|auto", help="Destination of unicast frames.")
@click.option(
    "--map",
    "maps",
    type=_AddressMap(),
    multiple=True,
    metavar="OLD=NEW",
    help="Put addresses of one network into another one. May be given several times.",
)
@output.format_option
@click.pass_context
def command(
    context: click.Context,
    topology: str,
    captures: tuple[tuple[str, Path], ...],
    topspeed: bool,
    pps: float | None,
    bps: float | None,
    speed: float | None,
    loop: int,
    align: bool,
    src_mac: str | None,
    dst_mac: str | None,
    maps: tuple[AddressMap, ...],
    format_: Format,
) -> None:
    """Send captured packets into SAPs, as if what is behind them had sent them.

    FILE is a pcap or pcapng file. By default packets are sent as they were captured, each at its
    time after the first packet of all files; one option chooses another pace. Files are read as
    a whole before anything is sent, and a damaged one is refused. Packets that were not captured
    in full, and frames longer than the MTU of the SAP, are left out and counted.

    A MAC address "auto" is that of the SAP as source, and as destination of what its chains lead
    to. --map changes addresses in IPv4, IPv6 and ARP headers and corrects the checksums.

    Prints what was sent, the rate achieved and requested, and by how much the gaps between packets
    were wrong. While packets are sent, one CPU does nothing else.

    \b
    Examples:
      sudo nfvctl replay branch lan=client.pcap
      sudo nfvctl replay branch lan=client.pcap wan=server.pcap --speed 10
      sudo nfvctl replay branch lan=small.pcapng --topspeed --loop 1000
      sudo nfvctl replay branch lan=mix.pcap --bps 1.5G --src-mac auto --dst-mac auto
      sudo nfvctl replay branch lan=site.pcap --map 10.9.0.0/16=10.0.0.0/16 --format json
    """
    from nfv.dataplane.load import replay

    pace = _pace(topspeed, pps, bps, speed)
    applied = arguments.attended(topology)
    fit = replay.Fit(src_mac, dst_mac, maps)
    quiet = not sys.stderr.isatty()
    with Progress(quiet) as progress:
        for sap, _ in captures:
            arguments.check_part(sap, applied.topology().saps, applied.name)
        sources = [replay.source(applied, sap, path, fit) for sap, path in captures]
        read = 0

        def reading(path: Path) -> None:
            nonlocal read
            read += 1
            progress(f"reading {path}", read, len(sources))

        feed = replay.prepare(sources, pace, align, reading)

        def sending(sent: int, total: int | None) -> None:
            if total is None:
                passes, number = divmod(sent, feed.frames)
                progress(f"packets of pass {passes + 1}", number, feed.frames)
            else:
                progress("packets sent", sent, total)

        report = replay.Replay(applied, feed, loop or None).run(sending)
    _warn(feed)
    if format_ == "table":
        _print(report, feed)
    else:
        output.document(_plain(report, feed, applied), format_)
    if not report.complete:
        context.exit(ExitCode.INTERRUPTED)


def _pace(topspeed: bool, pps: float | None, bps: float | None, speed: float | None) -> Pace:
    from nfv.traffic.pace import BitRate, Original, PacketRate, TopSpeed

    given: list[Pace] = [
        *([TopSpeed()] if topspeed else []),
        *([PacketRate(pps)] if pps else []),
        *([BitRate(bps)] if bps else []),
        *([Original(speed)] if speed else []),
    ]
    if len(given) > 1:
        raise click.UsageError(
            "--topspeed, --pps, --bps and --speed exclude each other", click.get_current_context()
        )
    return given[0] if given else Original()


def _warn(feed: Feed) -> None:
    for source, found in zip(feed.sources, feed.surveys, strict=True):
        for reason, count in found.skipped.items():
            packets = "packet is" if count == 1 else "packets are"
            failure.warn(InputError(f"{source.path}: {count:,} {packets} {reason}, and not sent"))


def _print(report: Report, feed: Feed) -> None:
    rows = [
        (one.sap, one.file, f"{one.packets:,}", f"{one.bytes:,}", _skipped(one.skipped))
        for one in report.saps
    ]
    header = ("SAP", "FILE", "PACKETS", "BYTES", "LEFT OUT")
    click.echo(output.table(header, rows, right=header[2:]))
    click.echo()
    achieved, requested = _rates(report, report.seconds), _rates(report, report.requested_seconds)
    rates = [("requested", *_cells(requested)), ("achieved", *_cells(achieved))]
    click.echo(output.table(_RATES, rates, right=_RATES[1:]))
    if report.gap_error:
        errors = ", ".join(f"{name} {_time(value)}" for name, value in report.gap_error.items())
        click.echo(f"\nerror of the gaps between packets: {errors}")


def _skipped(skipped: Mapping[str, int]) -> str:
    return f"{sum(skipped.values()):,}" if skipped else ""


def _rates(report: Report, seconds: float | None) -> dict[str, float | None]:
    """Packets and bits a second; there is one gap less than there are packets."""
    if not seconds or report.packets < 2:
        return {"seconds": seconds, "pps": None, "bps": None}
    pps = (report.packets - 1) / seconds
    return {"seconds": seconds, "pps": pps, "bps": pps * report.bytes / report.packets * 8}


def _cells(rates: Mapping[str, float | None]) -> tuple[str, ...]:
    seconds, pps, bps = (rates[name] for name in ("seconds", "pps", "bps"))
    return (
        "-" if seconds is None else f"{seconds:,.6f}",
        "-" if pps is None else f"{pps:,.1f}" if pps < 1000 else f"{pps:,.0f}",
        "-" if bps is None else f"{bps:,.0f}",
    )


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:,.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:,.2f} µs"


def _plain(report: Report, feed: Feed, applied: State) -> dict[str, object]:
    return {
        "topology": applied.name,
        "complete": report.complete,
        "packets": report.packets,
        "bytes": report.bytes,
        "saps": [
            {
                "sap": one.sap,
                "file": one.file,
                "packets": one.packets,
                "bytes": one.bytes,
                "left_out": dict(one.skipped),
            }
            for one in report.saps
        ],
        "requested": _rates(report, report.requested_seconds),
        "achieved": _rates(report, report.seconds),
        "gap_error_seconds": report.gap_error and dict(report.gap_error),
    }
