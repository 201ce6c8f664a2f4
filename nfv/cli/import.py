"""nfvctl import."""  # noqa: N999, a verb is a module of its name

from __future__ import annotations

import sys
from pathlib import Path

import click

from nfv.cli import output
from nfv.errors import ExitCode, InputError


@click.command
@click.argument("file", metavar="FILE")
@click.option(
    "--chain",
    default="FORWARD",
    show_default=True,
    help='The chain that it begins with; of nftables also as "inet filter forward".',
)
@click.pass_context
def command(context: click.Context, file: str, chain: str) -> None:
    """Write the rules of nftables or iptables as those of a firewall.

    FILE is what `nft -j list ruleset`, iptables-save or ip6tables-save has written, or "-". The
    keys of a firewall are printed; each rule that does not map is left out and named, with its
    line, or its chain and handle, and why, and the exit code is 3 then. Rules that accept known
    connections are not needed, and not named. What a rule rejects is answered as the firewall does
    it.

    \b
    Examples:
      nft -j list ruleset | nfvctl import - > fw.yaml
      iptables-save | nfvctl import - > fw.yaml
      nfvctl import --chain INPUT old-rules.txt
    """
    from nfv.chain import iptables, nftables

    text = _text(file)
    reader = nftables if nftables.is_meant(text) else iptables
    found = reader.read(text, chain)
    output.document(found.keys, "yaml")
    for one in found.missing:
        click.echo(f"{file}:{one.place}: not imported: {one.reason}\n    {one.text}", err=True)
    if found.missing:
        context.exit(ExitCode.BAD_INPUT)


def _text(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot read {file}: {reason}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 text") from error
