"""What other name servers have said, for as long as it holds, and longer where they fall silent.

TTL by RFC 1035 section 3.2.1, of negative answers by RFC 2308 section 5; stale ones by RFC 8767.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from dns.name import Name
from dns.rcode import Rcode
from dns.rdataclass import RdataClass
from dns.rdatatype import RdataType

from nfv.services.dns.message import Query, Records, Reply

FAILURE_TTL = 5
"""Seconds for which a failure is not tried again (RFC 9520, section 3.2)."""

STALE_TTL = 30
"""Seconds that a stale answer holds for who is given it (RFC 8767, section 4)."""

Key = tuple[Name, RdataType, RdataClass, bool, bool]
"""Name, type and class; whether DNSSEC records are wanted, and whether checking is disabled."""


@dataclass(frozen=True)
class Known:
    """An answer with the moment when it came."""

    rcode: Rcode
    flags: int
    answer: Sequence[Records]
    authority: Sequence[Records]
    since: float  # seconds of some clock
    ttl: int  # seconds

    def left(self, now: float) -> float:
        """Seconds for which it holds; negative for how long it has not."""
        return self.since + self.ttl - now

    def reply(self, now: float) -> Reply:
        """The answer with its TTLs as they are at that moment."""
        age = int(now - self.since)
        stale = self.left(now) <= 0
        return Reply(
            self.rcode,
            self.flags,
            [_aged(one, age, stale) for one in self.answer],
            [_aged(one, age, stale) for one in self.authority],
        )


def _aged(records: Records, age: int, stale: bool) -> Records:
    name, found = records
    aged = copy.copy(found)
    aged.ttl = STALE_TTL if stale else max(0, found.ttl - age)
    return name, aged


class Cache:
    """Answers by question; the one that was used least recently makes room."""

    def __init__(self, capacity: int, stale: float) -> None:
        """`stale` is for how many seconds an answer is kept after its time."""
        self._capacity = capacity
        self._stale = stale
        self._known: OrderedDict[Key, Known] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, key: Key, now: float) -> Known | None:
        """What is known, possibly stale."""
        found = self._known.get(key)
        if found is None:
            return None
        if found.left(now) < -self._stale:
            del self._known[key]
            return None
        self._known.move_to_end(key)
        return found

    def put(self, key: Key, known: Known, now: float) -> None:
        """Take an answer in. A failure does not take the place of what is still of use."""
        former = self.find(key, now)
        if known.rcode == Rcode.SERVFAIL and former and former.rcode != Rcode.SERVFAIL:
            return
        self._known[key] = known
        self._known.move_to_end(key)
        if len(self._known) > self._capacity:
            self._known.popitem(last=False)


def key_of(query: Query) -> Key:
    """What answers to a query differ by."""
    name = query.name.canonicalize()
    return name, query.type, query.rdclass, query.wants_dnssec, query.disables_checking
