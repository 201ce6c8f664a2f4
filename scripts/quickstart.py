"""Try out the quickstart topology once it is applied: the second half of scripts/quickstart."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from nfv.cli import arguments, failure, output
from nfv.cli.progress import Progress
from nfv.dataplane import inspection, statistics
from nfv.dataplane.state import State
from nfv.dataplane.statistics import VnfCounts
from nfv.errors import ExitCode, NfvError
from scripts import rate, traffic
from scripts.traffic import CHECKS, Check, Ends, Unexpected

TOPOLOGY = "quickstart"
CLIENT, SERVER, FIREWALL = "lan", "wan", "fw"
"""The parts of the topology that the checks use."""

_VERDICTS = {"rule": "dropped", "rejected": "rejected", "reject_limit": "rejected"}
"""What the firewall did with packets that ended in it, by reason (enum nf_reason)."""

_STEPS = len(CHECKS) + 1
_COLOURS = {True: "green", False: "red"}


@dataclass(frozen=True)
class Result:
    """What became of the traffic of a check, and the firewall's rule that decided it."""

    check: Check
    passed: bool
    outcome: str
    verdict: str
    rule: str
    line: str  # of the topology file
    packets: int  # that the rule counted, in both directions


def main() -> int:
    """Send, measure and print; return the exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        return _run()
    except KeyboardInterrupt:
        return failure.show_interruption()
    except NfvError as error:
        return failure.show(error, debug=False)


def _run() -> int:
    applied = arguments.attended(TOPOLOGY)
    with Progress(quiet=False) as progress:
        results = _send(applied, progress)
    _say(f"\nFrom {CLIENT} to {SERVER}. LINE is where {applied.file} has the rule that decided:\n")
    _say(_traffic(results))
    if not all(result.passed for result in results):
        _blame()
        return ExitCode.FAILED
    _compare()
    _suggest()
    return ExitCode.OK


def _send(applied: State, progress: Progress) -> list[Result]:
    """Carry out the checks, one after the other."""
    places = inspection.namespaces(applied)
    addresses = applied.topology().saps[SERVER].addresses
    ends = Ends(
        places[CLIENT], places[SERVER], {address.version: str(address.ip) for address in addresses}
    )
    results = []
    with traffic.servers(ends.server):
        for number, check in enumerate(CHECKS, 1):
            progress(check.title, number, _STEPS)
            results.append(_try(check, ends, applied))
    return results


def _try(check: Check, ends: Ends, applied: State) -> Result:
    before = statistics.read(applied)
    try:
        outcome, passed = check.send(ends), True
    except Unexpected as error:
        outcome, passed = str(error), False
    counted = statistics.read(applied).since(before).vnfs[FIREWALL]
    verdict = _verdict(counted)
    rule = max(counted.matched, key=lambda name: counted.matched[name].packets)
    return Result(
        check,
        passed and verdict == check.verdict,
        outcome,
        verdict,
        counted.rules[rule].text if counted.matched[rule].packets else "",
        str(counted.rules[rule].position.line) if counted.matched[rule].packets else "",
        counted.matched[rule].packets,
    )


def _verdict(counted: VnfCounts) -> str:
    """What the firewall did, as its counters tell."""
    for reason, verdict in _VERDICTS.items():
        if reason in counted.ended and counted.ended[reason].packets:
            return verdict
    return "accepted" if any(count.packets for count in counted.matched.values()) else "not seen"


def _traffic(results: Sequence[Result]) -> str:
    header = ("", "TRAFFIC", "OUTCOME", "FIREWALL", "RULE", "LINE", "PACKETS")
    return output.table(header, [_row(result) for result in results], right=("LINE", "PACKETS"))


def _row(result: Result) -> tuple[str, ...]:
    mark = click.style("ok" if result.passed else "FAIL", fg=_COLOURS[result.passed], bold=True)
    packets = f"{result.packets:,}"
    check = result.check
    return mark, check.title, result.outcome, result.verdict, result.rule, result.line, packets


def _compare() -> None:
    """The packet rate against Linux, where this machine lets it be measured."""
    try:
        with Progress(quiet=False) as progress:
            progress("packet rate", _STEPS, _STEPS)
            rates = rate.measure()
    except NfvError as error:
        failure.warn(error)
        return
    _say(f"\n60-byte frames, {rate.FLOWS} UDP flows; one CPU sends, forwards and receives:\n")
    _say(_rates(rates))


def _rates(rates: Mapping[str, float]) -> str:
    """Packets per second by path, and as a multiple of Linux."""
    rows = [
        (path, f"{packets / 1e6:.2f}", f"{packets / rates[rate.LINUX]:.1f}")
        for path, packets in rates.items()
    ]
    header = ("PATH", "MPPS", "TIMES LINUX")
    return output.table(header, rows, right=header[1:])


def _suggest() -> None:
    """The next commands to try."""
    _say(f"\nThe topology is up. Next, in {Path.cwd()}:\n")
    for words, what in (
        (f"inspect {TOPOLOGY}", "what runs"),
        (f"stats {TOPOLOGY} --interval 1", "what goes where, each second"),
        (f"exec {TOPOLOGY} {CLIENT} -- bash", f"a shell on {CLIENT}"),
        (f"exec {TOPOLOGY} gw -- ip route", "the router is a Linux namespace"),
        (f"plan topologies/{TOPOLOGY}.yaml", "after an edit: what apply would change"),
        (f"destroy {TOPOLOGY}", "remove everything"),
    ):
        _say(f"  {_nfvctl(words):<52}  {click.style('# ' + what, dim=True)}")


def _blame() -> None:
    """Where to look when a check failed."""
    failure.hint("these may tell why:")
    for words in ("doctor", f"stats {TOPOLOGY}", f"inspect {TOPOLOGY}"):
        click.echo(f"  {_nfvctl(words)}", err=True)


def _nfvctl(words: str) -> str:
    """A command line of nfvctl as this user has to type it."""
    sudo = "sudo " if "SUDO_USER" in os.environ else ""
    command = "nfvctl" if shutil.which("nfvctl") else ".venv/bin/nfvctl"
    return f"{sudo}{command} {words}"


def _say(text: str) -> None:
    click.echo(text, color=output.colour())


if __name__ == "__main__":
    sys.exit(main())
