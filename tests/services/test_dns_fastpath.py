"""The table of answers: what lasts finds its place, however full the table is."""

from __future__ import annotations

from dns.name import from_text
from dns.rdataclass import RdataClass
from dns.rdatatype import RdataType

from nfv.services.dns.fastpath import Answers, Prepared, Server, capacity
from nfv.services.dns.message import MAX_UDP, Query

ENTRY = 160  # bytes of struct self_answer
HEAD = 80  # of struct self_server
COUNT = 13_000


def _put(answers: Answers, word: str, number: int, *, lasting: bool) -> None:
    query = Query(0, 0, from_text(f"{word}{number}.test"), RdataType.A, RdataClass.IN, MAX_UDP)
    data = f"{word}{number}".encode()
    answers.put(query, Prepared(0x8400, bytes(6), data, False), lasting=lasting)


def test_everything_that_lasts_has_a_place() -> None:
    """Also where others came first, and more of them come later."""
    places = capacity(COUNT)
    assert 0.79 * places < COUNT
    memory = bytearray(places * ENTRY)
    answers = Answers(memoryview(memory), memoryview(bytearray(HEAD)), Server(bytes(6), (3, 5)))
    for word, lasting in (("before", False), ("lasting", True), ("after", False)):
        for number in range(COUNT):
            _put(answers, word, number, lasting=lasting)
    found = {bytes(memory[at + 32 : at + 50]).rstrip(b"\0") for at in range(0, len(memory), ENTRY)}
    assert {f"lasting{number}".encode() for number in range(COUNT)} <= found
