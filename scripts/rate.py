"""The packet rate of the quickstart chain beside that of Linux with the same rules, in seconds.

`make bench` measures the same and more, for longer.
"""

from __future__ import annotations

from contextlib import ExitStack
from statistics import median

from benchmarks import paths, rates
from benchmarks.frames import Protocol, Traffic
from benchmarks.live import Loader

CHAIN, LINUX = "service chain", "Linux forwarding with nftables"
TRAFFIC = Traffic(Protocol.UDP, version=4, flows=64)
SETUP = "quickstart-rate"
"""Name of the chain that is set up for it, beside the one that runs."""

_ROUNDS = 7
_SECONDS = 0.1  # of each path in a round


def measure() -> dict[str, float]:
    """Packets per second, by path, of one CPU that sends, forwards and counts them.

    Takes about five seconds. Leaves nothing behind. Raises `NfvError`.
    """
    with ExitStack() as stack:
        loader = stack.enter_context(Loader())
        ways = {
            CHAIN: stack.enter_context(paths.chain(paths.topology(SETUP, "fw", "gw"))),
            LINUX: stack.enter_context(paths.linux(f"{SETUP}-linux", paths.NFTABLES)),
        }
        samples = rates.measure(loader, ways, [TRAFFIC], _ROUNDS, _SECONDS, _quietly)
        return {name: median(sample.rate for sample in samples[name, TRAFFIC]) for name in ways}


def _quietly(step: str) -> None:
    """Tell nobody of a step: there are few, and short."""
