"""A device under test between two SAPs: a Linux router, whose own counters are compared."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from nfv.bench.trial import Hop, Load
from tests.integration.helpers import traffic
from tests.integration.helpers.benches import Site
from tests.integration.helpers.lab import applied, namespace, run_in

pytestmark = pytest.mark.root

TEXT = """\
name: device
saps:
  client: {{kind: host, ip: 10.1.0.2/24, gateway: 10.1.0.1}}
  server: {{kind: host, ip: 10.2.0.2/24, gateway: 10.2.0.1}}
  left: {{kind: veth, netns: {device}, device: eth0, ip: 10.1.0.1/24}}
  right: {{kind: veth, netns: {device}, device: eth1, ip: 10.2.0.1/24}}
chains:
  there: {{path: [client, left]}}
  back: {{path: [right, server]}}
"""


class Device(Site):
    """The router, and the bench around it."""

    netns = ""

    @property
    def forwarded(self) -> int:
        """Packets that the router's kernel has forwarded."""
        return traffic.kernel_counters(self.netns)["IpForwDatagrams"]

    @property
    def dropped(self) -> int:
        """Packets that its rule has dropped."""
        shown = run_in(self.netns, "nft list chain ip t c").stdout
        (count,) = re.findall(r"counter packets (\d+)", shown)
        return int(count)


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    with namespace("device") as place, applied(TEXT.format(device=place), "device") as lab:
        run_in(place, "sysctl -qw net.ipv4.ip_forward=1")
        run_in(place, "nft add table ip t")
        run_in(place, "nft add chain ip t c { type filter hook forward priority 0 ; }")
        run_in(place, "nft add rule ip t c udp dport 23 counter drop")
        made = Device(lab, "")
        made.netns = place
        yield made


@pytest.mark.parametrize("size", ["64", "1518", "imix"])
def test_what_passes_is_what_the_device_forwarded(device: Device, size: str) -> None:
    with device.rig("client", "server", size) as rig:
        before = device.forwarded
        trial = rig.run(Load(0.1, rate=20_000))
        forwarded = device.forwarded - before
    assert trial.received == trial.sent == forwarded
    assert (trial.duplicates, trial.reordered, trial.late) == (0, 0, 0)


def test_what_the_device_drops_is_lost_outside_the_chains(device: Device) -> None:
    with device.rig("client", "server", dport=[23, 24]) as rig:
        before = device.dropped
        trial = rig.run(Load(0.1, rate=20_000))
        assert device.dropped - before == trial.lost
    assert abs(trial.lost - trial.received) <= 1  # of two ports in turn
    assert trial.hops == [Hop("outside the chains", "not received", trial.lost)]
    assert trial.loss == pytest.approx(0.5, abs=0.01)
