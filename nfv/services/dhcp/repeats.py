"""Answers that the fast path gives again (struct self_repeat and others of repeats.h).

Once a client was answered, the same message from it gets the same answer, as long as its address
is held for it on the disk. When that was, is read from the map of leases, which outlives this
process.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from nfv.dataplane.kernel.bpf import Map
from nfv.ebpf import sources
from nfv.errors import KernelError
from nfv.services.packets import IPPROTO_UDP

_HEADER = "repeats.h"
_FIXED = sources.constant(_HEADER, "SELF_FIXED")
_COMPARED = sources.constant(_HEADER, "SELF_COMPARED")
_MESSAGE = sources.constant(_HEADER, "SELF_MESSAGE")
_CHUNK = sources.constant(_HEADER, "SELF_CHUNK")
_REPLY = sources.constant(_HEADER, "SELF_REPLY")
_MIX = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1

_ASKED = struct.Struct("=QII6sH")
_REPEAT = struct.Struct(f"=IIQI2sH{_REPLY}s")
_LEASE = struct.Struct("=QQII")
_NANOSECONDS = 10**9

MOST = _REPLY - _MESSAGE
"""Bytes of an answer's message that can be given again, at most."""


@dataclass(frozen=True)
class Said:
    """What a client sent, and what it was told."""

    stage: int
    mac: bytes  # of the frame
    message: bytes
    answer: bytes  # frame, with transaction 0
    address: IPv4Address
    seconds: int  # that the answer promises
    extends: bool  # whether it extends the lease


class Repeats:
    """The answers and leases in one function's maps."""

    def __init__(self, answers: Map, leases: Map) -> None:
        """Take over the leases that are there; the answers may be out of date, and go."""
        self._answers = answers
        self._leases = leases
        self._memory = self._leases.memory()
        self._places: dict[IPv4Address, int] = {}
        self._seen: dict[int, int] = {}  # by place, as it was read last
        self._free = list(range(self._leases.max_entries - 1, -1, -1))
        for place, (_, _, address, _) in enumerate(self._read(self._leases.max_entries)):
            if address:
                self._places[_unpacked(address)] = place
        if self._places:
            taken = set(self._places.values())
            self._free = [place for place in self._free if place not in taken]
        for key, _ in list(self._answers.items()):
            self._answers.delete(key)

    @classmethod
    def open(cls, maps: Path) -> Repeats | None:
        """Those pinned in a directory; None if no program has them."""
        if not (maps / "repeats").exists():
            return None
        return cls(Map.open(maps / "repeats"), Map.open(maps / "leases"))

    def close(self) -> None:
        self._memory.close()
        self._answers.close()
        self._leases.close()

    def __contains__(self, address: IPv4Address) -> bool:
        return address in self._places

    def hold(self, address: IPv4Address, until: int, seconds: int) -> bool:
        """Let answers promise an address until a time (boot, ns); False if there is no room."""
        place = self._places.get(address)
        if place is None:
            if not self._free:
                return False
            place = self._places[address] = self._free.pop()
        # What programs compare with goes last; when it was seen, they write themselves.
        start = place * _LEASE.size
        struct.pack_into("=II", self._memory, start + 16, _packed(address), seconds)
        struct.pack_into("=Q", self._memory, start, until)
        return True

    def revoke(self, address: IPv4Address) -> tuple[int, int] | None:
        """Promise an address no more. When it was last (boot, ns; 0: never), for how many seconds.

        None if answers never promised it.
        """
        place = self._places.pop(address, None)
        if place is None:
            return None
        start = place * _LEASE.size
        struct.pack_into("=Q", self._memory, start, 0)  # first: then none is given
        _, seen, _, seconds = _LEASE.unpack_from(self._memory, start)
        self._memory[start : start + _LEASE.size] = bytes(_LEASE.size)
        self._seen.pop(place, None)
        self._free.append(place)
        return seen, seconds

    def renewed(self) -> Iterator[tuple[IPv4Address, int, int]]:
        """Addresses that were promised since the last call, when (boot, ns), and for how long."""
        most = max(self._places.values(), default=-1) + 1
        for place, (_, seen, address, seconds) in enumerate(self._read(most)):
            if address and seen != self._seen.get(place, 0):
                self._seen[place] = seen
                yield _unpacked(address), seen, seconds

    def remember(self, said: Said) -> None:
        """Give an answer again from now on, if it can be; its address must be held."""
        place = self._places.get(said.address)
        length = len(said.message)
        if place is None or length % 4 or length > _FIXED + 4 * _COMPARED:
            return
        if len(said.answer) > _REPLY or len(said.answer) % _CHUNK:
            return
        key = _ASKED.pack(digest(said.message), said.stage, length, said.mac, 0)
        value = _REPEAT.pack(
            place,
            _packed(said.address),
            said.seconds * _NANOSECONDS,
            len(said.answer),
            _partial(said.answer),
            said.extends,
            said.answer,
        )
        with suppress(KernelError):  # it is a cache
            self._answers.update(key, value)

    def _read(self, most: int) -> Iterator[tuple[int, int, int, int]]:
        return _LEASE.iter_unpack(self._memory[: most * _LEASE.size])


def digest(message: bytes) -> int:
    """As self_ask and self_digest of repeats.h: of all but the transaction and the seconds."""
    flags = int.from_bytes(message[10:12], "little")
    words = [int.from_bytes(message[:4], "little"), flags]
    words += [word for (word,) in struct.iter_unpack("=I", message[_FIXED:])]
    found = _MIX
    for word in words:
        found = ((found ^ word) * _MIX) & _MASK
        found ^= found >> 29
    return found


def _partial(frame: bytes) -> bytes:
    """The pseudo-header's sum, as a checksum holds it that is yet to be completed (RFC 768)."""
    addresses = struct.unpack_from("!4H", frame, 26)
    total = sum(addresses) + IPPROTO_UDP + len(frame) - 34
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(total).to_bytes(2, "big")


def _packed(address: IPv4Address) -> int:
    return int.from_bytes(address.packed, "little")


def _unpacked(number: int) -> IPv4Address:
    return IPv4Address(number.to_bytes(4, "little"))
