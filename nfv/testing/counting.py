"""Counters of a case beside what is expected of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict

from nfv.chain.report import did_you_mean
from nfv.dataplane.plaincounts import plain
from nfv.dataplane.statistics import Statistics, drops
from nfv.ebpf.sources import reasons
from nfv.testing.values import Amount


def counters(expected: Mapping[str, Amount], counted: Statistics) -> Iterator[str]:
    """What is wrong with counters, which are named by their path in the JSON of `nfvctl stats`."""
    found = by_name(counted)
    for name, amount in expected.items():
        number = found.get(name, 0 if _is_reason(name, found) else None)
        if number is None:
            hint = did_you_mean(name, found, "`nfvctl stats --format json` has their names")
            yield f"there is no counter {name}: {hint}"
        elif not amount.fits(number):
            yield f"{name} expected {amount.text}, got {number}"


def by_name(counted: Statistics) -> dict[str, int]:
    """All counters that are not zero for their reason, by that path."""
    return dict(_flat("", plain(counted, asdict)))


def dropped(expected: Mapping[str, Mapping[str, Amount]], counted: Statistics) -> Iterator[str]:
    """What is wrong with the packets that ended in functions and at SAPs."""
    for place, wanted in expected.items():
        found = drops_of(place, counted)
        for reason in sorted(wanted.keys() | found.keys()):
            number = found.get(reason, 0)
            amount = wanted.get(reason, Amount("0"))
            if not amount.fits(number):
                yield f"drops of {place}, {reason}: expected {amount.text}, got {number}"


def drops_of(place: str, counted: Statistics) -> dict[str, int]:
    """Packets dropped in a function or at a SAP, by reason."""
    if place in counted.ports:
        ended = counted.ports[place].received
    else:
        ended = counted.vnfs[place].ended if place in counted.vnfs else {}
    return {reason: count.packets for reason, count in drops(ended).items()}


def _flat(prefix: str, value: object) -> Iterator[tuple[str, int]]:
    """Numbers by their path; items of a list are known by their rule."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), item)
    elif isinstance(value, list):
        for item in value:
            yield from _flat(f"{prefix}.{item['rule']}", item)
    elif isinstance(value, int):
        yield prefix, value


def _is_reason(name: str, found: Mapping[str, int]) -> bool:
    """Whether a counter is of a reason for which nothing has ended; those are not listed."""
    place, ended, rest = name.partition(".ended.")
    reason, _, unit = rest.partition(".")
    known = any(one.startswith(f"{place}.") for one in found) or place.startswith("vnfs.")
    return bool(
        ended
        and known
        and unit in ("packets", "bytes")
        and reason in {word for word, _ in reasons().values()}
    )
