"""The zones that a function has: declared, changed by updates, or copied from other servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import dns.name
import dns.rdatatype
import dns.tsig
from dns.name import Name

from nfv.functions.dns import Dns
from nfv.services.base import Answer, Place
from nfv.services.dns.changes import changed, difference
from nfv.services.dns.connection import MakeSocket, Server
from nfv.services.dns.copies import Copy, Origin
from nfv.services.dns.serials import after
from nfv.services.dns.signatures import Keys
from nfv.services.dns.store import Store, Stored
from nfv.services.dns.zone import Zone

_STORE = "zones.db"


class Holdings:
    """All zones of one function but the directory's."""

    def __init__(self, place: Place, make: MakeSocket, publish: Callable[[], None]) -> None:
        """`publish` is called when a zone has changed by itself. Raises `NfvError`."""
        self._log = place.log
        self._make = make
        self._publish = publish
        self._store = Store(place.data / _STORE)
        self._zones: dict[Name, Zone] = {}
        self._writers: dict[Name, Sequence[dns.tsig.Key]] = {}
        self.copies: dict[Name, Copy] = {}

    def configure(self, function: Dns, keys: Keys, serial: int) -> None:
        """Have the zones of a configuration; `serial` is of those that have none of their own.

        Raises `NfvError`.
        """
        self._zones, self._writers = {}, {}
        origins: dict[Name, Origin] = {}
        for text, given in function.config.zones.items():
            name = dns.name.from_text(text)
            if given.primary:
                origins[name] = Origin(
                    name,
                    tuple(Server.parse(server) for server in given.primary),
                    keys[dns.name.from_text(given.key)] if given.key else None,
                )
                continue
            zone = function.zones[name]
            number = serial if given.is_unnumbered else zone.serial
            if given.update:
                self._writers[name] = tuple(keys[dns.name.from_text(k)] for k in given.update)
                self._zones[name] = self._merged(zone, number)
            else:
                self._zones[name] = zone.renumbered(number)
        self._copy(origins)
        self._store.keep([*self._writers, *origins])

    def zones(self) -> Iterator[Zone]:
        """Those that can be told of."""
        yield from self._zones.values()
        for copy in self.copies.values():
            if copy.zone is not None:
                yield copy.zone

    def missing(self) -> Iterator[Name]:
        """Zones of which nothing is known that holds."""
        return (origin for origin, copy in self.copies.items() if copy.zone is None)

    def find(self, origin: Name) -> Zone | None:
        """A zone that was declared, as it is."""
        return self._zones.get(origin)

    def may_change(self, origin: Name, key: dns.tsig.Key | None) -> bool:
        """Whether who has signed with a key may change a zone."""
        return key in self._writers.get(origin, ())

    def change(self, zone: Zone) -> None:
        """Take over the next version of a zone, durably. Raises `NfvError` if that cannot be."""
        self._store.change(zone, difference(self._zones[zone.origin], zone))
        self._zones[zone.origin] = zone
        self._publish()

    def status(self) -> Answer:
        """How each copy is."""
        return {name.to_text(True): copy.status() for name, copy in self.copies.items()}

    def close(self) -> None:
        for copy in self.copies.values():
            copy.close()
        self._store.close()

    def _copy(self, origins: dict[Name, Origin]) -> None:
        """Have the copies of these zones, and no others."""
        for name, copy in list(self.copies.items()):
            if origins.get(name) != copy.origin:
                self.copies.pop(name).close()
        for name, origin in origins.items():
            if name not in self.copies:
                self.copies[name] = Copy(origin, self._make, self._store, self._publish, self._log)

    def _merged(self, declared: Zone, serial: int) -> Zone:
        """A zone as updates have left it, and what the topology file says differently since."""
        stored = self._store.find(declared.origin)
        if stored is None or stored.declared is None:
            zone = declared.renumbered(serial)
        else:
            edit = difference(stored.declared, declared)
            is_same = edit.before[0].replace(serial=0) == edit.after[0].replace(serial=0)
            if is_same and not edit.removed and not edit.added:
                return stored.zone
            zone = changed(stored.zone, edit).renumbered(after(stored.zone.serial, serial))
        self._store.put(Stored(zone, declared, 0.0))
        return zone
