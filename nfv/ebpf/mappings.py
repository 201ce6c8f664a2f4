"""Aging of the mappings that include/mappings.h keeps. Pure: maps come as a protocol."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import Protocol

from nfv.ebpf import portblocks
from nfv.ebpf.connections import FLOW_LIFE, Occupancy, Table
from nfv.ebpf.natplan import WORD, Numbers, Plan, bits_of, masquerade

_PROTOCOL = struct.Struct("=I")  # the end of struct self_inner
MAPPING = struct.Struct("=4sHHII")  # struct self_mapping: address, port, flags, seen, since
_INNER = struct.Struct("=4s4sHHI")  # struct self_inner: address, remote, their ports, protocol
_OUTER = struct.Struct("=4sHH")  # struct self_outer: address, port, protocol
ORIGIN = struct.Struct("=4s4sHHII")  # struct self_origin: as in self_inner; flags, seen
_PERMIT = struct.Struct("=4sII")  # struct self_permit: address, port, seen

_ICMP, TCP, _UDP = 1, 6, 17
NAMES = {_ICMP: "icmp", TCP: "tcp", _UDP: "udp", 33: "dccp", 136: "udplite"}
_TIMEOUT_SHIFT = 8  # of the timeout of what is held, in its flags
_SLICE = 1024  # entries between two breaks
_COUNT = struct.Struct("=I")  # of mappings, in the maps `made` and `ended`
_ASKED = 60.0  # seconds after which it is asked whether the mapping of an entry is still there


class Flag(IntFlag):
    """SELF_FIN and those that follow it."""

    FIN = 1
    RST = 2
    ANSWERED = 4
    HELD = 8


class Timeouts(Protocol):
    """Seconds that a mapping may be idle."""

    @property
    def tcp(self) -> int: ...
    @property
    def tcp_transitory(self) -> int: ...
    @property
    def udp(self) -> int: ...
    @property
    def icmp(self) -> int: ...
    @property
    def other(self) -> int: ...


@dataclass(frozen=True)
class Sweep:
    """One pass over the mappings of a NAT."""

    maps: Mapping[str, Table]
    age: Callable[[int], float]  # seconds since some jiffies
    plan: Plan
    timeouts: Timeouts
    hold_down: int  # seconds

    def run(self) -> Generator[None, None, Mapping[str, Occupancy]]:
        """Remove what is over; returns what remains. Yields between short steps."""
        if "outward" not in self.maps:  # in no chain
            return {}
        numbers = Numbers(self.plan, masquerade(self.maps["site"].memory()[:8]))
        found = {"outward": (yield from self._end_mappings(numbers))}
        found["inward"] = yield from self._free_ports(numbers)
        if "permits" in self.maps:
            found["permits"] = yield from self._end_permits()
        return found

    def _end_mappings(self, numbers: Numbers) -> Generator[None, None, Occupancy]:
        outward, used, alive = self.maps["outward"], 0, set[bytes]()
        for number, (key, value) in enumerate(outward.items(), 1):
            timeout = self._timeout(key, value, numbers)
            idle = self.age(MAPPING.unpack(value)[3]) - FLOW_LIFE
            if idle > timeout and outward.lookup(key) == value:
                self._count_end(key, outward.delete(key))
                self._hold(key, value, timeout)
            else:
                used += 1
                alive.add(key[:4])
            if number % _SLICE == 0:
                yield
        self._forget_counts(alive)
        return Occupancy(used, outward.max_entries)

    def _count_end(self, key: bytes, is_ended: bool) -> None:
        """Count for its inside address a mapping that the agent has ended (quota.h)."""
        if "ended" not in self.maps or not is_ended:
            return
        before = self.maps["ended"].lookup(key[:4])
        count = _COUNT.unpack(before)[0] + 1 if before else 1
        self.maps["ended"].update(key[:4], _COUNT.pack(count & 0xFFFFFFFF))

    def _forget_counts(self, alive: Collection[bytes]) -> None:
        """Begin anew with inside addresses that have no mapping."""
        for name in ("made", "ended") if "made" in self.maps else ():
            for inside, _count in list(self.maps[name].items()):
                if inside not in alive:
                    self.maps[name].delete(inside)

    def _timeout(self, key: bytes, value: bytes, numbers: Numbers) -> int:
        """Seconds that a mapping may be idle; less than nothing where its address is given up."""
        address, _port, flags, seen, _since = MAPPING.unpack(value)
        if numbers.of(address) is None:
            return -FLOW_LIFE - 1
        (protocol,) = _PROTOCOL.unpack_from(key, len(key) - _PROTOCOL.size)
        if protocol == TCP and self.age(seen) > self.timeouts.tcp_transitory:
            origin = self.maps["inward"].lookup(outer(key, value))
            if origin is None or is_transitory(flags, ORIGIN.unpack(origin)[4]):
                return self.timeouts.tcp_transitory
        return self._longest(protocol)

    def _longest(self, protocol: int) -> int:
        """Seconds that a mapping of a protocol may be idle at most."""
        known = {TCP: self.timeouts.tcp, _UDP: self.timeouts.udp, _ICMP: self.timeouts.icmp}
        return known.get(protocol, self.timeouts.udp if protocol in NAMES else self.timeouts.other)

    def _hold(self, key: bytes, value: bytes, timeout: int) -> None:
        """Keep the outside endpoint of a mapping that is over from others for a while."""
        inward, place = self.maps["inward"], outer(key, value)
        origin = inward.lookup(place)
        if origin is None:
            return
        if not self.hold_down or timeout < 0:
            inward.delete(place)
            return
        address, remote, port, remote_port, _flags, _seen = ORIGIN.unpack(origin)
        flags = Flag.HELD | timeout << _TIMEOUT_SHIFT
        seen = MAPPING.unpack(value)[3]
        inward.update(place, ORIGIN.pack(address, remote, port, remote_port, flags, seen))

    def _free_ports(self, numbers: Numbers) -> Generator[None, None, Occupancy]:
        """Remove what was held for long enough; tell the fast path which ports are taken."""
        inward, used = self.maps["inward"], 0
        taken = array("Q", bytes(8 * self.plan.port_words))
        for count, (key, value) in enumerate(inward.items(), 1):
            address, port, protocol = _OUTER.unpack(key)
            number = numbers.of(address)
            if number is None or self._is_free(value) or self._is_left(key, value):
                inward.delete(key)
            else:
                used += 1
                bit = int.from_bytes(port.to_bytes(2, "little"), "big")
                taken[bits_of(number, kind_of(protocol)) + bit // WORD] |= 1 << bit % WORD
            if count % _SLICE == 0:
                yield
        portblocks.mark(self.maps, numbers, taken)
        memory = self.maps["ports"].memory()
        memory[: len(taken) * 8] = taken.tobytes()
        memory.close()
        return Occupancy(used, inward.max_entries)

    def _is_free(self, value: bytes) -> bool:
        *_inside, flags, seen = ORIGIN.unpack(value)
        timeout = (flags >> _TIMEOUT_SHIFT) + FLOW_LIFE
        return bool(flags & Flag.HELD) and self.age(seen) > timeout + self.hold_down

    def _is_left(self, key: bytes, value: bytes) -> bool:
        """Whether an agent that was killed has ended the mapping, and not freed the port."""
        address, remote, port, remote_port, flags, seen = ORIGIN.unpack(value)
        if flags & Flag.HELD or self.age(seen) < _ASKED:
            return False
        inner = _INNER.pack(address, remote, port, remote_port, _OUTER.unpack(key)[2])
        mapping = self.maps["outward"].lookup(inner)
        return mapping is None or outer(inner, mapping) != key

    def _end_permits(self) -> Generator[None, None, Occupancy]:
        permits, used = self.maps["permits"], 0
        for number, (key, value) in enumerate(permits.items(), 1):
            if self._is_permit_over(key, value) and permits.lookup(key) == value:
                permits.delete(key)
            else:
                used += 1
            if number % _SLICE == 0:
                yield
        return Occupancy(used, permits.max_entries)

    def _is_permit_over(self, key: bytes, value: bytes) -> bool:
        place = key[: _OUTER.size]
        idle = self.age(_PERMIT.unpack(value)[2])
        if idle < _ASKED:
            return False
        (protocol,) = _OUTER.unpack(place)[2:]
        return idle > self._longest(protocol) + FLOW_LIFE or not self._is_mapped(place)

    def _is_mapped(self, outer: bytes) -> bool:
        origin = self.maps["inward"].lookup(outer)
        return origin is not None and not ORIGIN.unpack(origin)[4] & Flag.HELD


def is_transitory(outward: int, inward: int) -> bool:
    """Whether a connection is only being opened, or was closed, by the flags of both directions."""
    if not inward & Flag.ANSWERED or (outward | inward) & Flag.RST:
        return True
    return bool(outward & inward & Flag.FIN)


def kind_of(protocol: int) -> int:
    """The kind of a protocol whose ports compete with each other (`self_first_bits`)."""
    return {TCP: 0, _UDP: 1}.get(protocol, 2)


def outer(key: bytes, value: bytes) -> bytes:
    """The outside endpoint of a mapping, as the other table has it."""
    address, port, *_rest = MAPPING.unpack(value)
    (protocol,) = _PROTOCOL.unpack_from(key, len(key) - _PROTOCOL.size)
    return _OUTER.pack(address, port, protocol)
