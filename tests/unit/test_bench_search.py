"""Searches on a simulated device whose capacity and buffer are known."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfv.bench.mrr import mrr
from nfv.bench.ndrpdr import ndr_pdr
from nfv.bench.outcome import Limit
from nfv.bench.plan import Plan, measured
from nfv.bench.rfc2544 import back_to_back, frame_loss, throughput
from nfv.bench.trial import Latency, Load, Trial

LATENCY = Latency(10, 1e-6, 2e-6, 2e-6, 3e-6, 4e-6, 5e-6, [(2e-6, 9), (5e-6, 1)])
FRAME = 60  # bytes without FCS


@dataclass
class Device:
    """Forwards `capacity` frames a second and holds `buffer`; `most` can be sent to it."""

    capacity: float
    most: float = 10e6
    buffer: int = 0
    loss: float = 0.0  # share of the frames that are lost at any rate
    loads: list[Load] = field(default_factory=list)

    def __call__(self, load: Load) -> Trial:
        self.loads.append(load)
        rate = min(load.rate or self.most, self.most)
        sent = round(rate * load.seconds)
        if load.frames is not None:
            sent = min(sent, load.frames)
        if load.intended is not None:
            sent = min(sent, load.intended)
        seconds = sent / rate
        room = round(self.capacity * seconds) + self.buffer
        received = min(sent, room) - round(sent * self.loss)
        return Trial(
            load=load,
            sent=sent,
            sent_bytes=sent * FRAME,
            seconds=max(0, sent - 1) / rate,
            worst=0.0,
            received=received,
            received_bytes=received * FRAME,
            duplicates=0,
            reordered=0,
            late=0,
            latency=LATENCY,
            entered=sent,
            left=received,
            hops=[],
        )


@given(st.floats(1e5, 9.9e6), st.sampled_from([0.1, 0.02, 0.005]))
def test_throughput_is_found_to_within_the_width(capacity: float, width: float) -> None:
    device = Device(capacity)
    found = throughput(device, "64", 1.0, width, None)
    assert capacity - 10e6 * width * 1.01 <= found.figures["pps"] <= capacity + 1
    assert found.figures["pps"] >= capacity * (1 - width) - 2
    assert found.limit is Limit.LOSS
    assert found.figures["bps"] == pytest.approx(found.figures["pps"] * 64 * 8)


def test_what_cannot_be_sent_is_no_result() -> None:
    found = throughput(Device(capacity=50e6, most=2e6), "64", 1.0, 0.01, 3e6)
    assert 2e6 * 0.985 <= found.figures["pps"] <= 2e6
    assert found.limit is Limit.GENERATOR
    assert not found.trials[0].valid
    assert found.trials[0].lost == 0


def test_a_device_that_is_quicker_than_the_generator_is_said_to_be() -> None:
    found = throughput(Device(capacity=50e6, most=2e6), "64", 1.0, 0.01, None)
    assert found.figures["pps"] == pytest.approx(2e6, rel=1e-5)
    assert found.limit is Limit.GENERATOR


def test_no_more_is_sent_than_was_asked_for() -> None:
    device = Device(capacity=50e6)
    found = throughput(device, "64", 1.0, 0.01, 1e6)
    assert found.figures["pps"] == 1e6
    assert found.limit is Limit.ASKED
    assert all(load.rate and load.rate <= 1e6 for load in device.loads)


def test_a_device_that_always_loses_has_no_throughput() -> None:
    found = throughput(Device(capacity=50e6, loss=0.01), "64", 1.0, 0.01, None)
    assert found.figures["pps"] == 0
    assert len(found.trials) < 15


def test_frame_loss_goes_down_by_tenths_until_two_trials_lose_nothing() -> None:
    found = frame_loss(Device(capacity=6.5e6), "64", 1.0, None)
    rates = [trial.load.rate for trial in found.trials]
    assert rates[0] is None
    assert rates[1:] == pytest.approx([9e6, 8e6, 7e6, 6e6, 5e6], rel=1e-5)
    losses = [trial.loss for trial in found.trials]
    assert losses == pytest.approx([0.35, 2.5 / 9, 1.5 / 8, 0.5 / 7, 0, 0], abs=1e-5)
    assert found.figures["loss"] == pytest.approx(0.35)


def test_loss_is_told_of_the_highest_load_that_could_be_sent() -> None:
    found = frame_loss(Device(capacity=50e6, most=6.5e6), "64", 1.0, 10e6)
    rates = [trial.load.rate for trial in found.trials]
    assert rates == pytest.approx([10e6, 9e6, 8e6, 7e6, 6e6, 5e6])
    assert [trial.valid for trial in found.trials] == [False] * 4 + [True] * 2
    assert found.figures == {"load_pps": pytest.approx(6e6, rel=1e-5), "loss": 0.0}
    assert found.limit is Limit.GENERATOR


@pytest.mark.parametrize(
    ("capacity", "most", "maximum", "limit"),
    [
        (50e6, 2e6, None, Limit.GENERATOR),
        (50e6, 2e6, 3e6, Limit.GENERATOR),
        (50e6, 2e6, 1e6, Limit.ASKED),
        (1e6, 2e6, 2e6, Limit.LOSS),
    ],
)
def test_what_limits_the_receive_rate(
    capacity: float, most: float, maximum: float | None, limit: Limit
) -> None:
    found = mrr(Device(capacity, most), "64", 1.0, 2, maximum)
    assert found.limit is limit
    assert found.figures["pps"] == pytest.approx(min(capacity, most, maximum or most), rel=1e-5)


@given(st.integers(1, 100_000))
def test_a_burst_is_as_long_as_the_buffer_allows(buffer: int) -> None:
    found = back_to_back(Device(capacity=5e6, buffer=buffer), "64", 1.0, 2)
    assert found.figures["burst_frames"] == pytest.approx(2 * buffer, abs=2)
    assert found.limit is Limit.LOSS


def test_a_burst_that_passes_whole_ends_with_the_time() -> None:
    found = back_to_back(Device(capacity=50e6), "64", 0.5, 3)
    assert found.figures == {"burst_frames": 5e6, "burst_seconds": pytest.approx(0.5)}
    assert (found.limit, len(found.trials)) == (Limit.ASKED, 3)


def test_the_maximum_receive_rate_is_what_arrives_at_full_load() -> None:
    found = mrr(Device(capacity=4e6), "64", 1.0, 5, None)
    assert found.figures["pps"] == pytest.approx(4e6, rel=1e-5)
    assert found.figures["stddev_pps"] == 0
    assert (found.limit, len(found.trials)) == (Limit.LOSS, 5)


@pytest.mark.parametrize("capacity", [123e3, 2e6, 7.7e6])
def test_ndr_and_pdr_are_conditional_throughputs(capacity: float) -> None:
    found = ndr_pdr(Device(capacity), "64", 0.1, 0.005, None)
    assert capacity * 0.99 <= found.figures["ndr_pps"] <= capacity * 1.0001
    # At most half a percent of what is sent is lost; what arrives is the throughput.
    assert capacity * 0.99 <= found.figures["pdr_pps"] <= capacity * 1.0001
    assert found.limit is Limit.LOSS


def test_a_device_that_loses_a_little_has_pdr_and_no_ndr() -> None:
    found = ndr_pdr(Device(capacity=50e6, loss=0.002), "64", 0.1, 0.005, 5e6)
    assert found.figures["ndr_pps"] == 0
    assert found.figures["pdr_pps"] == pytest.approx(5e6 * 0.998, rel=1e-3)


def test_mlrsearch_takes_unsent_frames_as_lost() -> None:
    found = ndr_pdr(Device(capacity=50e6, most=2e6), "64", 0.1, 0.005, 4e6)
    assert 2e6 * 0.99 <= found.figures["ndr_pps"] <= 2e6


def test_latency_is_measured_at_the_throughput_and_at_parts_of_it() -> None:
    device = Device(capacity=4e6)
    plan = Plan(["latency"], seconds=0.1, repeat=2)
    first, *others = measured(plan, device, "64")
    assert first.test == "throughput"
    rate = first.figures["pps"]
    assert [(one.load, one.figures["load_pps"]) for one in others] == [
        (1.0, rate), (0.5, pytest.approx(rate / 2)), (0.1, pytest.approx(rate / 10))
    ]  # fmt: skip
    assert others[0].figures["p99"] == 3e-6
    assert [len(one.trials) for one in others] == [2, 2, 2]


def test_only_what_is_asked_for_is_measured() -> None:
    tests = ["mrr", "frame-loss"]
    found = [one.test for one in measured(Plan(tests, 0.1), Device(capacity=4e6), "64")]
    assert found == ["frame-loss", "mrr"]


def test_a_trial_without_frames_has_passed_nothing() -> None:
    trial = Device(capacity=1e6)(Load(1.0, frames=0))
    assert (trial.passed, trial.loss, trial.offered, trial.frame_bits) == (False, 0.0, 0.0, 0.0)
