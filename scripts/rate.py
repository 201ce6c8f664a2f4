"""The packet rate of the quickstart chain beside that of Linux with the same rules, in seconds.

`make bench` measures more, for longer.
"""

from __future__ import annotations

import ipaddress
import struct
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import yaml

from benchmarks import chains, paths, wired
from benchmarks.frames import Kind
from benchmarks.live import Loader, Sink
from benchmarks.rates import Feed, Lane, attached, undisturbed
from benchmarks.rates import measure as measure_lanes
from nfv.chain.topology import Topology, loads

CHAIN, LINUX = "service chain", "Linux forwarding with nftables"
FLOWS = 64
SETUP = "quickstart-rate"
"""Name of the chain that is set up for it, beside the one that runs."""

_ROOT = Path(__file__).resolve().parent.parent
_TOPOLOGY = _ROOT / "topologies" / "quickstart.yaml"
_RULES = _ROOT / "benchmarks" / "firewall.nft"
_FIRST_PORT = 20000
_ROUNDS = 7
_SECONDS = 0.1  # of each path in a round


def measure() -> dict[str, float]:
    """Packets per second, by path, of one CPU that sends, forwards and counts them.

    Takes about five seconds. Leaves nothing behind. Raises `NfvError`.
    """
    with ExitStack() as stack:
        loader = stack.enter_context(Loader())
        ways = {
            CHAIN: stack.enter_context(chains.chain(topology())),
            LINUX: stack.enter_context(paths.linux(f"{SETUP}-linux", _RULES.read_text())),
        }
        sink = Sink(loader)
        flows = loader.sequence(_flows())
        stack.enter_context(attached(loader, sink, ways.values()))
        stack.enter_context(undisturbed())
        feed = Feed(Kind(), FLOWS, flows, flows)
        lanes = [Lane(loader, sink, path, feed) for path in ways.values()]
        samples = measure_lanes(lanes, _ROUNDS, _SECONDS, _quietly)
        rates = (median(sample.rate for sample in found) for found in samples)
        return dict(zip(ways, rates, strict=True))


def topology() -> Topology:
    """The quickstart topology under another name, with XDP at its hosts: live frames come by it."""
    data = {**yaml.safe_load(_TOPOLOGY.read_text()), "name": SETUP}
    for sap in data["saps"].values():
        sap["hook"] = "xdp"
    return loads(yaml.safe_dump(data, sort_keys=False), SETUP)


def _flows() -> bytes:
    """Flows to one address, as a sender reads them (struct flow of generator.c)."""
    far = ipaddress.ip_interface(wired.HOST_ADDRESSES["wan"][4]).ip.packed
    ports = range(_FIRST_PORT, _FIRST_PORT + FLOWS)
    return b"".join(struct.pack("!4sHH", far, port, 0) for port in ports)


def _quietly(step: str) -> None:
    """Tell nobody of a step: there are few, and short."""
