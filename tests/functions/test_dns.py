"""Queries answered on the fast path: byte by byte what the service answers."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import dns.edns
import dns.message
import pytest
from dns.flags import Flag
from dns.name import from_text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from nfv.dataplane.kernel.bpf import Map
from nfv.ebpf.ticks import hz
from nfv.services.dns import cookies, message
from nfv.services.dns.authority import Authority
from nfv.services.dns.fastpath import Answers, Server, prepare
from nfv.services.dns.zonefile import parse_records
from tests.functions.bench import Bench, Outcome
from tests.services.zonemaking import make_zone

pytestmark = pytest.mark.root

TOPOLOGY = """
name: bench-dns
saps:
  lan: {kind: host, ip: [10.0.0.10/24, 2001:db8::10/64]}
  wan: {kind: host, ip: [10.0.0.11/24, 2001:db8::11/64]}
vnfs:
  fw: {type: firewall, default: accept, stateless: true}
  dns: {type: dns, ip: [10.0.0.53/24, 2001:db8::53/64], limit: {}, rate: 1000000}
chains:
  only: {path: [lan, fw, dns, wan]}
"""

MAC = "02:00:00:00:00:53"
SERVER = Server(bytes.fromhex(MAC.replace(":", "")), (0x1234567890ABCDEF, 77), (0x0F1E2D, 0x4B5A69))
CLIENTS = {4: "10.0.0.10", 6: "2001:db8::10"}
SERVERS = {4: "10.0.0.53", 6: "2001:db8::53"}

ZONE = """$TTL 300
@ SOA ns hostmaster 1 2 3 4 60
@ NS ns
ns A 192.0.2.53
www A 192.0.2.80
www A 192.0.2.81
www AAAA 2001:db8::80
alias CNAME www
txt TXT "odd"
txt4 TXT "even"
*.wild A 192.0.2.99
sub NS ns.sub
ns.sub A 192.0.2.54
big TXT "{big}"
{deep} A 192.0.2.1
""".format(big="x" * 130, deep=".".join("a" * 34))

ORIGIN = from_text("example.org")
AUTHORITY = Authority([make_zone(ORIGIN, parse_records(ZONE, ORIGIN, "zone"))])
NAMES = ["www", "alias", "txt", "txt4", "x.wild", "h.sub", "nobody", "x", "ns", ".".join("a" * 33)]


@pytest.fixture(scope="module")
def bench() -> Any:
    made = Bench(TOPOLOGY)
    _write_own(made.map_of("dns", "own"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def answers(bench: Bench) -> Answers:
    maps = bench.function_maps("dns")
    return Answers(maps.memory("answers"), maps.memory("server"), SERVER)


def _write_own(own: Map) -> None:
    own[0] = ip_address(SERVERS[4]).packed.ljust(32, b"\0") + ip_address(SERVERS[6]).packed.ljust(
        128, b"\0"
    )


def _frame(version: int, payload: bytes) -> Any:
    kind = IP if version == 4 else IPv6
    head = Ether(src="02:00:00:00:00:10", dst=MAC) / kind(
        src=CLIENTS[version], dst=SERVERS[version]
    )
    return head / UDP(sport=40000, dport=53) / Raw(payload)


def _service(wire: bytes) -> bytes:
    """What the service answers."""
    query = message.read(wire)
    assert isinstance(query, message.Query)
    reply = AUTHORITY.answer(query)
    assert reply is not None
    return message.render(query, reply)


def _teach(answers: Answers, wire: bytes) -> bool:
    query = message.read(wire)
    assert isinstance(query, message.Query)
    found = prepare(query, _service(wire))
    if found is not None:
        answers.put(query, found)
    return found is not None


def _served(outcome: Outcome) -> bool:
    return (outcome.egress, outcome.reason) == ("dns:service", "service")


def _expected(frame: Any, payload: bytes) -> bytes:
    """The frame turned round with another payload; lengths and checksums by Scapy."""
    version = 4 if IP in frame else 6
    head: Any
    if version == 4:
        head = IP(src=frame[IP].dst, dst=frame[IP].src, id=0, flags="DF", ttl=64)
    else:
        head = IPv6(src=frame[IPv6].dst, dst=frame[IPv6].src, hlim=64)
    made = Ether(src=frame.dst, dst=frame.src) / head / UDP(sport=53, dport=frame[UDP].sport)
    return bytes(made / Raw(payload))


def _query(name: str, rdtype: str = "A", **options: Any) -> bytes:
    made = dns.message.make_query(f"{name}.example.org", rdtype, **options)
    return made.to_wire()


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("edns", [{}, {"use_edns": 0}, {"use_edns": 0, "want_dnssec": True}])
@pytest.mark.parametrize("name", NAMES)
def test_the_answer_is_that_of_the_service(
    bench: Bench, answers: Answers, name: str, edns: dict[str, Any], version: int
) -> None:
    answers.forget()
    for rdtype in ("A", "AAAA", "TXT"):
        wire = _query(name, rdtype, **edns)
        frame = _frame(version, wire)
        assert _served(bench.run("lan", frame))
        assert _teach(answers, _query(name.upper(), rdtype))
        outcome = bench.run("lan", frame)
        assert outcome.egress == "lan"
        assert outcome.frame == _expected(frame, _service(wire))
        assert outcome.counted["reason", "dns", "answered"] == (1, len(frame))
        assert outcome.counted["received", "lan", "answered"] == (1, len(frame))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_name_in_any_case(bench: Bench, answers: Answers, data: st.DataObject) -> None:
    """Names of all lengths, with all bytes in their labels."""
    labels = data.draw(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=4))
    name = dns.name.Name((*labels, *ORIGIN.labels))
    wire = dns.message.make_query(name, data.draw(st.sampled_from(["A", "TYPE65", "TYPE97"])))
    query = wire.to_wire()
    kept = _teach(answers, query)
    other = bytes(
        byte ^ 0x20 if chr(byte).isalpha() and byte < 128 and data.draw(st.booleans()) else byte
        for byte in query[12:-4]
    )
    asked = query[:12] + other + query[-4:]
    if message.read(asked) is None or not isinstance(message.read(asked), message.Query):
        return  # the length of a label was taken for a letter
    frame = _frame(4, asked)
    outcome = bench.run("lan", frame)
    if kept and other.lower() == query[12:-4].lower():
        assert outcome.frame == _expected(frame, _service(asked))
    else:
        assert _served(outcome) or outcome.frame == _expected(frame, _service(asked))


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_queries(bench: Bench, answers: Answers, data: st.DataObject) -> None:
    """They are the service's as they came, or answered as the service would."""
    assert _teach(answers, _query("www"))
    cookie = dns.edns.GenericOption("COOKIE", b"12345678")
    options: dict[str, Any] = data.draw(
        st.sampled_from([{}, {"use_edns": 0}, {"use_edns": 0, "options": [cookie]}])
    )
    wire = bytearray(_query("www", **options))
    for _ in range(data.draw(st.integers(0, 3))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    payload = bytes(wire[: data.draw(st.integers(len(wire) // 2, len(wire)))])
    frame = _frame(data.draw(st.sampled_from([4, 6])), payload)
    outcome = bench.run("lan", frame)
    if _served(outcome):
        assert outcome.frame[16:] == bytes(frame)
        return
    expected = _service(payload)
    if b"12345678" in payload:  # and a cookie behind it
        assert outcome.frame[42 if IP in frame else 62 :][: len(expected) - 2].startswith(
            expected[:-2]
        )
    else:
        assert outcome.frame == _expected(frame, expected)


def _raw(*counts: int, flags: int = 0x0100, body: bytes = b"") -> bytes:
    return struct.pack("!6H", 7, flags, *counts) + body


QUESTION = b"\3www\7example\3org\0\0\1\0\1"
OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0" * 11,
        _raw(1, 0, 0, 0),
        _raw(1, 0, 0, 0, body=QUESTION[:-1]),
        _raw(1, 0, 0, 0, body=QUESTION + b"\0"),
        _raw(2, 0, 0, 0, body=QUESTION * 2),
        _raw(1, 1, 0, 0, body=QUESTION),
        _raw(1, 0, 0, 1, body=QUESTION),
        _raw(1, 0, 0, 1, body=QUESTION + OPT[:-1]),
        _raw(1, 0, 0, 1, body=QUESTION + OPT + b"\0"),
        _raw(1, 0, 0, 2, body=QUESTION + OPT * 2),
        _raw(1, 0, 0, 1, body=QUESTION + OPT[:6] + b"\1" + OPT[7:]),  # version 1
        _raw(1, 0, 0, 1, body=QUESTION + OPT[:-1] + b"\4" + b"\0\x08\0\0"),
        _raw(1, 0, 0, 1, body=QUESTION + OPT[:-1] + b"\5" + b"\0\x0a\0\1x"),
        _raw(1, 0, 0, 0, flags=0x8100, body=QUESTION),
        _raw(1, 0, 0, 0, flags=0x2900, body=QUESTION),
        _raw(1, 0, 0, 0, body=b"\xc0\x0c" + QUESTION[-4:]),
        _raw(1, 0, 0, 0, body=b"\3www\7example\3org\xc0\x0c\0\1\0\1"),
        _raw(1, 0, 0, 0, body=b"\x40ww\7example\3org\0\0\1\0\1"),
        _raw(1, 0, 0, 0, body=b"\1x" * 40 + b"\0\0\1\0\1"),
        _raw(1, 0, 0, 0, body=b"\3www\7example\3org\0\0\1\0\3"),
    ],
    ids=range(21),
)
@pytest.mark.parametrize("version", [4, 6])
def test_what_is_no_plain_query_is_for_the_service(
    bench: Bench, answers: Answers, payload: bytes, version: int
) -> None:
    assert _teach(answers, _query("www"))
    frame = _frame(version, payload)
    outcome = bench.run("lan", frame)
    assert _served(outcome)
    assert outcome.frame[16:] == bytes(frame)


def _with_cookie(cookie: bytes, name: str = "www") -> bytes:
    return _query(name, use_edns=0, options=[dns.edns.GenericOption("COOKIE", cookie)])


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cookie", [b"12345678", b"12345678" + bytes(range(16))])
def test_a_cookie_is_answered(
    bench: Bench, answers: Answers, name: str, cookie: bytes, version: int
) -> None:
    """RFC 9018: with the same that the service makes."""
    answers.forget()
    wire = _with_cookie(cookie, name)
    moment = _time_of(bench)
    if _teach(answers, wire):
        query = message.read(
            wire, bake=lambda part: cookies.answer(part, CLIENTS[version], SERVER.keys, moment)
        )
        assert isinstance(query, message.Query)
        reply = AUTHORITY.answer(query)
        assert reply is not None
        frame = _frame(version, wire)
        assert bench.run("lan", frame).frame == _expected(frame, message.render(query, reply))


def _time_of(bench: Bench) -> bytes:
    """What time programs believe it is."""
    return bytes(bench.function_maps("dns").memory("server")[-8:-4])


@pytest.fixture
def limited(bench: Bench, answers: Answers) -> Iterator[None]:
    """One answer an hour for a network; of three queries beyond that one is answered."""
    hour = struct.pack("=QQ", 3600 * hz() << 16, 3600 * hz() << 16)
    head = bench.function_maps("dns").memory("server")
    places = slice(48, 64), slice(68, 72)  # struct self_server: interval and burst, slip
    for place, value in zip(places, (hour, struct.pack("=I", 3)), strict=True):
        head[place] = value
    yield
    for place in places:
        head[place] = bytes(place.stop - place.start)


def _from(client: str, payload: bytes) -> Any:
    kind = IPv6 if ":" in client else IP
    head = Ether(src="02:00:00:00:00:10", dst=MAC)
    to = SERVERS[6 if ":" in client else 4]
    return head / kind(src=client, dst=to) / UDP(sport=40000, dport=53) / Raw(payload)


def _became(outcome: Outcome) -> str:
    return "answered" if outcome.egress == "lan" else outcome.reason


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize(
    ("clients", "other"),
    [
        (["10.1.1.1", "10.1.1.2", "10.1.1.254"], "10.1.2.1"),
        (["2001:db8:1::1", "2001:db8:1:ff::1", "2001:db8:1:0:1::"], "2001:db8:1:100::"),
    ],
)
def test_a_network_gets_so_many_answers(
    bench: Bench, answers: Answers, clients: list[str], other: str
) -> None:
    """Then nothing, or an empty one that sends the client to TCP; other networks are served."""
    wire = _query("www", use_edns=0)
    assert _teach(answers, wire)
    frames = [_from(clients[number % 3], wire) for number in range(7)]
    outcomes = [bench.run("lan", frame) for frame in frames]
    reasons = [_became(outcome) for outcome in outcomes]
    assert reasons == ["answered", *["limited", "limited", "answered"] * 2]
    query = message.read(wire)
    assert isinstance(query, message.Query)
    empty = message.render(query, message.Reply(flags=Flag.TC))
    for number in (3, 6):
        assert outcomes[number].frame == _expected(frames[number], empty)
    assert _became(bench.run("lan", _from(other, wire))) == "answered"


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize("client", ["10.3.1.1", "2001:db8:3::1"])
def test_who_shows_its_cookie_is_not_limited(bench: Bench, answers: Answers, client: str) -> None:
    """RFC 7873: it is where it says. One of another address, too old, or ahead of time is none."""
    wire = _query("www")
    assert _teach(answers, wire)
    assert _became(bench.run("lan", _from(client, wire))) == "answered"
    now = int.from_bytes(_time_of(bench), "big")
    for made_for, moment, reason in [
        (client, now, "answered"),
        (client, now - 3600, "answered"),
        (client, now + 300, "answered"),
        (client, now - 3602, "limited"),
        (client, now + 302, "limited"),
        ("10.3.1.2", now, "answered"),  # the third: empty
    ]:
        stamp = struct.pack("!I", moment)
        cookie = cookies.answer(b"12345678", made_for, SERVER.keys, stamp)
        outcome = bench.run("lan", _from(client, _with_cookie(cookie)))
        assert _became(outcome) == reason


def _station(number: int, client: str) -> Any:
    """A question that the service has to answer, from a client behind some station."""
    frame = _from(client, _query("never", "HINFO"))
    frame.src = f"02:00:00:00:00:{number:02x}"
    return frame


@pytest.mark.parametrize(
    ("sender", "same", "others"),
    [
        (
            (16, "10.0.4.1"),
            [(16, "10.0.4.1")],
            [(16, "10.0.4.2"), (17, "10.0.4.1"), (16, "2001:db8:4::1")],
        ),
        (
            (16, "2001:db8:4::1"),
            [(16, "2001:db8:4::ffff")],
            [(16, "2001:db8:4:1::1"), (17, "2001:db8:4::1"), (16, "10.0.4.1")],
        ),
    ],
)
def test_a_sender_that_floods_keeps_nobody_from_the_service(
    bench: Bench,
    answers: Answers,
    sender: tuple[int, str],
    same: list[tuple[int, str]],
    others: list[tuple[int, str]],
) -> None:
    """As after a flood: its bucket is full for long, and nobody else's."""
    paces = bench.map_of("dns", "paces")
    for key, _ in list(paces.items()):
        paces.update(key, bytes(8))
    assert _served(bench.run("lan", _station(*sender)))
    (bucket,) = [key for key, full in paces.items() if any(full)]
    paces.update(bucket, struct.pack("=Q", 1 << 62))
    for one in same:
        assert _became(bench.run("lan", _station(*one))) == "limited"
    for one in others:
        assert _served(bench.run("lan", _station(*one)))
    known = _query("www")
    assert _teach(answers, known)
    assert _became(bench.run("lan", _from(sender[1], known))) == "answered"
    paces.update(bucket, bytes(8))


def test_a_query_from_beyond(bench: Bench, answers: Answers) -> None:
    """Against the path, where no function stands between."""
    wire = _query("www")
    assert _teach(answers, wire)
    frame = _frame(4, wire)
    outcome = bench.run("wan", frame)
    assert (outcome.egress, outcome.frame) == ("wan", _expected(frame, _service(wire)))


def test_another_epoch_makes_answers_void(bench: Bench, answers: Answers) -> None:
    wire = _query("www")
    assert _teach(answers, wire)
    answers.forget()
    assert _served(bench.run("lan", _frame(4, wire)))


def test_a_place_that_is_written_answers_nothing(bench: Bench, answers: Answers) -> None:
    wire = _query("www")
    answers.forget()
    assert _teach(answers, wire)
    memory = bench.function_maps("dns").memory("answers")
    size = len(memory) // bench.map_of("dns", "answers").max_entries
    for at in range(0, len(memory), size):
        memory[at : at + 8] = bytes(8)
    assert _served(bench.run("lan", _frame(4, wire)))


def test_a_broken_header_is_dropped(bench: Bench, answers: Answers) -> None:
    wire = _query("www")
    assert _teach(answers, wire)
    frame = _frame(4, wire)
    frame[IP].chksum = 1
    outcome = bench.run("lan", frame)
    assert (outcome.egress, outcome.reason) == (None, "checksum")


def _lan(packet: Any, to: str = MAC) -> Any:
    return Ether(src="02:00:00:00:00:10", dst=to) / packet


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize(
    "frame",
    [
        _lan(ARP(psrc=CLIENTS[4], pdst=SERVERS[4]), "ff:ff:ff:ff:ff:ff"),
        _lan(ARP(op=2, psrc=CLIENTS[4], pdst=SERVERS[4])),
        _lan(
            IPv6(src=CLIENTS[6], dst="ff02::1:ff00:53", hlim=255) / ICMPv6ND_NS(tgt=SERVERS[6]),
            "33:33:ff:00:00:53",
        ),
        _lan(IP(src=CLIENTS[4], dst=SERVERS[4]) / ICMP()),
        _lan(IP(src=CLIENTS[4], dst=SERVERS[4]) / TCP(dport=53)),
        _lan(IP(src=CLIENTS[4], dst=SERVERS[4]) / UDP(dport=54)),
        _lan(IP(src=CLIENTS[4], dst=SERVERS[4], flags="MF") / UDP(dport=53) / Raw(b"x" * 64)),
        _lan(IP(src=CLIENTS[4], dst=SERVERS[4], frag=8) / Raw(b"x" * 64)),
        _lan(IPv6(src=CLIENTS[6], dst=SERVERS[6]) / IPv6ExtHdrDestOpt() / UDP(dport=53)),
    ],
    ids=range(9),
)
def test_what_else_is_sent_to_it_is_for_the_service(bench: Bench, frame: Any) -> None:
    outcome = bench.run("lan", frame)
    assert _served(outcome)
    assert outcome.frame[16:] == bytes(frame)


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize(
    "frame",
    [
        _lan(ARP(psrc=CLIENTS[4], pdst="10.0.0.11"), "ff:ff:ff:ff:ff:ff"),
        _lan(
            IPv6(src=CLIENTS[6], dst="ff02::1:ff00:11", hlim=255) / ICMPv6ND_NS(tgt="2001:db8::11"),
            "33:33:ff:00:00:11",
        ),
        _lan(IP(src=CLIENTS[4], dst="10.0.0.11") / UDP(dport=53) / Raw(_query("www"))),
        _lan(
            IP(src=CLIENTS[4], dst=SERVERS[4]) / UDP(dport=53) / Raw(_query("www")),
            "02:00:00:00:00:99",
        ),
    ],
    ids=range(4),
)
def test_everything_else_passes(bench: Bench, frame: Any) -> None:
    outcome = bench.run("lan", frame)
    assert (outcome.egress, outcome.frame) == ("wan", bytes(frame))
