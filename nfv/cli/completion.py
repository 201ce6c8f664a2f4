"""nfvctl completion."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print a script that lets a shell complete nfvctl.

    It completes verbs, options, topology files, names of applied topologies, and the names in
    them. What is applied only root can see.

    \b
    Examples:
      source <(nfvctl completion bash)
      nfvctl completion bash > /etc/bash_completion.d/nfvctl
      nfvctl completion zsh > "${fpath[1]}/_nfvctl"
      nfvctl completion fish > ~/.config/fish/completions/nfvctl.fish
    """
    completer = get_completion_class(shell)
    assert completer is not None  # click brings those of the three shells
    root = context.find_root()
    click.echo(completer(root.command, {}, "nfvctl", "_NFVCTL_COMPLETE").source())
