"""Measure, print the tables, write what was asked for."""

from __future__ import annotations

import json
import os
import platform
import shlex
import statistics
import sys
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path as File
from typing import IO

import click

from benchmarks import bulk, paths, rates, report
from benchmarks.frames import Protocol, Traffic
from benchmarks.live import Loader
from benchmarks.paths import Path
from nfv.errors import ExitCode, NfvError

DOCUMENT = paths.HERE.parent / "docs" / "performance.md"
MAX_FLOWS = 10_000

BARE, CHAIN = "bare XDP redirect", "quickstart chain"
LINUX, NFTABLES = "Linux forwarding", "Linux with nftables"


@click.command()
@click.option(
    "--rounds", type=click.IntRange(1), default=10, show_default=True, help="Samples of each."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.01, 0.5),
    default=0.1,
    show_default=True,
    help="Length of one sample; a round has one of each path and kind of traffic.",
)
@click.option(
    "--flows",
    type=click.IntRange(1, MAX_FLOWS),
    multiple=True,
    default=(1, 64, 1024),
    show_default=True,
    help="Flows sent in turn; may be repeated. TCP and IPv6 are measured with the middle one.",
)
@click.option("--json", "json_file", type=click.File("w", lazy=True), help="Write every sample.")
@click.option("--write", is_flag=True, help="Write the tables into docs/performance.md.")
def main(
    rounds: int, seconds: float, flows: tuple[int, ...], json_file: IO[str] | None, write: bool
) -> None:
    """Compare a service chain with a bare XDP redirect and with Linux, in one run."""
    run = _describe(rounds, seconds)
    with ExitStack() as stack:
        loader = stack.enter_context(Loader())
        ways = _build(stack, loader)
        samples = rates.measure(loader, ways, _traffics(flows), rounds, seconds, _progress)
        throughputs = bulk.measure(ways[CHAIN], ways[LINUX], _progress)
    results = report.Results(run, BARE, CHAIN, (LINUX, NFTABLES), samples, throughputs)
    text = report.as_markdown(results)
    click.echo(text)
    if write:
        DOCUMENT.write_text(report.replace_between_markers(DOCUMENT.read_text(), text))
    if json_file:
        json.dump(report.as_json(results), json_file, indent=1)


def _build(stack: ExitStack, loader: Loader) -> dict[str, Path]:
    """The paths to compare, each for as long as the stack is open."""
    builders = {
        BARE: paths.bare_redirect(loader, "bench-bare"),
        CHAIN: paths.chain(paths.topology("bench", "fw", "gw")),
        "chain of its router": paths.chain(paths.topology("bench-router", "gw")),
        "chain of its firewall": paths.chain(paths.topology("bench-firewall", "fw")),
        "chain of no function": paths.chain(paths.topology("bench-empty")),
        LINUX: paths.linux("bench-linux"),
        NFTABLES: paths.linux("bench-nftables", paths.NFTABLES),
    }
    found = {}
    for name, builder in builders.items():
        _progress(f"setting up: {name}")
        found[name] = stack.enter_context(builder)
    return found


def _traffics(flows: tuple[int, ...]) -> list[Traffic]:
    counts = sorted(set(flows))
    middle = statistics.median_low(counts)
    return [
        *(Traffic(Protocol.UDP, 4, count) for count in counts),
        Traffic(Protocol.TCP, 4, middle),
        Traffic(Protocol.UDP, 6, middle),
    ]


def _describe(rounds: int, seconds: float) -> report.Run:
    return report.Run(
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        machine=f"{_cpu_model()}, {os.cpu_count()} CPUs",
        kernel=platform.release(),
        command=shlex.join(["benchmarks/run", *sys.argv[1:]]),
        rounds=rounds,
        seconds=seconds,
    )


def _cpu_model() -> str:
    for line in File("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def _progress(text: str) -> None:
    click.echo(text, err=True)


def _run() -> int:
    try:
        main(prog_name="benchmarks/run", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return ExitCode.BAD_INPUT
    except click.Abort:
        _progress("interrupted; nothing remains")
        return ExitCode.INTERRUPTED
    except NfvError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        _progress(f"error: {error.message}{hint}")
        return error.exit_code
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(_run())
