"""ICMP errors through a NAT: what they quote is, byte by byte, what the other side has sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.packet import Raw

from tests.functions.bench import Bench
from tests.functions.natting import (
    INSIDE,
    OTHER,
    OUTSIDE,
    REMOTE,
    STRANGER,
    mapped,
    nat,
    out,
    pool,
    tcp,
    udp,
)

pytestmark = pytest.mark.root

ROUTER = "198.51.100.99"
INNER_ROUTER = "10.0.1.1"
HOST = "10.0.1.20"
TOPOLOGY = nat(
    pool(),
    "port_choice: random",
    "filtering: independent",
    f"static: [{{outside: 192.0.2.20, inside: {HOST}}}]",
    f"forwards: [{{proto: udp, outside: 192.0.2.21, port: 7000-7009, inside: {OTHER}, to: 8000}}]",
)

SENT: dict[str, Any] = {
    "udp": udp(),
    "no checksum": IP(src=INSIDE, dst=REMOTE) / UDP(sport=5, dport=6, chksum=0) / Raw(b"abcd"),
    "tcp": tcp("A") / Raw(b"0123456789" * 4),
    "echo": IP(src=INSIDE, dst=REMOTE) / ICMP(id=77, seq=1) / Raw(b"ping"),
    "options": IP(src=INSIDE, dst=REMOTE, options=b"\x94\x04\0\0") / UDP(sport=5) / Raw(b"abcd"),
    "sctp": IP(src=INSIDE, dst=REMOTE, proto=132) / Raw(bytes(range(40))),
    "static": udp(src=HOST),
    "static echo": IP(src=HOST, dst=REMOTE) / ICMP(id=77, seq=1) / Raw(b"ping"),
    "forward": udp(src=OTHER, sport=8003),
}
ERRORS = [(3, 1), (3, 4), (11, 0), (12, 0)]
LENGTHS = {"all": 1500, "8 bytes": 28, "some": 40}


def error(src: str, dst: str, quoted: bytes, kind: tuple[int, int] = (3, 3)) -> Any:
    """An ICMP error."""
    message = ICMP(type=kind[0], code=kind[1], nexthopmtu=1400 if kind == (3, 4) else 0)
    return IP(bytes(IP(src=src, dst=dst, ttl=60) / message / Raw(quoted)))


@pytest.mark.parametrize("sent", SENT)
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_from_outside(bench: Bench, sent: str, length: str, kind: tuple[int, int]) -> None:
    """It goes to the sender, and quotes what that has sent, in spite of random ports."""
    original = bytes(SENT[sent])
    went = bytes(out(bench, IP(original)))
    size = LENGTHS[length] + (original[0] & 15) * 4 - 20
    before = dict(bench.map_of("nat", "outward").items())
    came = out(bench, error(ROUTER, IP(went).src, went[:size], kind), "wan")
    assert bytes(came) == bytes(error(ROUTER, IP(original).src, original[:size], kind))
    assert dict(bench.map_of("nat", "outward").items()) == before


@pytest.mark.parametrize("sent", SENT)
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("by_router", [False, True])
def test_an_error_from_inside(bench: Bench, sent: str, length: str, by_router: bool) -> None:
    """It comes from the outside address, and quotes what the far end has sent."""
    went = out(bench, SENT[sent])
    reply = far_answer(went)
    came = out(bench, reply, "wan")
    source = INNER_ROUTER if by_router else came.dst
    size = LENGTHS[length]
    left = out(bench, error(source, REMOTE, bytes(came)[:size]))
    assert bytes(left) == bytes(error(went.src, REMOTE, bytes(reply)[:size]))


def far_answer(went: Any) -> Any:
    """What the far end sends back, as on the wire."""
    header = IP(src=went.dst, dst=went.src, proto=went.proto, id=3)
    if ICMP in went:
        body: Any = ICMP(type=0, id=went[ICMP].id, seq=1) / Raw(b"pong")
    elif UDP in went:
        body = UDP(sport=went.dport, dport=went.sport) / Raw(b"an answer")
        if went[UDP].chksum == 0:
            body.chksum = 0
    elif TCP in went:
        body = TCP(sport=went.dport, dport=went.sport, flags="A") / Raw(b"0123456789" * 4)
    else:
        body = Raw(bytes(range(40)))
    return IP(bytes(header / body))


def test_errors_about_what_nobody_sent(bench: Bench) -> None:
    stray = bytes(udp(src=OUTSIDE, sport=1234))
    assert out(bench, error(ROUTER, OUTSIDE, stray), "wan") == "unsolicited"
    assert out(bench, error(INSIDE, REMOTE, bytes(udp(src=REMOTE, dst=INSIDE)))) == "invalid"
    went = bytes(out(bench, udp()))
    assert out(bench, error(ROUTER, "192.0.2.20", went), "wan") == "unsolicited"
    assert out(bench, error(ROUTER, OUTSIDE, went[:27]), "wan") == "unsolicited"
    assert mapped(bench) == 1


@pytest.mark.parametrize("byte", range(20))
def test_quotes_that_are_no_packets(bench: Bench, byte: int) -> None:
    """Whatever a header says, nothing but what belongs to a mapping passes, and nothing breaks."""
    went = bytes(out(bench, udp()))
    for value in (0, 0x3F, 0x4F, 0x55, 0xFF):
        quoted = went[:byte] + bytes([value]) + went[byte + 1 :]
        came = out(bench, error(ROUTER, OUTSIDE, quoted), "wan")
        assert came == "unsolicited" or came.dst == INSIDE


DEPENDENT = nat(pool(), "port_choice: random", "mapping: address-port", "filtering: address-port")


@pytest.fixture
def dependent(bench: Bench) -> Iterator[Bench]:
    with closing(Bench(DEPENDENT, hook=bench.hook)) as found:
        yield found


@pytest.mark.parametrize("sent", ["udp", "tcp", "echo", "sctp"])
def test_errors_where_mappings_depend_on_the_far_end(dependent: Bench, sent: str) -> None:
    """Any router on the way may tell, whoever may send otherwise (RFC 5508, REQ-4)."""
    original = bytes(SENT[sent])
    elsewhere = SENT[sent].copy()
    elsewhere.dst = ROUTER
    out(dependent, elsewhere)
    went = out(dependent, IP(original))
    came = out(dependent, error(STRANGER, OUTSIDE, bytes(went)), "wan")
    assert bytes(came) == bytes(error(STRANGER, INSIDE, original))
    reply = far_answer(went)
    inside = bytes(out(dependent, reply, "wan"))
    left = out(dependent, error(INSIDE, REMOTE, inside))
    assert bytes(left) == bytes(error(OUTSIDE, REMOTE, bytes(reply)))
