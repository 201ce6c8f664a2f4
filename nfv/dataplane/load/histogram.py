"""Durations counted by size, as nfv/ebpf/include/histogram.h counts them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from nfv.ebpf import sources

_SUB_BITS = sources.constant("histogram.h", "HISTOGRAM_SUB_BITS")
BUCKETS = sources.constant("histogram.h", "HISTOGRAM_MAX_POWER") - _SUB_BITS + 2 << _SUB_BITS


def percentile(counts: Sequence[int], share: float) -> int:
    """The value that this share of those counted does not exceed; 3 % too high at most."""
    wanted = share * sum(counts)
    for place, count in enumerate(counts):
        wanted -= count
        if wanted <= 0:
            return upper(place)
    return 0


def upper(bucket: int) -> int:
    """The largest value that is counted in a bucket."""
    power = max(0, (bucket >> _SUB_BITS) - 1)
    below = bucket - (power << _SUB_BITS)
    return (below + 1 << power) - 1
