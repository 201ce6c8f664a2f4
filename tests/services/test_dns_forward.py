"""Forwarding: to servers that answer, lie, or fall silent."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import dns.flags
import dns.message
import dns.rrset
import pytest
from dns.flags import Flag
from dns.name import from_text, root
from dns.rcode import Rcode
from dns.rdataclass import RdataClass
from dns.rdatatype import RdataType
from hypothesis import given
from hypothesis import strategies as st

from nfv.services.dns import forwarder as forwarding
from nfv.services.dns import upstream
from nfv.services.dns.cache import FAILURE_TTL, STALE_TTL, Cache, Known, key_of
from nfv.services.dns.connection import Server
from nfv.services.dns.forwarder import Forwarder, Rule
from nfv.services.dns.harvest import Bounds
from nfv.services.dns.message import Query, Reply
from nfv.services.dns.upstream import Unanswered, Upstream

BOUNDS = Bounds(1000, 100)
NAME = from_text("www.example.com")

Answering = Callable[[dns.message.Message, bool], "list[bytes]"]
"""What a server sends back for a query; whether that came by a connection."""


class Other:
    """A name server on the loopback device that answers as it is told."""

    def __init__(self, answering: Answering) -> None:
        self.asked: list[dns.message.Message] = []
        self._answering = answering
        self._tasks: list[asyncio.Task[None]] = []
        self._loop = asyncio.get_running_loop()
        self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._datagrams.bind(("127.0.0.1", 0))
        self.server = Server(*self._datagrams.getsockname())
        self._connections = socket.create_server(("127.0.0.1", self.server.port))
        for made in (self._datagrams, self._connections):
            made.setblocking(False)
        self._loop.add_reader(self._datagrams, self._receive)
        self._loop.add_reader(self._connections, self._accept)

    def _receive(self) -> None:
        wire, client = self._datagrams.recvfrom(4096)
        for answer in self._answers(wire, False):
            self._datagrams.sendto(answer, client)

    def _accept(self) -> None:
        connection, _ = self._connections.accept()
        self._tasks.append(self._loop.create_task(self._converse(connection)))

    async def _converse(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        for answer in self._answers(await reader.readexactly(length), True):
            writer.write(struct.pack("!H", len(answer)) + answer)
        writer.close()

    def _answers(self, wire: bytes, is_stream: bool) -> list[bytes]:
        query = dns.message.from_wire(wire)
        self.asked.append(query)
        return self._answering(query, is_stream)

    def close(self) -> None:
        for made in (self._datagrams, self._connections):
            self._loop.remove_reader(made)
            made.close()


@contextmanager
def running(*answerings: Answering) -> Iterator[list[Other]]:
    others = [Other(answering) for answering in answerings]
    try:
        yield others
    finally:
        for other in others:
            other.close()


def run(work: Awaitable[None]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(work, 20)

    asyncio.run(limited())


def make(family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
    made = socket.socket(family, kind)
    made.setblocking(False)
    return made


def forwarder(*others: Other, is_private: bool = True, cache: Cache | None = None) -> Forwarder:
    rule = Rule([Upstream(other.server, make) for other in others], is_private)
    return Forwarder({root: rule}, Cache(100, 1000) if cache is None else cache, BOUNDS)


def question(name: str = "www.example.com", rdtype: str = "A", flags: int = Flag.RD) -> Query:
    kind = RdataType.make(rdtype)
    return Query(1, flags, from_text(name), kind, RdataClass.IN, 1232)


def answer(query: dns.message.Message, *texts: str, authority: str = "", **flags: int) -> bytes:
    """An answer with records given as text."""
    made = dns.message.make_response(query)
    made.flags |= flags.get("flags", 0)
    made.set_rcode(Rcode(flags.get("rcode", 0)))
    made.answer = [_records(text) for text in texts]
    made.authority = [_records(authority)] if authority else []
    return made.to_wire()


def _records(text: str) -> dns.rrset.RRset:
    name, ttl, rdtype, *data = text.split(" ", 3)
    return dns.rrset.from_text(name, int(ttl), "IN", rdtype, *data)


def texts(reply: Reply) -> list[str]:
    return [f"{name} {found.ttl} {rdata}" for name, found in reply.answer for rdata in found]


def silent(_query: dns.message.Message, _is_stream: bool) -> list[bytes]:
    return []


def plain(query: dns.message.Message, _is_stream: bool) -> list[bytes]:
    return [answer(query, "www.example.com. 300 A 192.0.2.1")]


SOA = "example.com. 500 SOA ns.example.com. h.example.com. 1 2 3 4 60"


def test_an_answer_is_remembered() -> None:
    async def work() -> None:
        with running(plain) as (other,):
            made = forwarder(other)
            assert made.known(question()) is None
            reply = await made.resolve(question())
            assert texts(reply) == ["www.example.com. 300 192.0.2.1"]
            assert (reply.rcode, reply.flags) == (Rcode.NOERROR, Flag.RA)
            known = made.known(question("WWW.example.COM"))
            assert known is not None
            assert texts(known) == texts(reply)
            assert made.known(question(rdtype="AAAA")) is None
            assert len(other.asked) == 1
            assert other.asked[0].flags & (Flag.RD | Flag.CD) == Flag.RD

    run(work())


def test_times_run_out_and_are_bounded() -> None:
    async def work() -> None:
        def long(query: dns.message.Message, _is_stream: bool) -> list[bytes]:
            return [answer(query, "www.example.com. 90000 A 192.0.2.1")]

        cache = Cache(100, 1000)
        with running(long) as (other,):
            assert texts(await forwarder(other, cache=cache).resolve(question())) == [
                f"www.example.com. {BOUNDS.max_ttl} 192.0.2.1"
            ]
        now = time.monotonic()
        known = cache.find(key_of(question()), now)
        assert known is not None
        assert texts(known.reply(now + 900.5))[0].split()[1] == str(BOUNDS.max_ttl - 900)
        assert cache.find(key_of(question()), now + 2100) is None

    run(work())


def test_what_does_not_exist_is_remembered_as_long_as_its_zone_says() -> None:
    async def work() -> None:
        def denied(query: dns.message.Message, _is_stream: bool) -> list[bytes]:
            return [answer(query, authority=SOA, rcode=Rcode.NXDOMAIN)]

        with running(denied) as (other,):
            made = forwarder(other)
            reply = await made.resolve(question())
            assert reply.rcode == Rcode.NXDOMAIN
            assert reply.authority[0][1].ttl == 60
            assert made.known(question()) is not None

        def bare(query: dns.message.Message, _is_stream: bool) -> list[bytes]:
            return [answer(query)]

        with running(bare) as (other,):
            made = forwarder(other)
            await made.resolve(question())
            assert made.known(question()) is None

    run(work())


def test_who_asks_the_same_waits_for_one_answer() -> None:
    async def work() -> None:
        with running(plain) as (other,):
            made = forwarder(other)
            replies = await asyncio.gather(*(made.resolve(question()) for _ in range(50)))
            assert len({tuple(texts(reply)) for reply in replies}) == 1
            assert len(other.asked) == 1

    run(work())


@pytest.mark.parametrize("way", ["silent", "refusing", "lame", "lying", "malformed"])
def test_another_server_is_asked(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "TIMEOUT", 0.2)

    def wrong(query: dns.message.Message, _is_stream: bool) -> list[bytes]:
        if way == "refusing":
            return [answer(query, rcode=Rcode.REFUSED)]
        if way == "lame":
            return [answer(query, rcode=Rcode.SERVFAIL)]
        if way == "lying":
            other = dns.message.make_query("other.example.com", "A", id=query.id)
            return [answer(other, "other.example.com. 300 A 192.0.2.66")]
        return [query.to_wire()[:20]] if way == "malformed" else []

    async def work() -> None:
        with running(wrong, plain) as (bad, good):
            made = forwarder(bad, good)
            assert texts(await made.resolve(question())) == ["www.example.com. 300 192.0.2.1"]
            assert bad.asked
            before = len(bad.asked)
            await made.resolve(question(rdtype="AAAA"))
            if way not in ("refusing", "lame"):  # they answered, if not well
                assert len(bad.asked) == before

    run(work())


def test_a_guessed_number_leads_to_a_connection() -> None:
    def guessing(query: dns.message.Message, is_stream: bool) -> list[bytes]:
        if is_stream:
            return plain(query, is_stream)
        wrong = bytearray(answer(query, "www.example.com. 300 A 192.0.2.66"))
        wrong[0] ^= 1
        return [bytes(wrong)]

    async def work() -> None:
        with running(guessing) as (other,):
            assert texts(await forwarder(other).resolve(question()))[0].endswith("192.0.2.1")

    run(work())


def test_a_truncated_answer_leads_to_a_connection() -> None:
    def truncating(query: dns.message.Message, is_stream: bool) -> list[bytes]:
        return plain(query, True) if is_stream else [answer(query, flags=Flag.TC)]

    async def work() -> None:
        with running(truncating) as (other,):
            reply = await forwarder(other).resolve(question())
            assert texts(reply) == ["www.example.com. 300 192.0.2.1"]
            assert not reply.flags & Flag.TC
            assert len(other.asked) == 2

    run(work())


def test_only_what_was_asked_for_is_taken() -> None:
    def generous(query: dns.message.Message, _is_stream: bool) -> list[bytes]:
        return [
            answer(
                query,
                "www.example.com. 300 CNAME web.example.com.",
                "web.example.com. 200 CNAME w.example.net.",
                "w.example.net. 100 A 192.0.2.1",
                "bank.example.com. 300 A 192.0.2.66",
                "web.example.com. 300 A 192.0.2.66",
                authority="example.com. 300 NS evil.example.com.",
            )
        ]

    async def work() -> None:
        with running(generous) as (other,):
            made = forwarder(other)
            reply = await made.resolve(question())
            found = texts(reply)
            assert "w.example.net. 100 192.0.2.1" in found
            assert not any("bank" in text for text in found)
            assert not reply.authority
            assert not reply.additional
            assert made.known(question("bank.example.com")) is None
            assert made.known(question("web.example.com")) is None

    run(work())


def test_a_failure_is_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "TIMEOUT", 0.05)

    async def work() -> None:
        with running(silent) as (other,):
            cache = Cache(100, 1000)
            made = forwarder(other, cache=cache)
            assert (await made.resolve(question())).rcode == Rcode.SERVFAIL
            before = len(other.asked)
            known = made.known(question())
            assert known is not None
            assert known.rcode == Rcode.SERVFAIL
            assert len(other.asked) == before
            found = cache.find(key_of(question()), time.monotonic())
            assert found is not None
            assert found.ttl == FAILURE_TTL

    run(work())


def test_stale_answers_serve_when_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "TIMEOUT", 0.05)

    async def work() -> None:
        cache = Cache(100, 1000)
        with running(plain) as (other,):
            await forwarder(other, cache=cache).resolve(question())
        now = time.monotonic()
        fresh = cache.find(key_of(question()), now)
        assert fresh is not None
        cache.put(key_of(question()), replace(fresh, since=now - 600), now)
        with running(silent) as (other,):
            made = forwarder(other, cache=cache)
            assert made.known(question()) is None
            for _ in range(3):
                reply = await made.resolve(question())
                assert texts(reply) == [f"www.example.com. {STALE_TTL} 192.0.2.1"]
            assert len(other.asked) <= 2  # by datagram, and by connection
        with running(plain) as (other,):
            made = forwarder(other, cache=cache)
            assert texts(await made.resolve(question())) == ["www.example.com. 300 192.0.2.1"]

    run(work())


@pytest.mark.parametrize(
    ("rdtype", "data", "is_private"),
    [
        ("A", "10.0.0.1", True),
        ("A", "100.64.0.1", True),
        ("A", "1.1.1.1", False),
        ("AAAA", "fd00::1", True),
        ("AAAA", "::ffff:10.0.0.1", True),
        ("AAAA", "64:ff9b::10.0.0.1", True),
        ("AAAA", "64:ff9b::1.1.1.1", False),
        ("HTTPS", "1 . alpn=h2 ipv4hint=1.1.1.1,10.0.0.1", True),
        ("SVCB", "1 . ipv6hint=fe80::1", True),
        ("HTTPS", "1 . alpn=h2 ipv4hint=1.1.1.1 ipv6hint=2606:4700::1111", False),
    ],
)
def test_private_addresses_may_be_refused(rdtype: str, data: str, is_private: bool) -> None:
    def rebinding(query: dns.message.Message, _is_stream: bool) -> list[bytes]:
        return [answer(query, f"www.example.com. 300 {rdtype} {data}")]

    async def work() -> None:
        asked = question(rdtype=rdtype)
        with running(rebinding) as (other,):
            filtered = await forwarder(other, is_private=False).resolve(asked)
            assert filtered.rcode == (Rcode.SERVFAIL if is_private else Rcode.NOERROR)
            assert len(texts(filtered)) == (not is_private)
            assert len(texts(await forwarder(other).resolve(asked))) == 1

    run(work())


def test_what_was_known_serves_while_too_much_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "MAX_UNDER_WAY", 0)

    async def work() -> None:
        now = time.monotonic()
        cache = Cache(100, 1000)
        found = _records("www.example.com. 300 A 192.0.2.1")
        known = [(found.name, found.to_rdataset())]
        cache.put(key_of(question()), Known(Rcode.NOERROR, 0, known, (), now - 600, 300), now)
        with running(plain) as (other,):
            made = forwarder(other, cache=cache)
            reply = await made.resolve(question())
            assert texts(reply) == [f"www.example.com. {STALE_TTL} 192.0.2.1"]
            assert (await made.resolve(question("other.example.com"))).rcode == Rcode.SERVFAIL

    run(work())


@pytest.mark.parametrize(
    ("greedy", "same", "other"),
    [
        ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
        ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"),
    ],
)
def test_a_client_that_asks_for_much_leaves_room_for_others(
    greedy: str, same: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarding, "MAX_OF_CLIENT", 5)
    monkeypatch.setattr(upstream, "TIMEOUT", 0.5)

    def picky(query: dns.message.Message, is_stream: bool) -> list[bytes]:
        is_known = query.question[0].name == NAME
        return plain(query, is_stream) if is_known else []

    async def work() -> None:
        with running(picky) as (server,):
            made = forwarder(server)
            names = [question(f"n{number}.example.com") for number in range(5)]
            waiting = [asyncio.create_task(made.resolve(name, greedy)) for name in names]
            await asyncio.sleep(0)  # they have begun
            assert (await made.resolve(question(), same)).rcode == Rcode.SERVFAIL
            assert not any(task.done() for task in waiting)
            assert texts(await made.resolve(question(), other)) == [
                "www.example.com. 300 192.0.2.1"
            ]
            assert {reply.rcode for reply in await asyncio.gather(*waiting)} == {Rcode.SERVFAIL}
            assert (await made.resolve(question(), same)).rcode == Rcode.NOERROR

    run(work())


def test_dnssec_passes_through() -> None:
    signature = (
        "www.example.com. 300 RRSIG A 13 3 300 20300101000000 20200101000000 1 example.com. AAAA"
    )

    def signed(query: dns.message.Message, _is_stream: bool) -> list[bytes]:
        records = ["www.example.com. 300 A 192.0.2.1"]
        records += [signature] if query.ednsflags & dns.flags.DO else []
        return [answer(query, *records, flags=0 if query.flags & Flag.CD else Flag.AD)]

    async def work() -> None:
        with running(signed) as (other,):
            made = forwarder(other)
            plainly = await made.resolve(question())
            assert (len(plainly.answer), plainly.flags & Flag.AD) == (1, 0)
            asked = await made.resolve(question(flags=Flag.RD | Flag.AD))
            assert asked.flags & Flag.AD
            wanted = await made.resolve(replace(question(), wants_dnssec=True))
            assert (len(wanted.answer), wanted.flags & Flag.AD) == (2, Flag.AD)
            unchecked = await made.resolve(question(flags=Flag.RD | Flag.CD))
            assert not unchecked.flags & Flag.AD
            assert other.asked[-1].flags & Flag.CD

    run(work())


def test_the_closest_domain_counts() -> None:
    async def work() -> None:
        with running(plain, plain) as (general, special):
            rules = {
                root: Rule([Upstream(general.server, make)], True),
                from_text("example.com"): Rule([Upstream(special.server, make)], True),
            }
            made = Forwarder(rules, Cache(10, 10), BOUNDS)
            await made.resolve(question())
            assert (len(general.asked), len(special.asked)) == (0, 1)
            await made.resolve(question("example.net"))
            assert (len(general.asked), len(special.asked)) == (1, 1)

    run(work())


def test_the_cache_makes_room() -> None:
    cache = Cache(3, 10)
    for number in range(5):
        known = Known(Rcode.NOERROR, 0, (), (), 0.0, 10)
        cache.put(key_of(question(f"n{number}.example.com")), known, 0.0)
    assert len(cache) == 3
    assert cache.find(key_of(question("n1.example.com")), 1.0) is None
    assert cache.find(key_of(question("n4.example.com")), 1.0) is not None


@given(st.binary(max_size=80))
def test_any_answer_is_believed_or_not(tail: bytes) -> None:
    query = dns.message.make_query(NAME, "A")
    wire = query.to_wire()
    for damaged in (tail, wire[:2] + tail, wire[:2] + b"\x80" + wire[3:] + tail):
        try:
            found = upstream._believed(query, damaged)
        except Unanswered:
            continue
        assert query.is_response(found)
