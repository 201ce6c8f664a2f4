"""Copies of other servers' zones: kept current as their SOA records say (RFC 1034, section 4.3.5).

A copy is asked for again after `refresh` seconds, after `retry` where nobody answers, and at once
when its primary server says that it has changed (NOTIFY, RFC 1996). After `expire` seconds without
word of a primary server it is no longer told to anybody.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dns.tsig
from dns.name import Name
from dns.rdatatype import RdataType

from nfv.errors import NfvError
from nfv.services.base import Answer
from nfv.services.clock import Clock
from nfv.services.dns.changes import difference
from nfv.services.dns.connection import MakeSocket, Server
from nfv.services.dns.fetch import NotTransferred, fetch, serial_of
from nfv.services.dns.serials import is_reached
from nfv.services.dns.store import Store, Stored
from nfv.services.dns.zone import Zone

_LEAST = 1.0  # seconds between attempts, whatever the zone says
_FIRST_RETRY = 2.0  # seconds, as long as there is no zone that says; doubled up to
_LAST_RETRY = 60.0


@dataclass(frozen=True)
class Origin:
    """Where a copy comes from."""

    zone: Name
    primaries: Sequence[Server]
    key: dns.tsig.Key | None


class Copy:
    """One zone of another server; `zone` is what is known of it, None for nothing that holds."""

    def __init__(
        self,
        origin: Origin,
        make: MakeSocket,
        store: Store,
        changed: Callable[[], None],
        log: Callable[[str, str], None],
    ) -> None:
        """Begins at once, within the running loop; `changed` is called when `zone` is another."""
        self.origin = origin
        self._make = make
        self._store = store
        self._changed = changed
        self._log = log
        self._clock = Clock()
        self._due = asyncio.Event()
        self._retry = _FIRST_RETRY
        self._complaint = ""
        self._transfers = Counter[str]()
        stored = store.find(origin.zone)
        self._confirmed = stored.confirmed if stored else 0.0
        self.zone: Zone | None = None if stored is None or stored.declared else stored.zone
        if self._left() <= 0:
            self.zone = None
        self._task = asyncio.get_running_loop().create_task(self._run())

    def refresh(self) -> None:
        """Ask the primary servers as soon as they can be asked."""
        self._due.set()

    def status(self) -> Answer:
        """Its version, for how many seconds it holds, and how often it came whole or in part."""
        serial = self.zone.serial if self.zone else None
        return {"serial": serial, "holds_s": int(self._left()), **self._transfers}

    def close(self) -> None:
        self._task.cancel()

    def _left(self) -> float:
        """Seconds for which the zone still holds."""
        if self.zone is None:
            return 0.0
        return self._confirmed + float(self.zone.soa[0].expire) - self._clock()

    async def _run(self) -> None:
        while True:
            self._due.clear()
            wait = await self._attempt()
            begun = asyncio.get_running_loop().time()
            await self._until_due(wait)
            pause = begun + _LEAST - asyncio.get_running_loop().time()
            await asyncio.sleep(max(0.0, pause))

    async def _until_due(self, wait: float) -> None:
        """Return after some seconds or when there is news; meanwhile the zone may expire."""
        deadline = asyncio.get_running_loop().time() + wait
        while (rest := deadline - asyncio.get_running_loop().time()) > 0:
            left = self._left() if self.zone else rest
            try:
                await asyncio.wait_for(self._due.wait(), max(0.0, min(rest, left)))
            except asyncio.TimeoutError:
                if self.zone is not None and self._left() <= 0:
                    self._expire()
            else:
                return

    def _expire(self) -> None:
        self._log("warning", f"{self.origin.zone} is not served: no word of its primary server")
        self.zone = None
        self._changed()

    async def _attempt(self) -> float:
        """Ask each primary server until one knows; seconds until the next attempt."""
        reasons = []
        for server in self.origin.primaries:
            try:
                await self._ask(server)
            except NotTransferred as error:
                reasons.append(f"{server}: {error}")
            except NfvError as error:
                reasons.append(error.message)
            else:
                assert self.zone is not None
                self._complaint, self._retry = "", _FIRST_RETRY
                return float(self.zone.soa[0].refresh)
        self._complain("; ".join(reasons))
        if self.zone is not None:
            return float(self.zone.soa[0].retry)
        self._retry = min(self._retry * 2, _LAST_RETRY)
        return self._retry / 2

    def _complain(self, reasons: str) -> None:
        if reasons != self._complaint:
            self._complaint = reasons
            self._log("warning", f"{self.origin.zone} cannot be transferred: {reasons}")

    async def _ask(self, server: Server) -> None:
        """Have the zone that a server has. Raises `NotTransferred`, and `NfvError` of the store."""
        where = self.origin
        known = self.zone or self._stored()
        serial = await serial_of(server, self._make, where.zone, where.key)
        now = self._clock()
        if known is None or not is_reached(known.serial, serial):
            made, kind = await fetch(server, self._make, where.zone, known, where.key)
            _check(made)
            self._transfers[kind.name] += 1
            self._keep(made, known, now)
            self._log("info", f"{where.zone} is version {made.serial} of {server}")
        else:
            self._store.confirm(where.zone, now)
            made = known
        self._confirmed = now
        if made is not self.zone:
            self.zone = made
            self._changed()

    def _stored(self) -> Zone | None:
        stored = self._store.find(self.origin.zone)
        return stored.zone if stored and stored.declared is None else None

    def _keep(self, made: Zone, known: Zone | None, now: float) -> None:
        if known is None:
            self._store.put(Stored(made, None, now))
        else:
            self._store.change(made, difference(known, made))
            self._store.confirm(made.origin, now)


def _check(zone: Zone) -> None:
    if RdataType.NS not in zone.nodes[zone.origin]:
        raise NotTransferred("the zone has no NS record")
