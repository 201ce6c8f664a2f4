"""nfvctl schema."""

from __future__ import annotations

import click

from nfv.cli import output


@click.command
@click.option("--test", is_flag=True, help="That of case files, which are test.nfv.yaml.")
@click.option("--profile", is_flag=True, help="That of profiles of traffic, for `nfvctl bench`.")
def command(test: bool, profile: bool) -> None:
    """Print the JSON Schema of topology files, or of other files.

    An editor that knows it completes keys, explains them and marks mistakes. For editors that use
    yaml-language-server, name it in the first line of a topology file.

    \b
    Examples:
      nfvctl schema > nfv.schema.json
      nfvctl schema --test > nfv-test.schema.json
      nfvctl schema --profile > nfv-profile.schema.json
      sed -i '1i # yaml-language-server: $schema=nfv.schema.json' branch.yaml
    """
    if test and profile:
        raise click.UsageError("--test and --profile exclude each other")
    if profile:
        from nfv.traffic.profile import schema
    elif test:
        from nfv.testing.schema import schema
    else:
        from nfv.chain.schema import schema
    output.document(schema(), "json")
