"""The DHCP clients of hosts that are declared so: which must run, and starting and ending them.

A client is busybox's udhcpc, or for IPv6 dhclient, under a supervisor
(nfv.dataplane.resident.client). It runs as long as its host does, and renews what it got.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nfv.chain.sap import HostSap
from nfv.chain.topology import Topology
from nfv.dataplane import state
from nfv.dataplane.change import resolving
from nfv.dataplane.change.plan import Change, Element, Phase, Symbol
from nfv.dataplane.change.transaction import Step
from nfv.dataplane.resident.daemon import LodgedDaemon
from nfv.functions.dhcp import Dhcp

Client = tuple[str, int]
"""A host, and the IP version that its client asks by."""

_PROTOCOLS = {4: "DHCP", 6: "DHCPv6"}
_DIRECTORIES = {4: "clients", 6: "clients6"}


def daemon(topology: str, sap: str, version: int) -> LodgedDaemon:
    """A DHCP client of a host."""
    command = ("nfv.dataplane.resident.client", topology, sap, str(version))
    title = f"the {_PROTOCOLS[version]} client of {sap}"
    return LodgedDaemon(title, _directory(topology, version) / sap, command)


def changes(topology: Topology, former: Topology | None) -> Iterator[Change]:
    """Start the clients that do not run, once packets flow; end those that are not wanted."""
    name = topology.name
    wanted = list(_wanted(topology))
    for client in wanted:
        sap, version = client
        if not daemon(name, *client).is_running():
            known = former is not None and sap in former.saps
            yield Change(
                Element("sap", sap),
                Symbol.CHANGE if known else Symbol.ADD,
                f"{_PROTOCOLS[version]} client is not running" if known else "",
                steps=[(Phase.SETTLE, _start(name, client))],
            )
    for client in started(name):
        if client not in wanted:
            sap, version = client
            symbol = Symbol.CHANGE if sap in topology.saps else Symbol.REMOVE
            reason = f"{_PROTOCOLS[version]} client removed" if symbol is Symbol.CHANGE else ""
            steps = [(Phase.RETIRE, _end(name, client))]
            yield Change(Element("sap", sap), symbol, reason, steps=steps)


def _wanted(topology: Topology) -> Iterator[Client]:
    """By IPv4, unless it is IPv6 alone that the topology gives addresses by."""
    functions = [found for found in topology.vnfs.values() if isinstance(found, Dhcp)]
    served = {version for function in functions for version in function.addresses_by} or {4}
    for name, sap in topology.saps.items():
        if isinstance(sap, HostSap) and sap.dhcp:
            own = {address.version for address in sap.ip}
            yield from ((name, version) for version in sorted(served - own))


def start(topology: str, client: Client) -> None:
    """Start a client; return when it runs, which is before it has an address."""
    daemon(topology, *client).start()


def stop(topology: str, client: Client) -> None:
    """End a client; it gives its address back, and what it was told is forgotten."""
    daemon(topology, *client).stop()
    if not any(sap == client[0] for sap, _ in started(topology)):
        resolving.remove(topology, client[0])


def started(topology: str) -> Iterator[Client]:
    """The clients that were started, sorted."""
    for version in sorted(_DIRECTORIES):
        for path in sorted(_directory(topology, version).glob("*")):
            yield path.name, version


def _directory(topology: str, version: int) -> Path:
    return state.directory(topology) / _DIRECTORIES[version]


def _start(topology: str, client: Client) -> Step:
    return Step(
        f"start {daemon(topology, *client).title}",
        lambda: start(topology, client),
        lambda: stop(topology, client),
    )


def _end(topology: str, client: Client) -> Step:
    return Step(
        f"end {daemon(topology, *client).title}",
        lambda: stop(topology, client),
        lambda: start(topology, client),
    )
