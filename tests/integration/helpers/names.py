"""Questions to the name server of a lab."""

from __future__ import annotations

from collections.abc import Callable

from nfv.dataplane.resident import servicectl
from tests.integration.helpers.lab import Lab, kill
from tests.integration.helpers.waiting import until

PATIENCE = 20.0  # seconds


def dig(net: Lab, node: str, question: str) -> list[str]:
    """The data of an answer's records, in order."""
    return sorted(net.run(node, f"dig +time=3 +tries=1 +short {question}").stdout.split())


def eventually(found: Callable[[], object]) -> None:
    """Ask until it is so; a name server does not say when it has taken a zone over."""
    until(found, PATIENCE)


def restart(net: Lab) -> None:
    """End the name server's process, and return when there is another."""
    process = servicectl.ask(net.name, "dns", "status")["pid"]
    assert isinstance(process, int)
    kill(process)
    assert servicectl.ask(net.name, "dns", "status")["pid"] != process
