"""Unusual, broken and falsely signed messages on the wire, answered as NSD does (RFC 8906)."""

from __future__ import annotations

import hmac
import socket
import struct
import time
from base64 import b64decode
from collections.abc import Iterator
from itertools import count

import dns.message
import dns.rdataclass
import dns.tsig
import pytest
from dns.flags import Flag
from dns.name import from_text
from dns.rcode import Rcode

from tests.integration.helpers import traffic
from tests.integration.helpers.lab import Lab, applied, example
from tests.services import oracle

pytestmark = pytest.mark.root

SERVER, OTHER = "10.0.1.53", "192.0.2.10"
ORIGIN = from_text("odd.test")
SECRET = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
LONG = "x" * 200

MORE = f"""
    tsig: {{lab-key: {{secret: {SECRET}}}}}
    zones:
      odd.test:
        ttl: 300
        records:
          - {{type: SOA, data: ns hostmaster 1 2 3 4 60}}
          - {{type: NS, data: ns}}
          - {{name: ns, type: A, data: 192.0.2.10}}
          - {{name: mid, type: TXT, data: "{LONG} {LONG} {LONG}"}}
          - {{name: big, type: TXT, data: "{" ".join([LONG] * 9)}"}}
"""
ZONE = f"""$TTL 300
@ SOA ns hostmaster 1 2 3 4 60
@ NS ns
ns A 192.0.2.10
mid TXT {LONG} {LONG} {LONG}
big TXT {" ".join([LONG] * 9)}
"""

NAME = b"\3odd\4test\0"
QUESTION = NAME + struct.pack("!HH", 6, 1)  # SOA, class IN
OPT = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)


def _message(counts: tuple[int, int, int, int], body: bytes, flags: int = 0) -> bytes:
    return struct.pack("!2H4H", 0x1234, flags, *counts) + body


ODD = {
    "version 1 of EDNS": _message((1, 0, 0, 1), QUESTION + OPT[:6] + b"\1" + OPT[7:]),
    "two OPT records": _message((1, 0, 0, 2), QUESTION + OPT * 2),
    "OPT record cut short": _message((1, 0, 0, 1), QUESTION + OPT[:-3]),
    "unknown option": _message((1, 0, 0, 1), QUESTION + OPT[:-1] + b"\5\xfd\xe9\0\1x"),
    "unknown flag of EDNS": _message((1, 0, 0, 1), QUESTION + OPT[:7] + b"\x40" + OPT[8:]),
    "opcode STATUS": _message((1, 0, 0, 0), QUESTION, 2 << 11),
    "opcode 3": _message((1, 0, 0, 0), QUESTION, 3 << 11),
    "opcode 15": _message((1, 0, 0, 0), QUESTION, 15 << 11),
    "no question": _message((0, 0, 0, 0), b""),
    "two questions": _message((2, 0, 0, 0), QUESTION * 2),
    "question cut short": _message((1, 0, 0, 0), QUESTION[:-1]),
    "pointer to itself": _message((1, 0, 0, 0), b"\xc0\x0c\0\6\0\1"),
    "pointers in a ring": _message((1, 0, 0, 0), b"\1a\xc0\x10\xc0\x0c\0\6\0\1"),
    "label of no known kind": _message((1, 0, 0, 0), b"\x80" + QUESTION),
    "answer to a query": _message((1, 0, 0, 0), QUESTION, Flag.QR),
    "answer to a NOTIFY": _message((1, 0, 0, 0), QUESTION, Flag.QR | 4 << 11),
    "answer to an UPDATE": _message((1, 0, 0, 0), QUESTION, Flag.QR | 5 << 11),
    "broken answer to a NOTIFY": _message((1, 0, 0, 0), b"", Flag.QR | 4 << 11),
    "header cut short": b"\x12\x34" * 5 + b"\0",
    "flag Z": _message((1, 0, 0, 0), QUESTION, 0x40),
    "unknown type": _message((1, 0, 0, 0), NAME + struct.pack("!HH", 65400, 1)),
    "another zone": _message((1, 0, 0, 0), b"\4else\4test\0" + struct.pack("!HH", 6, 1)),
}


@pytest.fixture(scope="module")
def net() -> Iterator[Lab]:
    text = example("dns").replace("    forward:", "    # forward:").replace("\n    zones:\n", MORE)
    with applied(text, "odd") as made:
        yield made


