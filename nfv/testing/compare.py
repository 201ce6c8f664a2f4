"""Frames that arrived beside those that were expected, and how they differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import Enum
from typing import Literal

from nfv.testing import fields
from nfv.testing.fields import FieldName
from nfv.traffic.link import IPV4, IPV6, payload

Order = Literal["strict", "per-flow", "any"]

_WITH_PORTS = {6, 17, 132, 136}  # TCP, UDP, SCTP, UDP-Lite
_FRAGMENT = 0x3FFF  # in the IPv4 header: offset, and that more follow
_ALIKE = 0.5  # share of bytes that two frames have in common which are taken for one that changed
_MOST_TRIED = 200  # frames that each frame is compared with to find the one that it was


class Kind(Enum):
    """What is wrong with a frame."""

    CHANGED = "changed"
    MISSING = "missing"
    EXTRA = "extra"
    MOVED = "moved"


@dataclass(frozen=True)
class Difference:
    """A frame that is not as expected: its place among those expected and among those arrived."""

    kind: Kind
    expected: int | None
    actual: int | None
    words: str
    lines: tuple[str, ...] = ()  # field by field


def compare(
    expected: Sequence[bytes], actual: Sequence[bytes], ignored: Sequence[FieldName], order: Order
) -> list[Difference]:
    """All differences, in the order of the expected frames, extra ones last."""
    wanted = [fields.masked(frame, ignored) for frame in expected]
    got = [fields.masked(frame, ignored) for frame in actual]
    if wanted == got:
        return []
    left, over = _unmatched(wanted, got, order)
    found = [*_moved(wanted, got, left, over)]
    changed = _paired(wanted, got, left, over)
    found += [_changed(expected, actual, ignored, *pair) for pair in changed]
    found += [_missing(expected, place) for place in left]
    found += [_extra(actual, place) for place in over]
    return sorted(found, key=lambda one: len(expected) if one.expected is None else one.expected)


def _unmatched(
    wanted: Sequence[bytes], got: Sequence[bytes], order: Order
) -> tuple[list[int], list[int]]:
    """The places of expected frames that did not arrive, and of arrived ones not expected."""
    left: list[int] = []
    over: list[int] = []
    for ours, theirs in _groups(wanted, got, order):
        one, other = [wanted[place] for place in ours], [got[place] for place in theirs]
        if one == other:
            continue
        matcher = SequenceMatcher(None, one, other, autojunk=False)
        for tag, start, end, start2, end2 in matcher.get_opcodes():
            if tag != "equal":
                left += ours[start:end]
                over += theirs[start2:end2]
    return sorted(left), sorted(over)


def _groups(
    wanted: Sequence[bytes], got: Sequence[bytes], order: Order
) -> Iterator[tuple[list[int], list[int]]]:
    """The places of frames that are in order among themselves."""
    groups: dict[Hashable, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for side, frames in enumerate((wanted, got)):
        for place, frame in enumerate(frames):
            key = {"strict": None, "per-flow": _flow(frame), "any": frame}[order]
            groups[key][side].append(place)
    yield from groups.values()


def _flow(frame: bytes) -> Hashable:
    """What frames of one flow have in common; a datagram in fragments is a flow."""
    ethertype, place = payload(frame)
    if ethertype == IPV4 and len(frame) >= place + 20:
        protocol, ends = frame[place + 9], frame[place + 12 : place + 20]
        if int.from_bytes(frame[place + 6 : place + 8], "big") & _FRAGMENT:
            return ethertype, protocol, ends, frame[place + 4 : place + 6]
        behind = place + (frame[place] & 15) * 4
    elif ethertype == IPV6 and len(frame) >= place + 40:
        protocol, ends, behind = frame[place + 6], frame[place + 8 : place + 40], place + 40
    else:
        return ethertype, frame[:12]
    return ethertype, protocol, ends, frame[behind : behind + 4 * (protocol in _WITH_PORTS)]


def _moved(
    wanted: Sequence[bytes], got: Sequence[bytes], left: list[int], over: list[int]
) -> Iterator[Difference]:
    """Frames that arrived at another place; they are taken out of both lists."""
    places: dict[bytes, list[int]] = defaultdict(list)
    for place in over:
        places[got[place]].append(place)
    for place in list(left):
        if found := places[wanted[place]]:
            there = found.pop(0)
            left.remove(place)
            over.remove(there)
            words = f"packet {place + 1} came as packet {there + 1}: out of order"
            yield Difference(Kind.MOVED, place, there, words)


def _paired(
    wanted: Sequence[bytes], got: Sequence[bytes], left: list[int], over: list[int]
) -> Iterator[tuple[int, int]]:
    """Frames that are alike: one that was changed. They are taken out of both lists."""
    for place in list(left):
        frame = wanted[place]
        candidates = over[:_MOST_TRIED]
        if not candidates:
            return
        best = max(candidates, key=lambda there: (_alike(frame, got[there]), -there))
        if _alike(frame, got[best]) >= _ALIKE:
            left.remove(place)
            over.remove(best)
            yield place, best


def _alike(one: bytes, other: bytes) -> float:
    """The share of the bytes that two frames have in common; 0 for other protocols."""
    if one[12:14] != other[12:14]:
        return 0
    same = sum(a == b for a, b in zip(one, other, strict=False))
    return same / max(len(one), len(other))


def _changed(
    expected: Sequence[bytes],
    actual: Sequence[bytes],
    ignored: Sequence[FieldName],
    place: int,
    there: int,
) -> Difference:
    lines = fields.differences(expected[place], actual[there], ignored)
    words = f"packet {place + 1} of {len(expected)} differs: {fields.summary(expected[place])}"
    return Difference(Kind.CHANGED, place, there, words, tuple(lines))


def _missing(expected: Sequence[bytes], place: int) -> Difference:
    words = f"packet {place + 1} of {len(expected)} is missing: {fields.summary(expected[place])}"
    return Difference(Kind.MISSING, place, None, words)


def _extra(actual: Sequence[bytes], place: int) -> Difference:
    words = f"packet {place + 1} that arrived is not expected: {fields.summary(actual[place])}"
    return Difference(Kind.EXTRA, None, place, words)
