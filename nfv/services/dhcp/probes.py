"""Whether somebody uses an address that is about to be offered (RFC 2131, section 2.2).

The link is asked by ARP. Meanwhile the offer waits, and it alone: it leaves when nobody has
answered in time.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Generic, TypeVar

_MOST = 256  # offers that wait; what is beyond is not probed
_TRUSTED = 30.0  # seconds that an address need not be probed again for its client

Offer = TypeVar("Offer")


@dataclass(frozen=True)
class _Waiting(Generic[Offer]):
    offer: Offer
    client: bytes  # its MAC address
    timer: asyncio.TimerHandle


class Probes(Generic[Offer]):
    """The offers that wait for a probe."""

    def __init__(self, give: Callable[[Offer], None]) -> None:
        """`give` is called with an offer whose address nobody uses."""
        self._give = give
        self._waiting: dict[IPv4Address, _Waiting[Offer]] = {}
        self._probed: OrderedDict[IPv4Address, tuple[bytes, float]] = (
            OrderedDict()
        )  # for whom, when

    def begin(self, address: IPv4Address, client: bytes, offer: Offer, seconds: float) -> bool:
        """Let an offer wait; whether the link is to be asked. An offer that need not wait leaves.

        One for an address that is being probed takes the place of the former.
        """
        loop = asyncio.get_running_loop()
        former = self._waiting.get(address)
        if former is not None:
            self._waiting[address] = _Waiting(offer, client, former.timer)
            return False
        who, when = self._probed.get(address, (b"", 0.0))
        is_known = who == client and loop.time() < when + _TRUSTED
        if is_known or len(self._waiting) >= _MOST:
            self._give(offer)
            return False
        timer = loop.call_later(seconds, self._end, address)
        self._waiting[address] = _Waiting(offer, client, timer)
        return True

    def heard(self, address: IPv4Address, mac: bytes) -> Offer | None:
        """Somebody has an address: the offer of it, which must not leave, if there is one."""
        waiting = self._waiting.get(address)
        if waiting is None or waiting.client == mac:
            return None
        waiting.timer.cancel()
        return self._waiting.pop(address).offer

    def close(self) -> None:
        for waiting in self._waiting.values():
            waiting.timer.cancel()

    def _end(self, address: IPv4Address) -> None:
        """Nobody has answered."""
        waiting = self._waiting.pop(address)
        now = asyncio.get_running_loop().time()
        self._probed[address] = waiting.client, now
        self._probed.move_to_end(address)
        while next(iter(self._probed.values()))[1] + _TRUSTED < now:
            self._probed.popitem(last=False)
        self._give(waiting.offer)