@pytest.fixture(scope="module")
def nsd(net: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    place, directory = net.netns("wan"), tmp_path_factory.mktemp("nsd")
    key = ("lab-key", SECRET)
    with oracle.nsd_primary(place, directory, {ORIGIN: ZONE}, OTHER, key, SERVER):
        yield


_numbers = count()


def _ask(net: Lab, server: str, wire: bytes) -> bytes | None:
    """The answer; None if that to a query behind it comes instead."""
    last = dns.message.make_query(f"none{next(_numbers)}.odd.test", "HINFO", id=1)
    with traffic.asking(net.netns("lan"), server) as asked:
        asked.send(wire)
        asked.send(last.to_wire())
        found = asked.recv(65535)
    return None if found[:2] == b"\0\1" else found


def _outline(answer: bytes | None) -> object:
    """What servers must agree on: number, flags, code, and whether there is an OPT record."""
    if answer is None:
        return None
    opt = answer.find(OPT[:3])
    code = answer[3] & 0xF | (answer[opt + 5] << 4 if opt > 0 else 0)
    return answer[:2], answer[2] & ~Flag.RD >> 8, Rcode.make(code), opt > 0


@pytest.mark.usefixtures("nsd")
@pytest.mark.parametrize("odd", ODD)
def test_what_is_odd(net: Lab, odd: str) -> None:
    ours, theirs = (_ask(net, server, ODD[odd]) for server in (SERVER, OTHER))
    assert _outline(ours) == _outline(theirs)


@pytest.mark.parametrize("odd", ODD)
def test_what_is_odd_by_a_connection(net: Lab, odd: str) -> None:
    """It is the same as by UDP; without an answer, the connection ends."""
    wire = ODD[odd]
    with traffic.connect(net.netns("lan"), SERVER, 53) as connection:
        connection.sendall(struct.pack("!H", len(wire)) + wire)
        connection.shutdown(socket.SHUT_WR)
        found = connection.makefile("rb").read()
    assert _outline(found[2:] or None) == _outline(_ask(net, SERVER, wire))


@pytest.mark.usefixtures("nsd")
@pytest.mark.parametrize("name", ["mid", "big"])
@pytest.mark.parametrize("payload", [None, 100, 512, 1231, 1232, 65535])
def test_what_is_too_long_is_truncated(net: Lab, name: str, payload: int | None) -> None:
    options = {} if payload is None else {"use_edns": 0, "payload": payload}
    wire = dns.message.make_query(f"{name}.odd.test", "TXT", **options).to_wire()  # type: ignore[arg-type]
    ours, theirs = (_ask(net, server, wire) for server in (SERVER, OTHER))
    assert ours is not None
    assert theirs is not None
    assert _outline(ours) == _outline(theirs)
    assert len(ours) <= min(max(512, payload or 0), 1232)
    assert [len(dns.message.from_wire(one).answer) for one in (ours, theirs)] in ([0, 0], [1, 1])


def test_any_brings_one_set(net: Lab) -> None:
    """RFC 8482, section 4.1."""
    shown = net.run("lan", f"dig +norec +noall +answer +time=3 +tries=1 @{SERVER} odd.test ANY")
    kinds = {line.split()[3] for line in shown.stdout.splitlines()}
    assert len(kinds) == 1


def test_cookies_are_those_that_dig_expects(net: Lab) -> None:
    """RFC 7873: ours comes back with the client's part; the next query shows it."""
    command = f"dig +qr +cookie +time=3 +tries=1 @{SERVER} ns.odd.test"
    first = net.run("lan", command).stdout
    assert "(good)" in first
    whole = first.rsplit("; COOKIE: ", 1)[1].split()[0]
    assert len(whole) == 48
    assert "(good)" in net.run("lan", f"{command} +cookie={whole}").stdout
    assert "FORMERR" in net.run("lan", command.replace("+cookie", "+ednsopt=10:0102030405")).stdout


def _signed(name: str, secret: str, moment: int) -> tuple[bytes, bytes]:
    """A query with a signature, and its MAC."""
    key = dns.tsig.Key(name, secret, "hmac-sha256")
    query = dns.message.make_query("odd.test", "SOA", id=77)
    query.use_tsig(key)
    assert query.tsig is not None
    record = query.tsig[0]
    query.tsig = None
    made, _ = dns.tsig.sign(query.to_wire(), key, record, moment, b"")
    query.tsig = dns.rrset.from_rdata(key.name, 0, made)
    query.want_tsig_sign = False
    return query.to_wire(), made.mac


def _mac(answer: bytes, query_mac: bytes) -> bytes:
    """That of an answer, by RFC 8945, section 4.3, and nothing of the library."""
    record = answer.rindex(b"\7lab-key")
    without = answer[:10] + struct.pack("!H", struct.unpack_from("!H", answer, 10)[0] - 1)
    algorithm = b"\x0bhmac-sha256\0"
    at = record + len(b"\7lab-key\0") + 10 + len(algorithm)  # type, class, TTL, length
    moment = answer[at : at + 8]  # and the fudge
    (length,) = struct.unpack_from("!H", answer, at + 8)
    rest = answer[at + 10 + length + 2 :]  # the error and the other data
    data = struct.pack("!H", len(query_mac)) + query_mac + without + answer[12:record]
    data += b"\7lab-key\0" + struct.pack("!HI", dns.rdataclass.ANY, 0)
    return hmac.digest(b64decode(SECRET), data + algorithm + moment + rest, "sha256")


@pytest.mark.usefixtures("nsd")
@pytest.mark.parametrize(
    ("name", "secret", "shift", "code"),
    [
        ("lab-key", SECRET, 0, Rcode.NOERROR),
        ("other-key", SECRET, 0, Rcode.BADKEY),
        ("lab-key", SECRET[::-1], 0, Rcode.BADSIG),
        ("lab-key", SECRET, -1000, Rcode.BADTIME),
        ("lab-key", SECRET, 1000, Rcode.BADTIME),
    ],
)
def test_signatures(net: Lab, name: str, secret: str, shift: int, code: Rcode) -> None:
    """RFC 8945, section 5.2: of what does not hold, only what has another time is signed."""
    moment = int(time.time()) + shift
    wire, mac = _signed(name, secret, moment)
    outlines = []
    for server in (SERVER, OTHER):
        answer = _ask(net, server, wire)
        assert answer is not None
        message = dns.message.from_wire(answer, keyring=False)
        assert message.tsig is not None
        record = message.tsig[0]
        is_signed = code in (Rcode.NOERROR, Rcode.BADTIME)
        if server == SERVER or code != Rcode.BADTIME:  # NSD 4.6 leaves the MAC out
            assert record.mac == (_mac(answer, mac) if is_signed else b"")
        if code == Rcode.BADTIME:
            assert record.time_signed == moment
            assert abs(int.from_bytes(record.other, "big") - moment + shift) < 300
        outlines.append((_outline(answer), record.error, len(record.other), record.original_id))
    assert outlines[0] == outlines[1]
    assert outlines[0][1] == code
