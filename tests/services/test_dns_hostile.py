"""Damaged frames and messages: nothing escapes, and what is accepted is what others read."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import dns.message
import dns.opcode
import dns.tsig
import dns.update
import pytest
from dns.flags import Flag
from dns.name import from_text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from nfv.chain.topology import loads
from nfv.functions.dns import Dns
from nfv.services.base import Place
from nfv.services.dns import message
from nfv.services.dns.authority import Authority
from nfv.services.dns.datagrams import Reader
from nfv.services.dns.holdings import Holdings
from nfv.services.dns.orders import Orders, is_order
from nfv.services.dns.plain import read_plain
from nfv.services.dns.secondaries import keys_of
from tests.services import zonemaking
from tests.services.test_dns_message import respond

MAC = "02:00:00:00:00:53"
OWN = {4: "10.0.0.53", 6: "2001:db8::53"}
CLIENT = {4: "10.0.0.10", 6: "2001:db8::10"}
READER = Reader(MAC, map(ip_address, OWN.values()))
SECRET = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"

TOPOLOGY = f"""
name: hostile
saps:
  lan: {{kind: host, ip: 10.0.0.10/24}}
  wan: {{kind: host, ip: 10.0.0.11/24}}
vnfs:
  dns:
    type: dns
    ip: 10.0.0.53/24
    tsig: {{key: {{secret: {SECRET}}}}}
    zones:
      dyn.test: {{update: key, records: [{{name: www, type: A, data: 192.0.2.1}}]}}
chains:
  only: {{path: [lan, dns, wan]}}
