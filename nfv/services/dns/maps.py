"""The maps of a function `dns`, as its service writes them."""

from __future__ import annotations

import asyncio
import secrets

from nfv.dataplane.kernel.bpf import Map
from nfv.dataplane.kernel.jiffies import Jiffies
from nfv.ebpf import sources
from nfv.functions.dns import Dns
from nfv.services.base import Place
from nfv.services.dns import fastpath
from nfv.services.dns.authority import Authority
from nfv.services.dns.cookies import Secret
from nfv.services.dns.fastpath import Answers, Server
from nfv.services.dns.message import Query
from nfv.services.dns.prepare import prepare_all
from nfv.services.packets6 import link_local

_TICK = 60.0  # seconds in which the time of cookies stands still
_OWN = sources.constant("own.h", "SELF_OWN")


class FastPath:
    """What the function's programs know: its addresses, and answers."""

    def __init__(self, place: Place, function: Dns, mac: str, secret: Secret) -> None:
        """From here on, what is for the function is handed over; nothing is answered yet.

        `secret` is that of cookies.
        """
        station = bytes.fromhex(mac.replace(":", ""))
        self.prepared: int | None = None  # answers of the zones that were put there; None: not yet
        self._is_open = function.serves_everybody
        self._jiffies = Jiffies()
        self._task: asyncio.Task[None] | None = None
        self._maps = {name: Map.open(place.maps / name) for name in ("own", "server", "answers")}
        self._memory = {name: self._maps[name].memory() for name in ("server", "answers")}
        self._maps["own"][0] = _own(function, station)
        seeds = secrets.randbits(64), secrets.randbits(64)
        limit = function.config.limit
        server = Server(
            station, seeds, secret, limit.rate if limit else 0, limit.slip if limit else 0
        )
        self._answers = Answers(self._memory["answers"], self._memory["server"], server)
        self._loop = asyncio.get_running_loop()
        self._ticking = self._loop.call_later(_TICK, self._tick)

    def _tick(self) -> None:
        self._answers.tick()
        self._ticking = self._loop.call_later(_TICK, self._tick)

    def keep(self, query: Query, answer: bytes, is_ours: bool) -> None:
        """Give an answer again to whoever asks the same, as long as there is room for it.

        One that is not from our zones for a second: so long its TTLs are right.
        """
        if not is_ours and not self._is_open:
            return
        prepared = fastpath.prepare(query, answer)
        if prepared is None:
            return
        until = 0 if is_ours else self._jiffies.after(1) or 1
        self._answers.put(query, prepared, until=until)

    def begin(self, authority: Authority) -> None:
        """Void all answers, and put those of all zones there, beside other work."""
        if self._task is not None:
            self._task.cancel()
        self.prepared = None
        self._answers.forget()
        self._task = self._loop.create_task(self._prepare(authority))

    async def _prepare(self, authority: Authority) -> None:
        self.prepared = await prepare_all(authority, self._answers)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._ticking.cancel()
        self._jiffies.close()
        for memory in self._memory.values():
            memory.close()
        for found in self._maps.values():
            found.close()


def _own(function: Dns, mac: bytes) -> bytes:
    """struct self_own of own.h: the function's addresses, and its link-local one (RFC 4291)."""
    ipv4 = [one.ip.packed for one in function.addresses if one.version == 4]
    ipv6 = [one.ip.packed for one in function.addresses if one.version == 6]
    ipv6.append(link_local(mac).packed)
    return b"".join(ipv4).ljust(4 * _OWN, b"\0") + b"".join(ipv6).ljust(16 * _OWN, b"\0")
