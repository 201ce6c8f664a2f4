"""Every number of a trial is compared with an independent count: of devices and of nfvctl."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nfv.bench.trial import Hop, Load, Trial
from nfv.dataplane.kernel import netns
from nfv.errors import KernelError
from tests.integration.helpers.benches import TO_WIRE, Site, a_bench, offered

pytestmark = pytest.mark.root


@pytest.fixture(scope="module", params=["tc", "xdp"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with a_bench(request.param) as made:
        yield made


def drops(trial: Trial) -> list[Hop]:
    """Without what Linux sends on its own at times, such as router solicitations."""
    return [hop for hop in trial.hops if hop.packets > 10]


def received(site: Site) -> int:
    """Packets that came in at wan's device, by its own counter."""
    with netns.entered(site.lab.netns("wan")):
        lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    (line,) = (line for line in lines if line.strip().startswith("eth0:"))
    return int(line.split()[2])


@pytest.mark.parametrize("size", ["64", "512", "1518", "imix"])
def test_a_trial_counts_what_devices_and_nfvctl_count(site: Site, size: str) -> None:
    with site.rig("lan", "wan", size) as rig:
        trial, counted = offered(site, rig, Load(0.2, rate=50_000))
    assert trial.sent == trial.load.intended == 10_000
    assert (trial.received, trial.lost, trial.duplicates, trial.reordered) == (10_000, 0, 0, 0)
    assert trial.passed
    assert trial.received_bytes == trial.sent_bytes
    for counter, found in (
        (counted.ports["lan"].entered, trial.entered),
        (counted.ports["wan"].sent, trial.left),
    ):
        assert 0 <= found - trial.sent <= 5  # what hosts and router say to each other
        assert counter.packets >= found
        assert 0 <= counter.bytes - trial.sent_bytes < 1000
    mean = {"64": 60, "512": 508, "1518": 1514, "imix": (7 * 60 + 4 * 590 + 1514) / 12}[size]
    assert trial.sent_bytes / trial.sent == pytest.approx(mean, rel=1e-3)
    assert trial.latency is not None
    assert sum(count for _, count in trial.latency.histogram) == trial.latency.timed
    assert trial.latency.timed == -(-10_000 // 17)


@pytest.mark.parametrize("rate", [500, 10_000, 200_000])
def test_the_rate_is_measured_where_frames_are_sent(site: Site, rate: int) -> None:
    with site.rig("lan", "wan") as rig:
        start = time.monotonic()
        trial, _ = offered(site, rig, Load(0.1, rate=rate))
        elapsed = time.monotonic() - start
    assert trial.sent == trial.load.intended == rate // 10
    assert trial.offered == pytest.approx((trial.sent - 1) / trial.seconds)
    assert trial.seconds >= (trial.sent - 1) / rate - trial.worst - 1e-6
    assert trial.seconds < elapsed


def test_at_top_speed_as_many_are_sent_as_the_time_allows(site: Site) -> None:
    with site.rig("lan", "wan") as rig:
        arrived = received(site)
        trial = rig.run(Load(0.05))
        assert 0 <= received(site) - arrived - trial.received <= 5
        burst, _ = offered(site, rig, Load(0.5, frames=1234))
    assert trial.seconds <= 0.0501
    assert trial.received == trial.sent > 1000
    assert (burst.sent, burst.received, burst.load.intended) == (1234, 1234, 1234)


def test_what_could_not_be_sent_is_not_passed(site: Site) -> None:
    with site.rig("lan", "wan") as rig:
        trial = rig.run(Load(0.05, rate=30e6))
    assert trial.unsent == 1_500_000 - trial.sent > 0
    assert (trial.valid, trial.passed, trial.lost) == (False, False, 0)


@pytest.mark.parametrize(
    ("near", "far", "profile"),
    [
        ("wan", "lan", {}),
        ("lan", "box", {}),
        ("box", "wan", {}),
        ("lan", "wan", {"proto": "tcp"}),
        ("lan", "wan", {"src": ["2001:db8:1::10"]}),
        ("lan", "wan", {"proto": "tcp", "src": ["2001:db8:1::10"]}),
        ("lan", "wan", {"flows": 3000, "src": ["10.0.1.64/26"], "dport": ["1000-2000"]}),
        ("vm", "card", {**TO_WIRE, "dst_mac": "02:00:00:00:00:01"}),
        ("card", "vm", {**TO_WIRE, "src_mac": "02:00:00:00:00:01"}),
    ],
)
def test_between_any_two_saps(site: Site, near: str, far: str, profile: dict[str, Any]) -> None:
    with site.rig(near, far, "128", **profile) as rig:
        trial, counted = offered(site, rig, Load(0.1, rate=20_000))
    assert (trial.sent, trial.received) == (2000, 2000)
    assert 2000 <= counted.ports[near].entered.packets <= 2005
    assert 2000 <= counted.ports[far].sent.packets <= 2005


def test_what_a_rule_drops_is_lost_there(site: Site) -> None:
    with site.rig("lan", "wan", flows=64, dport=[23, 24]) as rig:
        trial, counted = offered(site, rig, Load(0.1, rate=20_000))
    assert (trial.sent, trial.received, trial.lost, trial.loss) == (2000, 1000, 1000, 0.5)
    assert (trial.valid, trial.passed) == (True, False)
    assert drops(trial) == [Hop("fw", "rule", 1000)]
    assert counted.vnfs["fw"].ended["rule"].packets == 1000


def test_a_path_that_nothing_passes_is_an_error_that_says_where(site: Site) -> None:
    with pytest.raises(KernelError) as caught, site.rig("lan", "wan", dport=[23]):
        pass
    assert caught.value.message.startswith("none of 2,000 frames from lan arrived at wan")
    assert caught.value.hint == "fw: rule 2,000"