"""


def _damaged(data: st.DataObject, whole: bytes, most: int = 4) -> bytes:
    made = bytearray(whole)
    for _ in range(data.draw(st.integers(0, most))):
        made[data.draw(st.integers(0, len(made) - 1))] = data.draw(st.integers(0, 255))
    return bytes(made[: data.draw(st.integers(0, len(made)))]) + data.draw(st.binary(max_size=4))


def _frame(version: int, payload: bytes) -> Any:
    kind = IP if version == 4 else IPv6
    head = Ether(src="02:00:00:00:00:10", dst=MAC) / kind(src=CLIENT[version], dst=OWN[version])
    return head / UDP(sport=40000, dport=53) / Raw(payload)


@settings(max_examples=500)
@given(st.data(), st.sampled_from([4, 6]), st.binary(max_size=60))
def test_damaged_frames(data: st.DataObject, version: int, payload: bytes) -> None:
    """One that is read is right in all that Scapy would have written."""
    frame = _damaged(data, bytes(_frame(version, payload)), 2)
    found = READER.read(frame)
    if found is None:
        return
    seen = Ether(frame)
    layer: Any = seen[IP if IP in seen else IPv6]
    length = layer.len if IP in seen else layer.plen + 40
    again = layer.copy()
    for field in ("chksum",) if IP in seen else ():
        delattr(again, field)
    if seen[UDP].chksum:
        del again[UDP].chksum
    assert bytes(again)[:length] == frame[14 : 14 + length]
    assert found.message == frame[14 + length - seen[UDP].len + 8 : 14 + length]
    assert found.client == layer.src


@pytest.mark.parametrize("version", [4, 6])
@given(question=st.binary(max_size=40), answer=st.binary(max_size=1232))
def test_the_frame_of_an_answer(version: int, question: bytes, answer: bytes) -> None:
    frame = _frame(version, question)
    asked = READER.read(bytes(frame))
    assert asked is not None
    assert asked.message == question
    kind: Any = IP if version == 4 else IPv6
    head = kind(src=OWN[version], dst=CLIENT[version])
    if version == 4:
        head.flags, head.id = "DF", 0
    expected = Ether(src=MAC, dst=frame.src) / head / UDP(sport=53, dport=40000) / Raw(answer)
    assert asked.answered(answer) == bytes(expected)


@settings(max_examples=500)
@given(st.data(), st.booleans(), st.booleans())
def test_plain_queries_are_read_as_the_library_does(
    data: st.DataObject, has_edns: bool, wants_dnssec: bool
) -> None:
    name = data.draw(st.sampled_from(["www.example.org", "x.sub.ExAmple.org", "a", "."]))
    query = dns.message.make_query(
        name, "AAAA", use_edns=0 if has_edns else False, want_dnssec=wants_dnssec
    )
    wire = _damaged(data, query.to_wire(), 2)
    found = read_plain(wire)
    if found is None:
        return
    ident, flags, owner, rdtype, question, payload, is_dnssec = found
    seen = dns.message.from_wire(wire)
    asked = seen.question[0]
    assert (ident, flags) == (seen.id, int(seen.flags))
    assert (owner.labels, rdtype) == (asked.name.labels, asked.rdtype)
    assert question == wire[12 : 12 + len(question)]
    assert (payload is not None, is_dnssec) == (seen.edns == 0, bool(seen.ednsflags & 0x8000))
    assert (payload or 0) == (seen.payload if seen.edns == 0 else 0)


def test_what_is_written_without_the_library_is_what_it_writes() -> None:
    """For all kinds of names in generated zones; denials may be compressed in another way."""
    count = 0
    for seed in range(6):
        origin = from_text(f"zone{seed}.test")
        records = zonemaking.make_records(seed, origin)
        authority = Authority([zonemaking.make_zone(origin, records)])
        for name in zonemaking.questions(seed, origin, records, 60):
            for rdtype in ("A", "TXT", "MX"):
                wire = dns.message.make_query(name, rdtype, use_edns=count % 2 - 1).to_wire()
                query = message.read(wire)
                assert isinstance(query, message.Query)
                reply = authority.answer(query)
                assert reply is not None
                plain = message.render(query, reply)
                slow = message.render(replace(query, question=b""), reply)
                assert plain == slow or reply.denial
                shown = [dns.message.from_wire(one).to_text().lower() for one in (plain, slow)]
                assert shown[0] == shown[1]
                count += 1


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orders]:
    """A zone that takes updates."""
    function = loads(TOPOLOGY).vnfs["dns"]
    assert isinstance(function, Dns)
    data = tmp_path_factory.mktemp("data")
    place = Place("t", "dns", data, Path("/"), lambda _stage, _frame: None, lambda _l, _m: None)
    holdings = Holdings(place, socket.socket, lambda: None)
    keys = keys_of(function)
    holdings.configure(function, keys, 1)
    yield Orders(holdings, keys)
    holdings.close()


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_orders(orders: Orders, data: st.DataObject) -> None:
    """Updates and notifications, signed before or after they were damaged."""
    update = dns.update.UpdateMessage("dyn.test")
    update.add("new", 60, "MX", "10 mail")
    update.present("www", "A")
    update.delete("www", "A", "192.0.2.9")
    told = dns.message.make_query("dyn.test", "SOA")
    told.set_opcode(dns.opcode.NOTIFY)
    chosen = data.draw(st.sampled_from([update, told]))
    if data.draw(st.booleans()):
        chosen.use_tsig(dns.tsig.Key("key", SECRET, "hmac-sha256"))
    if data.draw(st.booleans()):
        chosen.flags |= Flag.QR
    wire = _damaged(data, chosen.to_wire())
    if is_order(wire):
        answer = orders.take(wire, "10.0.0.10")
        if answer is None:
            assert wire[2] & 0x80
            return
        assert answer[:2] == wire[:2]
        assert answer[2] & 0x80


@settings(max_examples=300)
@given(st.binary(min_size=1, max_size=80), st.integers(1, 20))
def test_compression_that_goes_round(tail: bytes, count: int) -> None:
    """Questions full of pointers: whoever asks next is served."""
    pointers = b"".join(bytes((0xC0, (place * 7 + tail[0]) % 64)) for place in range(count))
    for wire in (
        b"\0\1\0\0\0\1\0\0\0\0\0\0" + pointers + tail,
        b"\0\1\0\0\0\1\0\0\0\0\0\1" + b"\0\0\1\0\1" + pointers + tail,
    ):
        answer = respond(wire)
        assert answer is None or answer[:2] == wire[:2]
    asked = dns.message.make_query("www.example.org", "A")
    served = respond(asked.to_wire())
    assert served is not None
    assert dns.message.from_wire(served).answer
