"""Dynamic updates (RFC 2136) by nsupdate and knsupdate, and a secondary that follows (IXFR)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from nfv.dataplane.kernel import netns
from tests.integration.helpers.lab import Lab, applied, example
from tests.integration.helpers.names import dig, eventually, restart
from tests.services import oracle

pytestmark = pytest.mark.root

SECRET = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
PROGRAMS = ["nsupdate", "knsupdate"]

MORE = f"""
    tsig:
      lab-key: {{secret: {SECRET}}}
      other-key: {{secret: {SECRET}}}
    transfer: {{key: lab-key, notify: 192.0.2.10}}
    zones:
      dyn.example:
        update: lab-key
        records:
          - {{name: fixed, type: A, data: 192.0.2.1}}
"""


@pytest.fixture(scope="module")
def net() -> Iterator[Lab]:
    with applied(example("dns").replace("\n    zones:\n", MORE), "update") as made:
        yield made


def _update(net: Lab, program: str, *lines: str, key: str = "lab-key") -> str:
    """What a client says about an update; nothing if it was done."""
    head = ["server 10.0.1.53", "zone dyn.example"]
    if key:
        head.insert(0, f"key hmac-sha256:{key} {SECRET}")
    with netns.entered(net.netns("lan")):
        done = subprocess.run(
            [program], input="\n".join([*head, *lines, "send", ""]), text=True, capture_output=True
        )
    return done.stdout + done.stderr


def _ask(net: Lab, name: str, rdtype: str = "A") -> list[str]:
    return dig(net, "lan", f"@10.0.1.53 {name}.dyn.example {rdtype}")


def _serial(net: Lab) -> int:
    return int(net.run("lan", "dig +short @10.0.1.53 dyn.example SOA").stdout.split()[2])


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_update_is_seen_at_once(net: Lab, program: str) -> None:
    """On the fast path, too, which has answered before."""
    name, serial = program, _serial(net)
    for _ in range(2):
        assert _ask(net, name) == []
    assert _update(net, program, f"update add {name}.dyn.example. 60 A 192.0.2.7") == ""
    for _ in range(2):
        assert _ask(net, name) == ["192.0.2.7"]
    assert _serial(net) == serial + 1
    assert _update(net, program, f"update delete {name}.dyn.example. A") == ""
    assert _ask(net, name) == []
    assert _serial(net) == serial + 2


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_condition_that_does_not_hold(net: Lab, program: str) -> None:
    lines = ["prereq nxdomain fixed.dyn.example.", "update add x.dyn.example. 60 A 192.0.2.7"]
    assert "YXDOMAIN" in _update(net, program, *lines)
    assert _ask(net, "x") == []


@pytest.mark.parametrize(
    ("key", "error"), [("", "REFUSED"), ("other-key", "REFUSED"), ("no-key", "NOTAUTH")]
)
def test_nobody_else_changes_a_zone(net: Lab, key: str, error: str) -> None:
    line = "update add x.dyn.example. 60 A 192.0.2.7"
    said = _update(net, "nsupdate", line, key=key)
    assert error in said or "BADKEY" in said
    assert _ask(net, "x") == []


def test_an_update_lasts(net: Lab) -> None:
    """When the service is killed; and beside what the topology file says afterwards."""
    assert _update(net, "nsupdate", "update add lasting.dyn.example. 60 A 192.0.2.8") == ""
    serial = _serial(net)
    restart(net)
    assert (_ask(net, "lasting"), _serial(net)) == (["192.0.2.8"], serial)
    net.edit("data: 192.0.2.1}", "data: 192.0.2.2}")
    net.apply()
    assert _ask(net, "fixed") == ["192.0.2.2"]
    assert _ask(net, "lasting") == ["192.0.2.8"]
    assert _serial(net) > serial
    assert net.lines() == []


def test_a_secondary_follows(net: Lab, tmp_path: Path) -> None:
    """It is told of each update and asks what has changed; so does dig."""
    place, zones = net.netns("wan"), ["dyn.example"]
    key = ("lab-key", SECRET)
    with oracle.knot_secondary(place, tmp_path, zones, "10.0.1.53", key, "192.0.2.10"):
        eventually(partial(dig, net, "wan", "@192.0.2.10 fixed.dyn.example"))
        for number in range(3):
            line = f"update add follow{number}.dyn.example. 60 TXT {'x' * 200}"
            assert _update(net, "knsupdate", line) == ""
            eventually(partial(dig, net, "wan", f"@192.0.2.10 follow{number}.dyn.example TXT"))
        serial = _serial(net)
        signed = f"dig -y hmac-sha256:lab-key:{SECRET} @10.0.1.53"
        shown = net.run("wan", f"{signed} dyn.example IXFR={serial - 2}").stdout
        assert "follow2" in shown
        assert "follow1" in shown
        assert "follow0" not in shown
