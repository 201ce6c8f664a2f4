"""When frames are due: absolute times, on one clock for all captures."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from nfv.errors import InputError
from nfv.traffic.feed import Feed, Source, survey
from nfv.traffic.link import Macs
from nfv.traffic.pace import BitRate, Original, Pace, PacketRate, TopSpeed
from nfv.traffic.rewrite import Rewriting

MS = 1_000_000


def source(path: Path, moments: Sequence[int], *, length: int = 60, link: int = 1) -> Source:
    """A capture with a frame at each moment, in milliseconds; its first byte is its number."""
    data = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, link)
    for number, moment in enumerate(moments):
        seconds, rest = divmod(moment * MS, 10**9)
        frame = bytes([number]).ljust(length, b"\0")
        data += struct.pack("<IIII", seconds, rest, length, length) + frame
    path.write_bytes(data)
    return Source("lan", path, 1518, Macs(bytes(6), bytes(6)), Rewriting())


def feed(pace: Pace, *sources: Source, align: bool = False) -> Feed:
    return Feed(sources, [survey(one, lambda length: length) for one in sources], pace, align)


def schedule(made: Feed) -> list[tuple[int, int, int]]:
    """When each frame is due in microseconds, its source and its number."""
    return [(frame.due // 1000, frame.source, frame.data[0]) for frame in made.once()]


@pytest.mark.parametrize(
    ("pace", "due", "period"),
    [
        (Original(), [0, 10_000, 11_000, 30_000], 40_000),
        (Original(10), [0, 1_000, 1_100, 3_000], 4_000),
        (PacketRate(1000), [0, 1_000, 2_000, 3_000], 4_000),
        (BitRate(48_000), [0, 10_000, 20_000, 30_000], 40_000),  # 480 bits each
        (TopSpeed(), [0, 0, 0, 0], 0),
    ],
)
def test_paces(tmp_path: Path, pace: Pace, due: list[int], period: int) -> None:
    made = feed(pace, source(tmp_path / "a", [50, 60, 61, 80]))
    assert [when for when, _, _ in schedule(made)] == due
    assert made.period == period * 1000


def test_bit_rates_count_the_bits_before(tmp_path: Path) -> None:
    made = feed(BitRate(1_000_000), source(tmp_path / "a", [0, 1, 2], length=125))
    assert [when for when, _, _ in schedule(made)] == [0, 1_000, 2_000]


def test_captures_are_merged_on_one_clock(tmp_path: Path) -> None:
    near = source(tmp_path / "near", [100, 130])
    far = source(tmp_path / "far", [110, 120, 140])
    assert schedule(feed(Original(), near, far)) == [
        (0, 0, 0),
        (10_000, 1, 0),
        (20_000, 1, 1),
        (30_000, 0, 1),
        (40_000, 1, 2),
    ]


def test_captures_of_different_days_can_begin_together(tmp_path: Path) -> None:
    near = source(tmp_path / "near", [100, 130])
    far = source(tmp_path / "far", [90_000_000, 90_000_010])
    made = feed(Original(), near, far, align=True)
    assert schedule(made) == [(0, 0, 0), (0, 1, 0), (10_000, 1, 1), (30_000, 0, 1)]
    assert made.span == 30 * MS


def test_a_frame_whose_time_goes_back_is_due_with_the_one_before(tmp_path: Path) -> None:
    made = feed(Original(), source(tmp_path / "a", [10, 30, 20, 40]))
    assert [when for when, _, _ in schedule(made)] == [0, 20_000, 20_000, 30_000]


def test_passes_follow_each_other_at_the_mean_gap(tmp_path: Path) -> None:
    made = feed(Original(), source(tmp_path / "a", [0, 10, 30]))
    assert [frame.due // MS for frame in made.passes(2)] == [0, 10, 30, 45, 55, 75]


def test_passes_may_have_no_end(tmp_path: Path) -> None:
    endless = feed(PacketRate(1000), source(tmp_path / "a", [0, 1])).passes(None)
    assert [next(endless).due // MS for _ in range(7)] == list(range(7))


def test_one_frame_has_no_gap(tmp_path: Path) -> None:
    assert feed(Original(), source(tmp_path / "a", [5])).period == 0


def test_what_cannot_be_sent_is_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a"
    lengths = [(60, 60), (60, 90), (13, 13), (1519, 1519), (1518, 1518)]
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for kept, whole in lengths:
        data += struct.pack("<IIII", 0, 0, kept, whole) + bytes(kept)
    path.write_bytes(data)
    one = Source("lan", path, 1518, Macs(bytes(6), bytes(6)), Rewriting())
    found = survey(one, lambda length: 2 * length)
    assert (found.frames, found.bytes, found.stored, found.longest) == (2, 1578, 3156, 1518)
    assert found.skipped == {
        "cut by the capture's snap length": 1,
        "too short for their headers": 1,
        "longer than the MTU allows": 1,
    }
    made = Feed([one], [found], TopSpeed(), False)
    assert [len(frame.data) for frame in made.once()] == [60, 1518]


def test_a_capture_with_nothing_to_send_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no packet that can be sent") as caught:
        feed(TopSpeed(), source(tmp_path / "a", [0, 1], length=9))
    assert caught.value.hint == "2 too short for their headers"


def test_other_link_types_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="link type 127, which are no frames"):
        feed(TopSpeed(), source(tmp_path / "a", [0], link=127))


def test_packets_without_time_need_a_rate(tmp_path: Path) -> None:
    path = tmp_path / "a"
    section = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    interface = struct.pack("<IIHHII", 1, 20, 1, 0, 0, 20)
    simple = struct.pack("<III", 3, 76, 60) + bytes(60) + struct.pack("<I", 76)
    path.write_bytes(section + interface + simple * 2)
    one = Source("lan", path, 1518, Macs(bytes(6), bytes(6)), Rewriting())
    with pytest.raises(InputError, match="packets without time"):
        feed(Original(), one)
    assert [frame.due for frame in feed(PacketRate(1000), one).once()] == [0, MS]
