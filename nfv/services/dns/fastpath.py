"""The answers that the fast path gives by itself: struct self_answer of answers.h.

Whatever was answered over UDP and is short enough is put there, ready to be sent to the next who
asks the same. It is a cache and never the truth: when the zones change, there is another epoch, and
all answers are void at once.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from mmap import mmap

from dns.rdatatype import RdataType

from nfv.ebpf import sources
from nfv.services.dns import cookies, limits
from nfv.services.dns.message import Query
from nfv.services.dns.zone import Node, Zone

MAX_NAME = sources.constant("questions.h", "SELF_NAME")
MAX_LABELS = sources.constant("questions.h", "SELF_LABELS")
MAX_DATA = sources.constant("answers.h", "SELF_DATA")

_WORD = 8
_KIND_SIZE = 4  # type and class
_KIND = struct.Struct("!HH")
_MESSAGE = struct.Struct("!6H")
_MIX_PLACE = 0x9E3779B97F4A7C15
_MIX_PRINT = 0xC2B2AE3D27D4EB4F
_MASK64 = (1 << 64) - 1
_MASK32 = (1 << 32) - 1

_MAX_MOVES = 200  # places that are looked at for a free one

_KEPT_FLAGS = 0xFFFF & ~0x0110  # all but RD and CD, which are the query's
_TRUNCATED = 0x0200

_PRINT = struct.Struct("=Q")
_OWNER = struct.Struct("=QI14xH")  # print, epoch and whether it lasts
_ANSWER = struct.Struct(f"=QIIH2s6sHI{MAX_DATA}s")
_SERVER = struct.Struct("=6s2xIIQQQQQQII4s4x")
_EPOCH = slice(8, 12)  # of the server
_TIME = slice(_SERVER.size - 8, _SERVER.size - 4)


Memory = memoryview | mmap
"""The bytes of an array map, shared with the programs that read it."""


@dataclass(frozen=True)
class Prepared:
    """An answer without its question; the numbers as they stand in the message."""

    flags: int
    counts: bytes  # of the answer, authority and additional sections
    data: bytes
    begins_odd: bool  # the data begins at an odd byte of the message


def prepare(query: Query, answer: bytes) -> Prepared | None:
    """What can be kept of an answer; None if the fast path cannot give it."""
    name = query.wire_name
    if not _WORD <= len(name) <= MAX_NAME or len(query.name) > MAX_LABELS:
        return None
    begin = _MESSAGE.size + len(name) + _KIND_SIZE
    end = len(answer) - query.opt_bytes
    _id, flags, _questions, found, authority, additional = _MESSAGE.unpack_from(answer)
    if flags & _TRUNCATED or end - begin > MAX_DATA:
        return None
    counts = struct.pack("!3H", found, authority, additional - query.has_edns)
    return Prepared(flags & _KEPT_FLAGS, counts, answer[begin:end], bool(begin & 1))


@dataclass(frozen=True)
class Server:
    """What programs are told of a name server; what is random is unknown to others."""

    mac: bytes
    seeds: tuple[int, int]  # of the table
    keys: tuple[int, int] = (0, 0)  # of cookies
    rate: int = 0  # answers a second to a network, 0 for any number
    slip: int = 0  # of so many queries beyond that one is answered, truncated


class Answers:
    """The table of answers, in memory shared with the programs that read it."""

    def __init__(self, memory: Memory, head: Memory, server: Server) -> None:
        """Begins empty: with another epoch than whatever is there.

        `memory` is that of the map of answers, whose size is a power of two; `head` that of
        struct self_server.
        """
        self._memory = memory
        self._head = head
        self._seeds = server.seeds
        self._mask = len(memory) // _ANSWER.size - 1
        self._epoch = self._after(_SERVER.unpack_from(head)[1])
        self._victim = 0
        head[: _SERVER.size] = _SERVER.pack(
            server.mac,
            self._epoch,
            self._mask,
            *server.seeds,
            *server.keys,
            *limits.pace(server.rate),
            limits.BUCKETS - 1,
            server.slip,
            cookies.now(),
        )

    def forget(self) -> None:
        """Void all answers, in one store."""
        self._epoch = self._after(self._epoch)
        self._head[_EPOCH] = self._epoch.to_bytes(4, sys.byteorder)

    def tick(self) -> None:
        """Tell programs what time it is: cookies say when they were made."""
        self._head[_TIME] = cookies.now()

    @staticmethod
    def _after(epoch: int) -> int:
        return (epoch + 1) & _MASK32 or 1

    def put(
        self, query: Query, prepared: Prepared, *, lasting: bool = False, until: int = 0
    ) -> None:
        """Have the fast path give an answer from here on, or until some jiffies.

        Answers to names that do not exist are without number: what is to last keeps its place.
        """
        index, fingerprint = self._hashes(query.wire_name.lower(), query.type, query.rdclass)
        chosen = self._choose(index, fingerprint, lasting)
        if chosen is None:
            return
        at = chosen * _ANSWER.size
        _PRINT.pack_into(self._memory, at, 0)
        _ANSWER.pack_into(
            self._memory,
            at,
            0,
            self._epoch,
            _sum(prepared.data, prepared.begins_odd),
            len(prepared.data),
            struct.pack("!H", prepared.flags),
            prepared.counts,
            lasting,
            until,
            prepared.data,
        )
        _PRINT.pack_into(self._memory, at, fingerprint)

    def _choose(self, index: int, fingerprint: int, lasting: bool) -> int | None:
        """The place for an answer: its own, a void one, or in turn one that does not last."""
        void, others = [], []
        places = self._places(index, fingerprint)
        for candidate in places:
            there, lasts = self._owner(candidate)
            if there == fingerprint:
                return None if lasts and not lasting else candidate
            if not there:
                void.append(candidate)
            elif not lasts:
                others.append(candidate)
        if void:
            return void[0]
        self._victim += 1
        if others:
            return others[self._victim % len(others)]
        return self._make_room(places) if lasting else None

    def _places(self, index: int, fingerprint: int) -> list[int]:
        """Where an answer may be: two pairs of places (as self_find looks for it)."""
        first = index & self._mask & ~1
        second = (index ^ fingerprint >> 32) & self._mask & ~1
        return [first, first + 1, second, second + 1]

    def _owner(self, place: int) -> tuple[int, int]:
        """The fingerprint at a place, 0 if it is void, and whether the answer lasts."""
        there, epoch, lasts = _OWNER.unpack_from(self._memory, place * _ANSWER.size)
        return (there, lasts) if epoch == self._epoch else (0, 0)

    def _make_room(self, places: Sequence[int]) -> int | None:
        """Move answers to their other places until one of these is free (cuckoo hashing)."""
        moves: dict[int, int | None] = dict.fromkeys(places)  # place -> who is to move there
        queue = list(places)
        for place in queue:
            there, lasts = self._owner(place)
            if not lasts:
                return self._move(place, moves)
            for other in self._places(place, there):
                if other not in moves and len(queue) < _MAX_MOVES:
                    moves[other] = place
                    queue.append(other)
        return None

    def _move(self, free: int, moves: Mapping[int, int | None]) -> int:
        """Do what leads to a free place; the place that is free then.

        Every answer is at its new place before the former one is given up.
        """
        size = _ANSWER.size
        while (source := moves[free]) is not None:
            at, start = free * size, source * size
            _PRINT.pack_into(self._memory, at, 0)
            whole = bytes(self._memory[start : start + size])
            self._memory[at + _PRINT.size : at + size] = whole[_PRINT.size :]
            self._memory[at : at + _PRINT.size] = whole[: _PRINT.size]
            free = source
        return free

    def _hashes(self, name: bytes, rdtype: int, rdclass: int) -> tuple[int, int]:
        """Place and fingerprint of a question, as self_read_question finds them."""
        words = list(_words(len(name) // _WORD).unpack_from(name))
        if len(name) % _WORD:
            words.append(int.from_bytes(name[-_WORD:], "little"))
        words.append(int.from_bytes(_KIND.pack(rdtype, rdclass), "little"))
        place, fingerprint = (seed ^ len(name) for seed in self._seeds)
        for word in words:
            place = (place ^ word) * _MIX_PLACE & _MASK64
            place ^= place >> 32
            fingerprint = (fingerprint ^ word) * _MIX_PRINT & _MASK64
            fingerprint ^= fingerprint >> 32
        return place >> 32, fingerprint


@cache
def _words(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}Q")


def _sum(data: bytes, is_odd: bool) -> int:
    """What data adds to a checksum (RFC 1071), in the byte order of this machine."""
    padded = (b"\0" if is_odd else b"") + data
    return int.from_bytes(padded, sys.byteorder) % 0xFFFF or 0xFFFF


def types_of(node: Node) -> frozenset[RdataType]:
    """The types that a name is asked for: those that it has, and addresses in any case."""
    return frozenset({RdataType.A, RdataType.AAAA, *node})


def answers_of(zone: Zone) -> int:
    """How many answers a zone has for the names in it."""
    return sum(len(types_of(node)) for node in zone.nodes.values())


def capacity(answers: int) -> int:
    """Places for so many answers: a power of two, of which a fifth or more is free."""
    return max(1 << 14, 1 << (answers * 5 // 4).bit_length())
