"""Zones that change by themselves, in SQLite: as they were, and each change since, synced to disk.

What is written is what another may already have been told: an update is stored before it is
acknowledged, a copy of another server's zone as it is taken over.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import dns.exception
import dns.name
import dns.rdata
import dns.wire
from dns.name import Name
from dns.rdataset import Rdataset

from nfv.errors import NfvError
from nfv.services.dns.changes import Change, changed
from nfv.services.dns.message import Records
from nfv.services.dns.zone import Zone

_VERSION = 1
_SCHEMA = f"""
CREATE TABLE zones (
    origin TEXT PRIMARY KEY, records BLOB NOT NULL, declared BLOB NOT NULL, confirmed REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE changes (
    number INTEGER PRIMARY KEY, origin TEXT NOT NULL,
    before BLOB NOT NULL, after BLOB NOT NULL, removed BLOB NOT NULL, added BLOB NOT NULL
);
CREATE INDEX changes_of ON changes (origin, number);
PRAGMA user_version = {_VERSION};
"""
_PUT = "INSERT OR REPLACE INTO zones (origin, records, declared, confirmed) VALUES (?, ?, ?, ?)"
_ADD = "INSERT INTO changes (origin, before, after, removed, added) VALUES (?, ?, ?, ?, ?)"
_CHANGES = "SELECT before, after, removed, added FROM changes WHERE origin = ? ORDER BY number"

_MIN_COMPACTION = 1024  # records in changes, from which on a zone is written anew
_RECORD = struct.Struct("!HHIH")  # type, class, TTL, length of the data (RFC 1035, section 3.2.1)


@dataclass(frozen=True)
class Stored:
    """A zone as it is on the disk."""

    zone: Zone
    declared: Zone | None  # what the topology file said of it when it was stored
    confirmed: float  # when its primary server said that it is current; seconds since the epoch
    backlog: int = 0  # records in changes


class Store:
    """The zones of one function that change by themselves."""

    def __init__(self, path: Path) -> None:
        """Open it, or make it. Raises `NfvError` if it cannot be read or written."""
        self._path = path
        self._known: dict[Name, Stored] = {}
        try:
            self._database = _opened(path)
            for row in self._database.execute("SELECT * FROM zones").fetchall():
                stored = self._read(*row)
                self._known[stored.zone.origin] = stored
        except (sqlite3.Error, ValueError, struct.error, dns.exception.DNSException) as error:
            hint = f"put it aside to begin anew: mv {path} {path}.bad"
            raise NfvError(f"the zone store {path} cannot be used: {error}", hint) from error

    def close(self) -> None:
        self._database.close()

    def find(self, origin: Name) -> Stored | None:
        """A zone as it was stored last."""
        return self._known.get(origin)

    def put(self, stored: Stored) -> None:
        """Store a whole zone. Raises `NfvError` if that cannot be."""
        origin = stored.zone.origin
        declared = _to_wire(stored.declared) if stored.declared else b""
        row = (origin.to_text(), _to_wire(stored.zone), declared, stored.confirmed)
        with self._transaction():
            self._database.execute("DELETE FROM changes WHERE origin = ?", row[:1])
            self._database.execute(_PUT, row)
        self._known[origin] = replace(stored, backlog=0)

    def change(self, zone: Zone, change: Change) -> None:
        """Store the next version of a zone that was stored. Raises `NfvError`."""
        stored = replace(self._known[zone.origin], zone=zone)
        stored = replace(stored, backlog=stored.backlog + change.size)
        if stored.backlog > max(_MIN_COMPACTION, len(zone.nodes)):
            self.put(stored)
            return
        origin = zone.origin
        parts = ([(origin, change.before)], [(origin, change.after)], change.removed, change.added)
        with self._transaction():
            row = (origin.to_text(), *(_to_wire(part) for part in parts))
            self._database.execute(_ADD, row)
        self._known[origin] = stored

    def confirm(self, origin: Name, when: float) -> None:
        """Note that a zone is current. Raises `NfvError`."""
        with self._transaction():
            row = (when, origin.to_text())
            self._database.execute("UPDATE zones SET confirmed = ? WHERE origin = ?", row)
        self._known[origin] = replace(self._known[origin], confirmed=when)

    def keep(self, origins: Iterable[Name]) -> None:
        """Forget all other zones. Raises `NfvError`."""
        gone = self._known.keys() - set(origins)
        with self._transaction():
            for origin in gone:
                for table in ("zones", "changes"):
                    self._database.execute(
                        f"DELETE FROM {table} WHERE origin = ?", (origin.to_text(),)
                    )
                del self._known[origin]

    def _read(self, origin: str, records: bytes, declared: bytes, confirmed: float) -> Stored:
        name = dns.name.from_text(origin)
        zone = _to_zone(name, records)
        backlog = 0
        for before, after, removed, added in self._database.execute(_CHANGES, (origin,)):
            change = Change(
                next(_from_wire(before))[1],
                next(_from_wire(after))[1],
                tuple(_from_wire(removed)),
                tuple(_from_wire(added)),
            )
            zone = changed(zone, change)
            backlog += change.size
        return Stored(zone, _to_zone(name, declared) if declared else None, confirmed, backlog)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """What is executed within it is on the disk when it ends, or not at all."""
        try:
            with self._database:
                yield
        except sqlite3.Error as error:
            raise NfvError(f"the zone store {self._path} cannot be written: {error}") from error


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version == 0:
        database.executescript(_SCHEMA)
    elif version != _VERSION:
        raise ValueError(f"it is of version {version}, and this needs {_VERSION}")
    return database


def _to_zone(origin: Name, wire: bytes) -> Zone:
    records = ((name, found.ttl, found[0]) for name, found in _from_wire(wire))
    return Zone(origin, records)


def _to_wire(sets: Iterable[Records]) -> bytes:
    """Records one after the other, as in a message, without compression."""
    parts = []
    for name, found in sets:
        owner = name.to_wire()
        assert owner is not None
        for rdata in found:
            data = rdata.to_wire()
            assert data is not None
            parts += [owner, _RECORD.pack(found.rdtype, found.rdclass, found.ttl, len(data)), data]
    return b"".join(parts)


def _from_wire(wire: bytes) -> Iterator[Records]:
    """Each record by itself."""
    parser = dns.wire.Parser(wire)
    while parser.remaining():
        name = parser.get_name()
        rdtype, rdclass, ttl, length = parser.get_struct(_RECORD.format)
        with parser.restrict_to(length):
            rdata = dns.rdata.from_wire_parser(rdclass, rdtype, parser)
        found = Rdataset(rdata.rdclass, rdata.rdtype)
        found.add(rdata, ttl)
        yield name, found
