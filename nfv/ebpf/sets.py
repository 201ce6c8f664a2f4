"""The named sets of a firewall in its maps, as sets.h reads them.

The map `sets` says which set has which bit, and what the file had in it when it was filled; so a
set that the file does not change keeps what was added to it and taken out meanwhile.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from nfv.ebpf.connections import Table
from nfv.ebpf.sources import constant

MAX_SETS = constant("match.h", "MATCH_SETS")

_SET = struct.Struct("=32s16s")  # struct self_set
_MEMBER = struct.Struct(f"={2 + MAX_SETS}I")  # struct self_member
_NUMBER = struct.Struct("=I")
_SLICE = 1024  # entries between two breaks

Key = bytes
"""An address as struct self_address."""


def key_of(packed: bytes) -> Key:
    """The key of an address, of which these are the bytes in network order."""
    return packed.ljust(16, b"\0") + _NUMBER.pack(4 if len(packed) == 4 else 6)


@dataclass(frozen=True)
class Member:
    """The sets that an address is in, and until when."""

    sets: int = 0
    timed: int = 0
    until: tuple[int, ...] = (0,) * MAX_SETS  # seconds of CLOCK_MONOTONIC

    @classmethod
    def unpack(cls, value: bytes) -> Member:
        """From a value of the map."""
        sets, timed, *until = _MEMBER.unpack(value)
        return cls(sets, timed, tuple(until))

    def pack(self) -> bytes:
        """As a value of the map."""
        return _MEMBER.pack(self.sets, self.timed, *self.until)

    def entered(self, bit: int, until: int | None) -> Member:
        """The same in one more set, for good or until a second."""
        timed = self.timed & ~(1 << bit) | (until is not None) << bit
        times = (*self.until[:bit], until or 0, *self.until[bit + 1 :])
        return Member(self.sets | 1 << bit, timed, times)

    def left(self, bits: int) -> Member:
        """The same in none of these sets."""
        return Member(self.sets & ~bits, self.timed & ~bits, self.until)

    def overdue(self, now: int) -> int:
        """The sets whose time is over."""
        late = sum(1 << bit for bit, until in enumerate(self.until) if until <= now)
        return late & self.timed


class Sets:
    """The sets of one firewall."""

    def __init__(self, members: Table, names: Table) -> None:
        self._members = members
        self._names = names

    @classmethod
    def among(cls, maps: Mapping[str, Table]) -> Sets | None:
        """Those in the maps of a firewall, if it has sets."""
        return cls(maps["members"], maps["sets"]) if "members" in maps else None

    @property
    def bits(self) -> dict[str, int]:
        """The bit of each set."""
        return {name: bit for bit, (name, _digest) in self._known()}

    def declare(self, declared: Mapping[str, Sequence[Key]]) -> dict[str, int]:
        """Make sets what the file says where it has changed; returns the bit of each.

        Sets that are not declared stay until `tidy`, if their bit is not needed.
        """
        known = {name: (bit, digest) for bit, (name, digest) in self._known()}
        used = {bit for bit, _digest in known.values()}
        kept = {known[name][0] for name in declared if name in known}
        others = [bit for bit in range(MAX_SETS) if bit not in kept]
        free = iter(sorted(others, key=lambda bit: bit in used))
        bits = {name: known[name][0] if name in known else next(free) for name in declared}
        for name, keys in declared.items():
            digest = _digest(keys)
            if known.get(name) != (bits[name], digest):
                self._replace(bits[name], keys)
                self._names.update(_NUMBER.pack(bits[name]), _SET.pack(name.encode(), digest))
        return bits

    def tidy(self, declared: Mapping[str, object]) -> None:
        """Forget sets that are not declared."""
        gone = [bit for name, bit in self.bits.items() if name not in declared]
        for bit in gone:
            self._replace(bit, ())
            self._names.update(_NUMBER.pack(bit), bytes(_SET.size))

    def add(self, bit: int, key: Key, until: int | None = None) -> None:
        """Put an address into a set, for good or until a second of CLOCK_MONOTONIC."""
        self._write(key, self._member(key).entered(bit, until))

    def remove(self, bit: int, key: Key) -> bool:
        """Take an address out of a set; False if it was not in it."""
        member = self._member(key)
        if member.sets >> bit & 1:
            self._write(key, member.left(1 << bit))
            return True
        return False

    def empty(self, bit: int) -> int:
        """Take all addresses out of a set; returns how many there were."""
        before = self.sizes()[bit]
        self._replace(bit, ())
        return before

    def sizes(self) -> list[int]:
        """How many addresses are in the set of each bit."""
        found = [0] * MAX_SETS
        for _key, value in self._members.items():
            (sets,) = _NUMBER.unpack_from(value)
            for bit in _numbers(sets):
                found[bit] += 1
        return found

    def expire(self, now: int) -> Generator[None, None, bool]:
        """Take out addresses whose time is over at a second; returns whether there were any.

        Yields between short steps.
        """
        changed = False
        for count, (key, value) in enumerate(self._members.items()):
            if _NUMBER.unpack_from(value, 4)[0]:
                member = Member.unpack(value)
                late = member.overdue(now)
                if late:
                    self._write(key, member.left(late))
                    changed = True
            if count % _SLICE == 0:
                yield
        return changed

    def _known(self) -> Iterator[tuple[int, tuple[str, bytes]]]:
        """By bit the name of a set, and the digest of what the file had in it."""
        for bit in range(MAX_SETS):
            value = self._names.lookup(_NUMBER.pack(bit))
            name, digest = _SET.unpack(value) if value else (b"", b"")
            if name.rstrip(b"\0"):
                yield bit, (name.rstrip(b"\0").decode(), digest)

    def _member(self, key: Key) -> Member:
        value = self._members.lookup(key)
        return Member.unpack(value) if value else Member()

    def _write(self, key: Key, member: Member) -> None:
        if member.sets:
            self._members.update(key, member.pack())
        else:
            self._members.delete(key)

    def _replace(self, bit: int, keys: Sequence[Key]) -> None:
        """Have these addresses in a set, and no others."""
        wanted = set(keys)
        there = list(self._members.items())
        for key, value in there:
            if _NUMBER.unpack_from(value)[0] >> bit & 1 and key not in wanted:
                self._write(key, Member.unpack(value).left(1 << bit))
        present = dict(there)
        for key in wanted:
            former = present.get(key)
            member = Member.unpack(former) if former else Member()
            self._members.update(key, member.entered(bit, None).pack())


def _digest(keys: Sequence[Key]) -> bytes:
    return blake2b(b"".join(sorted(keys)), digest_size=16).digest()


def _numbers(bits: int) -> Iterator[int]:
    while bits:
        yield (bits & -bits).bit_length() - 1
        bits &= bits - 1
