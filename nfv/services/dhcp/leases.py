"""The leases of a server: in memory to be looked up, in SQLite to last.

Changes are gathered until `commit` writes them in one transaction, synced to the disk, so that many
messages share one wait: no answer that grants something may leave before. What is only offered is
not written.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path
from typing import Any, Generic, TypeVar

from nfv.errors import NfvError

Key = TypeVar("Key", IPv4Address, IPv6Network)
"""What is leased: an IPv4 address; an IPv6 address, as a prefix of 128 bits, or an IPv6 prefix."""

_Index = TypeVar("_Index", bytes, str)

_Packed = int | bytes
"""What is leased, as it is written; found in a dictionary ten times as fast as an address."""

DECLINE_LIFE = 3600.0
"""Seconds that an address is left alone after a client has found it in use."""

_EXPIRED = 512  # leases at most that run out in one go

_VERSION = 1
_COLUMNS = "address, state, client, hardware, hostname, agent, port, starts, ends, held"
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS {{table}} (
    address {{type}} PRIMARY KEY, state TEXT NOT NULL, client BLOB NOT NULL, hardware BLOB NOT NULL,
    hostname TEXT NOT NULL, agent BLOB NOT NULL, port TEXT NOT NULL,
    starts REAL NOT NULL, ends REAL NOT NULL, held REAL NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
"""
_WRITE = f"INSERT OR REPLACE INTO {{table}} ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_READ = f"SELECT {_COLUMNS} FROM {{table}}"


@dataclass(frozen=True)
class Kind(Generic[Key]):
    """How leases of one IP version are written."""

    table: str
    type: str  # in SQL, of what is leased
    packed: Callable[[Key], _Packed]
    unpacked: Callable[[Any], Key]


KIND4 = Kind[IPv4Address]("leases", "INTEGER", int, IPv4Address)
KIND6 = Kind[IPv6Network](
    "leases6",
    "BLOB",
    lambda network: network.network_address.packed + bytes((network.prefixlen,)),
    lambda packed: IPv6Network((packed[:-1], packed[-1])),
)


class State(str, Enum):
    """What an address is."""

    OFFERED = "offered"  # to a client that has not asked for it yet
    BOUND = "bound"
    RELEASED = "released"  # given back, or run out; the client gets it again if it is free
    DECLINED = "declined"  # somebody else uses it


@dataclass(frozen=True)
class Lease(Generic[Key]):
    """An address and its client, in seconds since the epoch."""

    address: Key
    state: State
    client: bytes  # what the client is known by
    hardware: bytes  # its hardware address
    hostname: str
    agent: bytes  # relay agent information (option 82) that it last came with
    port: str  # where it is: access point, or relay agent
    starts: float
    ends: float
    held: float  # `ends` or later: until then the fast path may promise it to the client again

    def is_taken(self, now: float) -> bool:
        """Whether nobody else may have the address."""
        return self.state is not State.RELEASED and self.held > now


Lease4 = Lease[IPv4Address]
Lease6 = Lease[IPv6Network]
AnyLease = Lease4 | Lease6


