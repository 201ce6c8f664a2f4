"""Connections counted on a simulated firewall with room for some of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nfv.bench.connections import Step, connections
from nfv.bench.outcome import Limit
from nfv.bench.trial import Load, Trial
from tests.unit.test_bench_search import Device


def take(count: int, room: int, seconds: float) -> list[Step]:
    """The steps that were taken; checks the figures."""
    taken: list[Step] = []
    empty = Device(1e6)(Load(0.1, frames=0))

    def one(step: Step) -> Trial:
        taken.append(step)
        received = count if step is Step.SYN else min(count, room)
        return replace(empty, sent=count, received=received, seconds=seconds)

    found = connections(one, "76")
    assert found.figures["connections"] == min(count, room)
    assert found.figures["cps"] == pytest.approx(min(count, room) / (3 * seconds))
    assert found.figures["loss"] == pytest.approx(max(0, count - room) / count)
    assert found.limit is (Limit.LOSS if room < count else Limit.ASKED)
    assert len(found.trials) == len(taken)
    return taken


@pytest.mark.parametrize(("count", "room"), [(1000, 10_000), (1000, 300), (1000, 1000)])
def test_what_the_far_end_can_answer_is_open(count: int, room: int) -> None:
    assert take(count, room, 0.01) == [
        Step.SYN, Step.SYN_ACK, Step.ACK, Step.ANSWER, Step.RESET
    ]  # fmt: skip


def test_the_far_end_sends_answers_only() -> None:
    assert [step for step in Step if not step.forward] == [Step.SYN_ACK, Step.ANSWER]
