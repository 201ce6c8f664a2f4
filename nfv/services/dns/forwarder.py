"""Answers that others have to give: asked once for all who wait, and remembered.

Stale answers by RFC 8767: who asks is told what is known as soon as the servers have been silent
for `_PATIENCE`, while they are asked on; and at once for a while after they have failed.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Network

import dns.message
from dns.flags import Flag
from dns.name import Name
from dns.rcode import Rcode

from nfv.services.dns.cache import FAILURE_TTL, Cache, Key, Known, key_of
from nfv.services.dns.harvest import Bounds, harvest, has_private_address, is_usable
from nfv.services.dns.message import MAX_UDP, Query, Reply
from nfv.services.dns.upstream import Unanswered, Upstream

MAX_UNDER_WAY = 1024
"""Questions that are asked at a time; beyond that, clients are told what was, or of failure."""

MAX_OF_CLIENT = 128
"""Those of them that one client has begun: names at random leave room for others."""

_PATIENCE = 1.8  # seconds (RFC 8767, section 5)
_SITE = 64  # bits of an IPv6 address that a host cannot choose (RFC 4291, section 2.5.1)


@dataclass(frozen=True)
class Rule:
    """Who is asked about the names of a domain."""

    upstreams: Sequence[Upstream]
    may_be_private: bool  # addresses that are not of the public internet are believed


class Forwarder:
    """Resolves names by asking other servers."""

    def __init__(self, rules: Mapping[Name, Rule], cache: Cache, bounds: Bounds) -> None:
        """`rules` are by domain; the closest one above a name counts."""
        self._rules = rules
        self._cache = cache
        self._bounds = bounds
        self._under_way: dict[Key, asyncio.Task[Known]] = {}
        self._begun: Counter[str] = Counter()  # of them, by client
        self._failed: dict[Key, float] = {}  # when, of those with a stale answer

    def rule_of(self, name: Name) -> Rule | None:
        """The rule for a name."""
        for depth in range(len(name), 0, -1):
            rule = self._rules.get(name.split(depth)[1])
            if rule is not None:
                return rule
        return None

    def known(self, query: Query) -> Reply | None:
        """The answer, if it is known and has not run out."""
        now = time.monotonic()
        found = self._cache.find(key_of(query), now)
        if found is None or found.left(now) <= 0:
            return None
        return _told(query, found.reply(now))

    async def resolve(self, query: Query, client: str = "") -> Reply:
        """The answer, whatever it takes; of servers that all fail, SERVFAIL.

        `client` is the address of who asks, all that ask without one being the same.
        """
        key = key_of(query)
        stale = self._stale(key)
        if stale and time.monotonic() < self._failed.get(key, 0.0) + FAILURE_TTL:
            return _told(query, stale.reply(time.monotonic()))
        task = self._under_way.get(key)
        if task is None:
            rule, site = self.rule_of(query.name), _site(client)
            if rule is None or self._is_too_much(site):
                known = stale.reply(time.monotonic()) if stale else Reply(Rcode.SERVFAIL, Flag.RA)
                return _told(query, known)
            task = asyncio.get_running_loop().create_task(self._ask(query, key, rule))
            self._under_way[key] = task
            self._begun[site] += 1
            task.add_done_callback(lambda _: self._end(key, site))
        done, _ = await asyncio.wait({task}, timeout=_PATIENCE if stale else None)
        now = time.monotonic()
        if done and (stale is None or task.result().rcode != Rcode.SERVFAIL):
            return _told(query, task.result().reply(now))
        assert stale is not None
        return _told(query, stale.reply(now))

    def status(self) -> Mapping[str, object]:
        """For each server, how often it failed, and how long it takes, in milliseconds."""
        servers = {
            str(upstream.server): {
                "failures": upstream.failures,
                "delay_ms": round(upstream.delay * 1000, 3),
            }
            for rule in self._rules.values()
            for upstream in rule.upstreams
        }
        return {"cached": len(self._cache), "servers": servers}

    def close(self) -> None:
        for task in self._under_way.values():
            task.cancel()
        for rule in self._rules.values():
            for upstream in rule.upstreams:
                upstream.close()

    def _is_too_much(self, site: str) -> bool:
        """Whether so much is asked already that a client has to wait with another question."""
        return len(self._under_way) >= MAX_UNDER_WAY or self._begun[site] >= MAX_OF_CLIENT

    def _end(self, key: Key, site: str) -> None:
        """A question is no longer under way."""
        del self._under_way[key]
        self._begun[site] -= 1
        if not self._begun[site]:
            del self._begun[site]

    def _stale(self, key: Key) -> Known | None:
        """What was known; a failure is no knowledge."""
        found = self._cache.find(key, time.monotonic())
        return None if found is None or found.rcode == Rcode.SERVFAIL else found

    async def _ask(self, query: Query, key: Key, rule: Rule) -> Known:
        """Ask one server after the other, the best first."""
        for upstream in sorted(rule.upstreams, key=lambda one: one.rank):
            try:
                answer = await upstream.ask(_question(query))
            except Unanswered:
                continue
            now = time.monotonic()
            if not is_usable(answer):
                continue
            found = harvest(query, answer, self._bounds, now)
            if not rule.may_be_private and has_private_address(found):
                break
            if found.ttl:
                self._cache.put(key, found, now)
            return found
        now = time.monotonic()
        failure = Known(Rcode.SERVFAIL, Flag.RA, (), (), now, FAILURE_TTL)
        self._cache.put(key, failure, now)
        if len(self._failed) >= MAX_UNDER_WAY:
            self._failed.clear()
        self._failed[key] = now
        return failure


def _site(client: str) -> str:
    """What stands for a client: its address, of IPv6 without what it may choose by itself."""
    if ":" not in client:
        return client
    return str(IPv6Network((client.partition("%")[0], _SITE), strict=False))


def _question(query: Query) -> dns.message.Message:
    """A query of our own, with a number that cannot be guessed."""
    made = dns.message.make_query(
        query.name,
        query.type,
        query.rdclass,
        use_edns=0,
        payload=MAX_UDP,
        want_dnssec=query.wants_dnssec,
    )
    made.flags |= Flag.CD if query.disables_checking else Flag.AD
    return made


def _told(query: Query, reply: Reply) -> Reply:
    """AD is for those who ask for it (RFC 6840, section 5.8)."""
    if not query.wants_dnssec and not query.flags & Flag.AD:
        reply.flags &= ~Flag.AD
    return reply
