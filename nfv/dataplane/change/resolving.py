"""The resolv.conf of a host's namespace, which `ip netns exec` shows as /etc/resolv.conf there.

The host's DHCP client writes it (udhcpc.sh). It begins with a mark, as one that somebody else has
put there does not: that is neither changed nor removed. See ip-netns(8).
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from nfv.chain import names

_DIRECTORY = Path("/etc/netns")


def path(topology: str, sap: str) -> Path:
    return _DIRECTORY / names.node_netns(topology, sap) / "resolv.conf"


def mark(topology: str, sap: str) -> str:
    """Its first line."""
    return f"# {names.owner(topology, sap)}"


def remove(topology: str, sap: str) -> None:
    """Remove it, and its directory unless others keep something there."""
    file = path(topology, sap)
    with suppress(OSError):
        if file.read_text().startswith(mark(topology, sap) + "\n"):
            file.unlink()
            file.parent.rmdir()
