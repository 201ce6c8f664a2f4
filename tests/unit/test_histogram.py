"""Percentiles of errors that were counted by size, as nfv/ebpf/include/histogram.h counts them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfv.dataplane.load.histogram import percentile

POWERS, SUB = 36, 32


def counted(errors: Sequence[int]) -> list[int]:
    """Buckets for each value below 32, then 32 for each power of two."""
    counts = [0] * (POWERS * SUB)
    for error in errors:
        power = max(0, error.bit_length() - 6)
        counts[power * SUB + (error >> power)] += 1
    return counts


@given(st.lists(st.integers(0, 10**10), min_size=1), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_percentiles_are_at_most_a_32nd_too_high(errors: list[int], share: float) -> None:
    rank = next(rank for rank in range(1, len(errors) + 1) if rank >= share * len(errors))
    right = sorted(errors)[rank - 1]
    assert right <= percentile(counted(errors), share) <= right + right // 32


@pytest.mark.parametrize("error", [0, 1, 31, 32, 33, 63, 64, 65, 1000, 10**9])
def test_one_error_is_every_percentile(error: int) -> None:
    assert percentile(counted([error]), 0.5) == percentile(counted([error]), 0.99) >= error


def test_without_gaps_there_is_no_error() -> None:
    assert percentile(counted([]), 0.99) == 0
