"""Zones of other servers: copies from Knot DNS and NSD, kept current by NOTIFY, IXFR and timers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from dns.name import from_text

from nfv.dataplane.resident import servicectl
from tests.integration.helpers.lab import Lab, applied, example
from tests.integration.helpers.names import dig, eventually, restart
from tests.services import oracle

pytestmark = pytest.mark.root

SECRET = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"

COPY = f"""
    tsig: {{lab-key: {{secret: {SECRET}}}}}
    zones:
      copy.example: {{primary: [192.0.2.11, 192.0.2.10], key: lab-key}}
"""

ZONE = """$TTL 300
@ SOA ns hostmaster {serial} {refresh} 1 {expire} 60
@ NS ns
ns A 192.0.2.10
www A {www}
{more}
"""
MANY = "\n".join(f"host{number} A 198.51.{number // 250}.{number % 250}" for number in range(2000))


def _text(serial: int, *, refresh: int = 3600, expire: int = 86400, more: str = "") -> str:
    return ZONE.format(
        serial=serial, refresh=refresh, expire=expire, www=f"192.0.2.{serial}", more=more
    )


@pytest.fixture
def net() -> Iterator[Lab]:
    with applied(example("dns").replace("\n    zones:\n", COPY), "copy") as made:
        yield made


@pytest.mark.parametrize(
    ("program", "transfers"),
    [(oracle.knot_primary, {"AXFR": 1, "IXFR": 2}), (oracle.nsd_primary, {"AXFR": 3})],
    ids=["knot", "nsd"],
)
def test_a_copy_follows_its_primary(
    net: Lab, program: oracle.PrimaryStarter, transfers: dict[str, int], tmp_path: Path
) -> None:
    """The whole zone first, signed; then what changes, as soon as the primary says so."""
    assert "SERVFAIL" in _ask(net)
    zones = {from_text("copy.example"): _text(1, more=MANY)}
    key = ("lab-key", SECRET)
    with program(net.netns("wan"), tmp_path, zones, "192.0.2.10", key, "10.0.1.53") as primary:
        eventually(partial(_says, net, 1))
        assert dig(net, "lan", "@10.0.1.53 host1999.copy.example") == ["198.51.7.249"]
        for serial in (2, 3):
            primary.change(from_text("copy.example"), _text(serial, more=MANY))
            eventually(partial(_says, net, serial))
        assert dig(net, "lan", "@10.0.1.53 host1999.copy.example") == ["198.51.7.249"]
    status = _status(net)
    assert {word: status[word] for word in ("AXFR", "IXFR") if word in status} == transfers
    restart(net)
    assert _says(net, 3)  # without its primary
    assert _status(net)["serial"] == 3


def test_a_copy_expires(net: Lab, tmp_path: Path) -> None:
    """RFC 1034, section 4.3.5; it is back as soon as its primary is."""
    zones = {from_text("copy.example"): _text(1, refresh=1, expire=3)}
    place, key = net.netns("wan"), ("lab-key", SECRET)
    with oracle.knot_primary(place, tmp_path, zones, "192.0.2.10", key, "10.0.1.53"):
        eventually(partial(_says, net, 1))
    eventually(lambda: "SERVFAIL" in _ask(net))
    restart(net)
    assert "SERVFAIL" in _ask(net)
    with oracle.knot_primary(place, tmp_path, zones, "192.0.2.10", key, "10.0.1.53"):
        eventually(partial(_says, net, 1))


def test_others_say_nothing_of_a_copy(net: Lab) -> None:
    """NOTIFY (RFC 1996) from who is no primary server, signed by nobody."""
    command = "dig +tries=1 +opcode=NOTIFY @10.0.1.53 copy.example SOA"
    assert "REFUSED" in net.run("lan", command).stdout
    assert "NOTAUTH" in net.run("lan", command.replace("copy.", "other.")).stdout


def _says(net: Lab, serial: int) -> bool:
    return dig(net, "lan", "@10.0.1.53 www.copy.example") == [f"192.0.2.{serial}"]


def _ask(net: Lab) -> str:
    return net.run("lan", "dig +time=3 +tries=1 @10.0.1.53 www.copy.example").stdout


def _status(net: Lab) -> dict[str, int]:
    service: Any = servicectl.ask(net.name, "dns", "status")["service"]
    found: dict[str, int] = service["copies"]["copy.example"]
    return found
