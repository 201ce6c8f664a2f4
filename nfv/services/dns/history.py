"""Former versions of zones, for secondary servers that have one of them (IXFR, RFC 1995)."""

from __future__ import annotations

from collections import deque

from dns.name import Name

from nfv.services.dns.changes import Change, difference
from nfv.services.dns.zone import Zone

_MIN_SIZE = 1000  # records of a zone's changes that are kept in any case


class History:
    """The changes of each zone, not more of them than the zone has names."""

    def __init__(self) -> None:
        self._latest: dict[Name, Zone] = {}
        self._changes: dict[Name, deque[Change]] = {}

    def note(self, zone: Zone) -> None:
        """A zone as it is published from here on."""
        former = self._latest.get(zone.origin)
        if former is zone:
            return
        self._latest[zone.origin] = zone
        kept = self._changes.setdefault(zone.origin, deque())
        if former is None or former.serial == zone.serial:
            kept.clear()  # what was changed without another number cannot be told
            return
        kept.append(difference(former, zone))
        size = sum(change.size for change in kept)
        while size > max(_MIN_SIZE, len(zone.nodes)):
            size -= kept.popleft().size

    def since(self, zone: Zone, serial: int) -> list[Change] | None:
        """The changes that lead from a version to the zone; None if they are not known."""
        if self._latest.get(zone.origin) is not zone:  # a view's
            return None
        found = list(self._changes.get(zone.origin, ()))
        while found and found[0].begins != serial:
            found.pop(0)
        return found if found and found[-1].ends == zone.serial else None
