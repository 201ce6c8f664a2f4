"""A namespace with nftables, beside which a firewall of ours is shown the same packets."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from nfv.dataplane.kernel import netns
from tests.integration.helpers import traffic
from tests.integration.helpers.lab import namespace
from tests.integration.helpers.waiting import until

SENDER, RECEIVER = "02:00:00:00:09:09", "02:00:00:00:01:01"
PATIENCE = 60.0  # seconds
BURST = 200  # packets that Linux surely has room for

_SETUP = f"""
ip link add in type veth peer name near
ip link set in address {RECEIVER}
sysctl -qw net.ipv6.conf.near.disable_ipv6=1
ip link set in up
ip link set near up
"""


@contextmanager
def beside() -> Iterator[str]:
    """The namespace: what is sent to its device `near` arrives at nftables' prerouting."""
    with namespace("beside") as name:
        with netns.entered(name):
            for line in _SETUP.strip().splitlines():
                subprocess.run(line.split(), check=True)
        yield name


def load(place: str, rules: str) -> None:
    """Have nftables take over a rule set."""
    with netns.entered(place):
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)


def listed(place: str, *what: str) -> str:
    """What `nft -j list` shows."""
    with netns.entered(place):
        command = ["nft", "-j", "list", *what]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def send(place: str, frames: Sequence[bytes], chain: str) -> None:
    """Send frames; return when the counters of a chain have counted them all."""
    with netns.entered(place):
        sender = traffic.raw("near")
    with closing(sender):
        for start in range(0, len(frames), BURST):
            burst = frames[start : start + BURST]
            for each in burst:
                sender.send(each)
            _await(place, chain, start + len(burst))


def _await(place: str, chain: str, packets: int) -> None:
    until(lambda: sum(counters(place, chain)) == packets, PATIENCE)


def counters(place: str, chain: str) -> list[int]:
    """The packets of each counter in a chain of the table `inet t`."""
    found: Any = json.loads(listed(place, "chain", "inet", "t", chain))["nftables"]
    rules = [one["rule"]["expr"] for one in found if "rule" in one]
    return [part["counter"]["packets"] for rule in rules for part in rule if "counter" in part]
