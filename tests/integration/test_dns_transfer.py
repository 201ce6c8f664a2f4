"""Secondary servers: Knot DNS with a copy of the zones; transfers and signatures by dig, kdig."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.rcode
import dns.tsig
import pytest

from nfv.services.dns.serials import is_reached
from tests.integration.helpers.lab import Lab, applied, example
from tests.integration.helpers.names import eventually
from tests.services import oracle

pytestmark = pytest.mark.root

SECRET = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
KEY = f"-y hmac-sha256:lab-key:{SECRET}"

TRANSFER = f"""
    tsig: {{lab-key: {{secret: {SECRET}}}}}
    transfer: {{key: lab-key, notify: 192.0.2.10}}
    zones:
"""


@pytest.fixture(scope="module")
def net() -> Iterator[Lab]:
    with applied(example("dns").replace("\n    zones:\n", TRANSFER), "transfer") as made:
        yield made


def _ask(server: oracle.Oracle, name: str) -> list[str]:
    answer = dns.message.from_wire(server.ask(dns.message.make_query(name, "A").to_wire()))
    return sorted(rdata.to_text() for found in answer.answer for rdata in found)


def test_a_secondary_has_the_zones_and_hears_of_changes(net: Lab, tmp_path: Path) -> None:
    place, zones = net.netns("wan"), ["example.org", "lab.example"]
    key = ("lab-key", SECRET)
    with oracle.knot_secondary(place, tmp_path, zones, "10.0.1.53", key, "192.0.2.10") as server:
        eventually(lambda: _ask(server, "web.example.org") == ["192.0.2.80", "192.0.2.81"])
        eventually(lambda: _ask(server, "wan.lab.example") == ["192.0.2.10"])
        assert _ask(server, "anybody.users.example.org") == ["192.0.2.80"]
        net.edit("data: 192.0.2.25}", "data: 192.0.2.26}")
        net.apply()
        eventually(lambda: _ask(server, "mail.example.org") == ["192.0.2.26"])


@pytest.mark.parametrize("program", ["dig +time=3 +tries=1", "kdig +retry=0"])
def test_a_transfer_is_signed(net: Lab, program: str) -> None:
    found = net.run("lan", f"{program} {KEY} @10.0.1.53 example.org AXFR").stdout
    records = [line.split() for line in found.splitlines() if line and line[0] != ";"]
    kinds = [record[3] for record in records if record[3] != "TSIG"]
    assert (kinds[0], kinds[-1]) == ("SOA", "SOA")
    assert sorted(kinds[1:-1]) == sorted(["NS", "MX", "CNAME", "AAAA", *["A"] * 5])
    assert "verify" not in found.lower()


@pytest.mark.parametrize("program", ["dig +time=3 +tries=1", "kdig +retry=0"])
def test_a_signed_question_has_a_signed_answer(net: Lab, program: str) -> None:
    found = net.run("lan", f"{program} {KEY} @10.0.1.53 mail.example.org A").stdout
    assert "NOERROR" in found
    assert "TSIG" in found
    assert "verify" not in found.lower()


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("", "Transfer failed"),
        (f"-y hmac-sha256:other:{SECRET}", "BADKEY"),
        ("-y hmac-sha256:lab-key:bm8gc2VjcmV0bm8gc2VjcmV0bm8=", "BADSIG"),
    ],
)
def test_nobody_else_has_the_zones(net: Lab, key: str, error: str) -> None:
    found = net.run("lan", f"dig +time=3 +tries=1 {key} @10.0.1.53 example.org AXFR", check=False)
    assert "SOA" not in found.stdout
    assert error in found.stdout + found.stderr


def test_who_has_the_zone_is_told_so(net: Lab) -> None:
    """IXFR (RFC 1995): the SOA record alone, or the whole zone."""
    shown = net.run("lan", "dig +short +time=3 +tries=1 @10.0.1.53 example.org SOA").stdout
    serial = int(shown.split()[2])
    command = f"dig +time=3 +tries=1 +tcp {KEY} @10.0.1.53 example.org"
    same = net.run("lan", f"{command} IXFR={serial}").stdout
    assert same.count("SOA") == 1 + same.count(";example.org.")
    older = net.run("lan", f"{command} IXFR={serial - 1}").stdout
    assert "mail.example.org" in older


@pytest.mark.parametrize(
    ("serial", "mine", "reached"),
    [(1, 1, True), (2, 1, True), (1, 2, False), (0, 0xFFFFFFFF, True), (0xFFFFFFFF, 0, False)],
)
def test_serial_numbers_wrap(serial: int, mine: int, reached: bool) -> None:
    assert is_reached(serial, mine) is reached