class Leases(Generic[Key]):
    """All leases of one function and IP version; at most one for an address."""

    def __init__(self, path: Path, kind: Kind[Key]) -> None:
        """Open the store, or make it. Raises `NfvError` if it cannot be read or written."""
        self._path = path
        self._kind: Kind[Key] = kind
        self._write = _WRITE.format(table=kind.table)
        self._packed: Callable[[Key], _Packed] = kind.packed
        self._by_address: dict[_Packed, Lease[Key]] = {}
        self._by_client: dict[bytes, set[_Packed]] = {}
        self._taken: dict[str, set[_Packed]] = {}  # by port
        self._ends: list[tuple[float, _Packed]] = []  # heap; entries may be out of date
        self._changed: dict[_Packed, Lease[Key] | None] = {}  # since the last commit: what was
        try:
            self._database = _opened(path, kind)
            for row in self._database.execute(_READ.format(table=kind.table)):
                self._place(row[0], _lease(kind, row))
        except (sqlite3.Error, ValueError) as error:
            hint = f"put it aside to begin anew: mv {path} {path}.bad"
            raise NfvError(f"the lease store {path} cannot be used: {error}", hint) from error

    def close(self) -> None:
        self._database.close()

    def __iter__(self) -> Iterator[Lease[Key]]:
        return iter(list(self._by_address.values()))

    def __len__(self) -> int:
        return len(self._by_address)

    def at(self, address: Key) -> Lease[Key] | None:
        """The lease of an address, whatever its state."""
        return self._by_address.get(self._packed(address))

    def of(self, client: bytes) -> Iterable[Lease[Key]]:
        """The leases of a client, those in force first."""
        found = [self._by_address[packed] for packed in self._by_client.get(client, ())]
        if len(found) < 2:
            return found
        return sorted(found, key=lambda lease: (lease.state is State.RELEASED, -lease.ends))

    def taken(self, port: str) -> int:
        """How many leases there are at an access point or relay agent."""
        return len(self._taken.get(port, ()))

    def put(self, lease: Lease[Key]) -> None:
        """Set the lease of an address."""
        packed = self._packed(lease.address)
        self._changed.setdefault(packed, self._by_address.get(packed))
        self._place(packed, lease)

    def quarantine(self, lease: Lease[Key], now: float) -> None:
        """Somebody else uses the address: nobody is given it for a while."""
        until = now + DECLINE_LIFE
        self.put(
            replace(lease, state=State.DECLINED, client=b"", starts=now, ends=until, held=until)
        )

    def drop(self, address: Key) -> None:
        """Forget an offer; it was never written."""
        self._forget(self._packed(address))

    def expire(self, now: float, promised: Callable[[Lease[Key]], float]) -> list[Lease[Key]]:
        """Turn leases that have run out into released ones, and forget offers that nobody took.

        Not all at once if they are many: then `is_behind`. Returns them as they were. `promised`
        makes sure that the fast path promises a lease no more, and says until when it did.
        """
        found = []
        for _ in range(_EXPIRED):
            if not self.is_behind(now):
                break
            _, packed = heapq.heappop(self._ends)
            lease = self._by_address.get(packed)
            if lease and lease.state is not State.RELEASED and lease.ends <= now:
                end = promised(lease) if lease.state is State.BOUND else now
                if end > now:
                    self.put(replace(lease, ends=end, held=end))
                    continue
                if lease.state is State.OFFERED:
                    self._forget(packed)
                else:
                    self.put(replace(lease, state=State.RELEASED))
                found.append(lease)
        return found

    def is_behind(self, now: float) -> bool:
        """Whether there may be leases that have run out."""
        return bool(self._ends) and self._ends[0][0] <= now

    def changes(self) -> list[tuple[Lease[Key] | None, Lease[Key]]]:
        """What `commit` will write: each lease as it was, and is."""
        return [
            (before, self._by_address[packed])
            for packed, before in self._changed.items()
            if packed in self._by_address
        ]

    def commit(self) -> list[tuple[Lease[Key] | None, Lease[Key]]]:
        """Write what has changed, and return it: each lease as it was, and is.

        Raises `NfvError` if it cannot be written; then the leases are what they were.
        """
        pairs = self.changes()
        changed, self._changed = self._changed, {}
        rows = [_row(self._kind, lease) for _, lease in pairs if lease.state is not State.OFFERED]
        if rows:
            try:
                with self._database:
                    self._database.executemany(self._write, rows)
            except sqlite3.Error as error:
                for packed, before in changed.items():
                    self._restore(packed, before)
                raise NfvError(f"leases cannot be written to {self._path}: {error}") from error
        return pairs

    def _place(self, packed: _Packed, lease: Lease[Key]) -> None:
        self._forget(packed)
        self._by_address[packed] = lease
        self._by_client.setdefault(lease.client, set()).add(packed)
        if lease.state is not State.RELEASED:
            self._taken.setdefault(lease.port, set()).add(packed)
            heapq.heappush(self._ends, (lease.ends, packed))

    def _forget(self, packed: _Packed) -> None:
        former = self._by_address.pop(packed, None)
        if former is not None:
            _discard(self._by_client, former.client, packed)
            _discard(self._taken, former.port, packed)

    def _restore(self, packed: _Packed, before: Lease[Key] | None) -> None:
        if before is None:
            self._forget(packed)
        else:
            self._place(packed, before)


def _discard(sets: dict[_Index, set[_Packed]], index: _Index, packed: _Packed) -> None:
    """Take an address out of its set; no empty set is kept."""
    if members := sets.get(index):
        members.discard(packed)
        if not members:
            del sets[index]


def _opened(path: Path, kind: Kind[Key]) -> sqlite3.Connection:
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version not in (0, _VERSION):
        raise ValueError(f"it is of version {version}, this program writes {_VERSION}")
    database.executescript(_SCHEMA.format(table=kind.table, type=kind.type))
    return database


def _row(kind: Kind[Key], lease: Lease[Key]) -> tuple[object, ...]:
    return (
        kind.packed(lease.address),
        lease.state.value,
        lease.client,
        lease.hardware,
        lease.hostname,
        lease.agent,
        lease.port,
        lease.starts,
        lease.ends,
        lease.held,
    )


def _lease(
    kind: Kind[Key], row: tuple[Any, str, bytes, bytes, str, bytes, str, float, float, float]
) -> Lease[Key]:
    address, state, client, hardware, hostname, agent, port, starts, ends, held = row
    known = client, hardware, hostname, agent, port, starts, ends, held
    return Lease(kind.unpacked(address), State(state), *known)


Leases4 = Leases[IPv4Address]
Leases6 = Leases[IPv6Network]
