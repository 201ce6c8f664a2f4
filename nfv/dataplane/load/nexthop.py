"""Who is at the other end of a port's chains. Pure."""

from __future__ import annotations

from nfv.chain.graph import entries
from nfv.chain.topology import Topology
from nfv.dataplane.wiring import Port, Wiring


def next_hop(topology: Topology, wiring: Wiring, port: Port) -> bytes | None:
    """The MAC address at the other end of a port's chains, if they lead to one place.

    A port of a switch has none.
    """
    walks = entries(topology)[port.attachment].walks
    ends = [wiring.ports.get(walk.end) for walk in walks]
    macs = {end.mac if end else None for end in ends}
    (mac,) = macs if len(macs) == 1 else (None,)
    return mac_bytes(mac) if mac else None


def mac_bytes(mac: str) -> bytes:
    """From the way that a MAC address is written with colons."""
    return bytes.fromhex(mac.replace(":", ""))
