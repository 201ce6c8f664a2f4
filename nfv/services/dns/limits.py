"""What a network gets answered a second (limits.h); whose packets the service takes (senders.h)."""

from __future__ import annotations

from nfv.ebpf import sources
from nfv.ebpf.ticks import hz

BUCKETS = 1 << 16
"""Networks whose answers are counted apart."""

SENDERS = sources.constant("senders.h", "SELF_SENDERS")
"""Senders whose packets are counted apart."""

_TICK = sources.constant("limits.h", "SELF_TICK")


def pace(rate: int) -> tuple[int, int]:
    """The time between answers at some rate a second, and how much may be had at once: a second's.

    In parts of a jiffy; zeros for no limit.
    """
    if not rate:
        return 0, 0
    second = hz() << _TICK
    return second // rate, second
