"""nfvctl doctor."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from nfv.cli import output
from nfv.cli.output import Format
from nfv.errors import ExitCode

if TYPE_CHECKING:
    from nfv.dataplane.doctor import Finding

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command
@output.format_option
@click.pass_context
def command(context: click.Context, format_: Format) -> None:
    """Examine whether this machine can run service chains.

    What can be tried is tried, in a namespace that ends with the examination. Each failure comes
    with the command that mends it, and so do leftovers of topologies that are gone. Exits with 1
    if a check failed; warnings don't count.

    \b
    Examples:
      sudo nfvctl doctor
      sudo nfvctl doctor --format json
    """
    from nfv.dataplane import doctor

    findings = doctor.examine()
    if format_ == "table":
        for finding in findings:
            _show(finding)
    else:
        output.document([asdict(finding) for finding in findings], format_)
    if any(finding.status == "fail" for finding in findings):
        context.exit(ExitCode.FAILED)


def _show(finding: Finding) -> None:
    status = click.style(f"{finding.status:<4}", fg=_COLOURS[finding.status], bold=True)
    click.echo(f"{status}  {finding.check:<18}  {finding.detail}")
    if finding.mend:
        click.echo(f"{'':26}{click.style(finding.mend, fg='cyan')}")
