"""DNS cookies: the vectors of RFC 9018, appendix A; what the service answers."""

from __future__ import annotations

import struct

import dns.edns
import dns.message
import pytest
from dns.rcode import Rcode

from nfv.services.dns import cookies
from nfv.services.dns.responder import Responder
from tests.services.test_dns_message import AUTHORITY

SERVER_PART = 16
"""Bytes of a server cookie, which is an answer's last part (RFC 9018, section 4.1)."""
SECRET = (1, 2)


@pytest.mark.parametrize(
    ("key", "address", "moment", "cookie"),
    [
        (
            "e5e973e5a6b2a43f48e7dc849e37bfcf",
            "198.51.100.100",
            1559731985,
            "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
        ),
        (
            "dd3bdf9344b678b185a6f5cb60fca715",
            "2001:db8:220:1:59de:d0f4:8769:82b8",
            1559741817,
            "22681ab97d52c298010000005cf7c57926556bd0934c72f8",
        ),
    ],
)
def test_vectors(key: str, address: str, moment: int, cookie: str) -> None:
    first, second = struct.unpack("<QQ", bytes.fromhex(key))
    whole = bytes.fromhex(cookie)
    stamp = struct.pack("!I", moment)
    assert cookies.answer(whole[:8], address, (first, second), stamp) == whole


def _ask(data: bytes, client: str = "192.0.2.1", name: str = "www.example.org") -> bytes:
    responder = Responder(AUTHORITY, lambda _query, _answer, _is_ours: None, secret=SECRET)
    options: list[dns.edns.Option] = [dns.edns.GenericOption("COOKIE", data)]
    wire = dns.message.make_query(name, "A", use_edns=0, options=options).to_wire()
    answer = responder.respond(wire, client)
    assert isinstance(answer, bytes)
    again = responder.respond(wire, client)
    assert isinstance(again, bytes)
    assert again[:-SERVER_PART] == answer[:-SERVER_PART], "but for the time, and its hash"
    return answer


@pytest.mark.parametrize("length", [8, 16, 24, 40])
def test_a_cookie_is_answered_with_ours(length: int) -> None:
    """Whatever the server's part was (RFC 7873, sections 5.2.3 and 5.2.4)."""
    answer = dns.message.from_wire(_ask(b"12345678".ljust(length, b"x")))
    (option,) = answer.options
    assert isinstance(option, dns.edns.CookieOption)
    stamp = option.server[4:8]
    assert option.client + option.server == cookies.answer(b"12345678", "192.0.2.1", SECRET, stamp)
    assert answer.answer


@pytest.mark.parametrize("length", [0, 7, 9, 15, 41])
def test_a_cookie_of_no_known_length_is_malformed(length: int) -> None:
    """RFC 7873, section 5.2.2."""
    head = dns.message.from_wire(_ask(b"x" * length))
    assert head.rcode() == Rcode.FORMERR


def test_each_client_has_its_own() -> None:
    one = dns.message.from_wire(_ask(b"12345678", "192.0.2.1")).options
    other = dns.message.from_wire(_ask(b"12345678", "192.0.2.2")).options
    assert one != other
