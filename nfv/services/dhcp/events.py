"""What happened to leases, as lines of JSON in a file that is begun anew at a limit."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path

from nfv.dataplane.journal import Journal
from nfv.services.dhcp.leases import AnyLease, State

Change = tuple[AnyLease | None, AnyLease]
"""A lease as it was, and is."""

_IAID = 4  # bytes


class Events:
    """A file of events, the latest last."""

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path)

    def close(self) -> None:
        self._journal.close()

    def note(self, moment: float, changes: Iterable[Change]) -> None:
        """Note changes, which are seen at once. Offers are none: nobody may take them."""
        told = ((_event(before, lease), lease) for before, lease in changes)
        at = {"time": _moment(moment)}
        rows = [{**at, "event": what, **document(lease)} for what, lease in told if what]
        if rows:
            self._journal.write(*rows)


def document(lease: AnyLease) -> dict[str, object]:
    """A lease as plain data."""
    return {
        "ip": _address(lease.address),
        "mac": lease.hardware.hex(":") or None,
        "client_id": _identifier(lease.client),
        "hostname": lease.hostname or None,
        "state": lease.state.value,
        "port": lease.port,
        "agent": lease.agent.hex() or None,
        "starts": _moment(lease.starts),
        "ends": _moment(lease.ends),
    }


def _address(address: IPv4Address | IPv6Network) -> str:
    """An address, or a prefix."""
    if isinstance(address, IPv6Network) and address.prefixlen == address.max_prefixlen:
        return str(address.network_address)
    return str(address)


def _identifier(client: bytes) -> str | None:
    """The client identifier, or the DUID behind what names its association."""
    if client[:1] in (b"n", b"p"):
        return client[1 + _IAID :].hex()
    return client[1:].hex() if client.startswith(b"i") else None


def _moment(seconds: float) -> str:
    """A time as RFC 3339 has it, in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


def _event(before: AnyLease | None, lease: AnyLease) -> str | None:
    if lease.state is State.OFFERED:
        return None
    if lease.state is State.BOUND:
        same = before and before.state is State.BOUND and before.client == lease.client
        return "renewed" if same else "bound"
    if lease.state is State.RELEASED and before and before.state is State.OFFERED:
        return None
    if lease.state is State.RELEASED and before and lease.ends == before.ends:
        return "expired"
    return str(lease.state.value)
