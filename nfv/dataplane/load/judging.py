"""What counters and times say of a trial. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from nfv.bench.trial import Hop, Latency
from nfv.dataplane import statistics
from nfv.dataplane.load import histogram
from nfv.dataplane.load.sink import Arrived
from nfv.dataplane.statistics import Counts, Statistics
from nfv.traffic.pace import NANOSECONDS


def latency(arrived: Arrived) -> Latency | None:
    """The times of the frames that were timed, if any were."""
    if not arrived.timed:
        return None
    p50, p99, p999 = (
        min(histogram.percentile(arrived.times, share), arrived.most) / NANOSECONDS
        for share in (0.5, 0.99, 0.999)
    )
    return Latency(
        timed=arrived.timed,
        least=arrived.least / NANOSECONDS,
        mean=arrived.mean / NANOSECONDS,
        p50=p50,
        p99=p99,
        p999=p999,
        most=arrived.most / NANOSECONDS,
        histogram=[
            (histogram.upper(bucket) / NANOSECONDS, count)
            for bucket, count in enumerate(arrived.times)
            if count
        ],
    )


def drops(counted: Statistics, lost: int) -> Iterator[Hop]:
    """Where packets ended that went nowhere, in the order of the file, by nfvctl's counters.

    Ports count what ended on the walk from there, in a function or before any. Last comes what no
    counter has: lost behind the chains, or in a queue between them.
    """
    elsewhere: Counter[str] = Counter()
    for port in counted.ports.values():
        elsewhere.update(_dropped(port.received))
    for name, vnf in counted.vnfs.items():
        found = _dropped(vnf.ended)
        elsewhere.subtract(found)
        yield from (Hop(name, reason, packets) for reason, packets in found.items())
    for name, port in counted.ports.items():
        for reason, packets in _dropped(port.received).items():
            own = min(packets, elsewhere[reason])
            elsewhere[reason] -= own
            if own > 0:
                yield Hop(name, reason, own)
    unknown = lost - sum(port.dropped.packets for port in counted.ports.values())
    if unknown > 0:
        yield Hop("outside the chains", "not received", unknown)


def _dropped(counts: Counts) -> dict[str, int]:
    """Packets by the reason for which they went nowhere."""
    return {
        reason: count.packets
        for reason, count in counts.items()
        if statistics.dropped({reason: count}).packets
    }
