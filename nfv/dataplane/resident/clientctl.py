"""The DHCP clients of hosts that are declared so: which must run, and starting and ending them.

A client is busybox's udhcpc under a supervisor (nfv.dataplane.resident.client). It runs as long as
its host does, and renews what it got.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nfv.chain.topology import Topology
from nfv.dataplane import state
from nfv.dataplane.change import resolving
from nfv.dataplane.change.plan import Change, Element, Phase, Symbol
from nfv.dataplane.change.transaction import Step
from nfv.dataplane.resident.daemon import LodgedDaemon


def daemon(topology: str, sap: str) -> LodgedDaemon:
    """The DHCP client of a host."""
    command = ("nfv.dataplane.resident.client", topology, sap)
    return LodgedDaemon(f"the DHCP client of {sap}", _directories(topology) / sap, command)


def changes(topology: Topology, former: Topology | None) -> Iterator[Change]:
    """Start the clients that do not run, once packets flow; end those that are not wanted."""
    name = topology.name
    wanted = [sap for sap, found in topology.saps.items() if getattr(found, "dhcp", False)]
    for sap in wanted:
        if not daemon(name, sap).is_running():
            known = former is not None and sap in former.saps
            yield Change(
                Element("sap", sap),
                Symbol.CHANGE if known else Symbol.ADD,
                "DHCP client is not running" if known else "",
                steps=[(Phase.SETTLE, _start(name, sap))],
            )
    for sap in started(name):
        if sap not in wanted:
            symbol = Symbol.CHANGE if sap in topology.saps else Symbol.REMOVE
            reason = "DHCP client removed" if symbol is Symbol.CHANGE else ""
            steps = [(Phase.RETIRE, _end(name, sap))]
            yield Change(Element("sap", sap), symbol, reason, steps=steps)


def start(topology: str, sap: str) -> None:
    """Start a client; return when it runs, which is before it has an address."""
    daemon(topology, sap).start()


def stop(topology: str, sap: str) -> None:
    """End a client; it gives its address back, and what it was told is forgotten."""
    daemon(topology, sap).stop()
    resolving.remove(topology, sap)


def started(topology: str) -> Iterator[str]:
    """The hosts whose clients were started, sorted."""
    for path in sorted(_directories(topology).glob("*")):
        yield path.name


def _directories(topology: str) -> Path:
    return state.directory(topology) / "clients"


def _start(topology: str, sap: str) -> Step:
    return Step(
        f"start the DHCP client of {sap}",
        lambda: start(topology, sap),
        lambda: stop(topology, sap),
    )


def _end(topology: str, sap: str) -> Step:
    return Step(
        f"end the DHCP client of {sap}",
        lambda: stop(topology, sap),
        lambda: start(topology, sap),
    )
