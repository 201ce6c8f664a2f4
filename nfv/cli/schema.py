"""nfvctl schema."""

from __future__ import annotations

import click

from nfv.cli import output


@click.command
def command() -> None:
    """Print the JSON Schema of topology files.

    An editor that knows it completes keys, explains them and marks mistakes. For editors that use
    yaml-language-server, name it in the first line of a topology file.

    \b
    Examples:
      nfvctl schema > nfv.schema.json
      sed -i '1i # yaml-language-server: $schema=nfv.schema.json' branch.yaml
    """
    from nfv.chain.schema import schema

    output.document(schema(), "json")
