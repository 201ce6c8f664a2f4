"""Programs at TC and at XDP: chosen by SAP, mixed, and exchanged while packets pass."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nfv.dataplane import inspection, state
from tests.integration.helpers import traffic
from tests.integration.helpers.lab import Lab, applied, example
from tests.integration.test_hotchange import lossless

pytestmark = pytest.mark.root

_DATA = bytes(range(256)) * 4096  # a MiB: frames of many segments, where they may be
_LAN = "  lan:\n    kind: host\n"
_AT_XDP = "  lan:\n    kind: host\n    hook: xdp\n"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with applied(example("quickstart"), "hooks") as made:
        yield made


def hooks(lab: Lab) -> dict[str, str]:
    found = state.load(lab.name)
    assert found is not None
    return {program.attachment: program.hook for program in inspection.inspect(found).programs}


def test_hosts_change_hooks_under_load(lab: Lab) -> None:
    assert set(hooks(lab).values()) == {"tc"}
    with lossless(lab) as load:
        for old, new, hook in ((_LAN, _AT_XDP, "xdp"), (_AT_XDP, _LAN, "tc")):
            lab.edit(old, new)
            (line,) = (line for line in lab.lines() if line.name == "lan")
            assert f"-> {hook}" in line.reason
            lab.apply()
            assert hooks(lab)["lan"] == hook
            assert not lab.lines()
            load.go_on()


def test_bulk_between_hosts_of_both_hooks(lab: Lab) -> None:
    lab.edit(_LAN, _AT_XDP)
    lab.apply()
    for near, far, address in (("lan", "wan", "192.0.2.254"), ("lan", "wan", "2001:db8:2::254")):
        client, server = traffic.transfer(lab.netns(near), lab.netns(far), address, 8080, _DATA)
        traffic.send(server, client, _DATA)
        client.close()
        server.close()
    assert not any(traffic.checksum_errors(lab.netns(host)) for host in ("lan", "wan"))
