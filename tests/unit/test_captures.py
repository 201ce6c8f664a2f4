"""Capture files: what Scapy writes is read as Scapy reads it, and damage is told with its place."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.l2 import Ether
from scapy.packet import Packet as ScapyPacket
from scapy.utils import RawPcapReader, wrpcap, wrpcapng

from nfv.errors import InputError
from nfv.traffic import capture, pcap, pcapng
from nfv.traffic.packet import Damage, Packet

FRAMES = [bytes([number]) * (60 + 7 * number) for number in range(5)]
SECOND = 1_700_000_000
ETHERNET = 1


def written_pcap(path: Path, order: str, *, nanoseconds: bool) -> Path:
    magic, unit = (0xA1B23C4D, 1) if nanoseconds else (0xA1B2C3D4, 1000)
    data = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, ETHERNET)
    for number, frame in enumerate(FRAMES):
        time = SECOND, (123_456_000 + number * 1000) // unit
        data += struct.pack(order + "IIII", *time, len(frame), len(frame) + number) + frame
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("nanoseconds", [False, True])
def test_a_pcap_is_read_in_either_byte_order_and_unit(
    tmp_path: Path, order: str, nanoseconds: bool
) -> None:
    path = written_pcap(tmp_path / "a.pcap", order, nanoseconds=nanoseconds)
    assert list(capture.read(path)) == [
        Packet(SECOND * 10**9 + 123_456_000 + number * 1000, ETHERNET, frame, len(frame) + number)
        for number, frame in enumerate(FRAMES)
    ]


def test_a_pcap_is_read_as_scapy_reads_it(tmp_path: Path) -> None:
    path = written_pcap(tmp_path / "a.pcap", ">", nanoseconds=True)
    expected = [
        (frame, meta.sec * 10**9 + meta.usec, meta.wirelen)
        for frame, meta in RawPcapReader(str(path))
    ]
    assert [(p.data, p.moment, p.whole) for p in capture.read(path)] == expected


@pytest.mark.parametrize("write", [wrpcap, wrpcapng])
def test_what_scapy_writes_is_read(
    tmp_path: Path, write: Callable[[str, list[ScapyPacket]], None]
) -> None:
    path = tmp_path / "a"
    packets: list[ScapyPacket] = []
    for number, frame in enumerate(FRAMES):
        packet = Ether(frame)
        packet.time = SECOND + number / 8
        packets.append(packet)
    write(str(path), packets)
    assert [(p.data, p.moment, p.whole) for p in capture.read(path)] == [
        (frame, SECOND * 10**9 + number * 125_000_000, len(frame))
        for number, frame in enumerate(FRAMES)
    ]


# pcapng, block by block


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


def section(order: str = "<") -> bytes:
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))


def interface(
    order: str = "<", link: int = ETHERNET, snaplen: int = 0, options: bytes = b""
) -> bytes:
    return block(order, 1, struct.pack(order + "HHI", link, 0, snaplen) + options)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def enhanced(time: int, frame: bytes, order: str = "<", number: int = 0) -> bytes:
    fixed = struct.pack(order + "5I", number, time >> 32, time & 0xFFFFFFFF, len(frame), len(frame))
    return block(order, 6, fixed + frame)


def read_bytes(data: bytes) -> list[Packet]:
    return list(pcapng.packets(data))


@pytest.mark.parametrize(
    ("options", "time", "moment"),
    [
        (b"", 1_500_000, 1_500_000_000),  # microseconds by default
        (option(9, bytes([9])), 1_500, 1_500),
        (option(9, bytes([3])), 7, 7_000_000),
        (option(9, bytes([0x80 | 10])), 1024, 10**9),  # 2^-10 s
        (option(14, struct.pack("<q", -2)) + option(0, b""), 5_000_000, 3 * 10**9),
    ],
)
def test_times_have_the_resolution_and_offset_of_their_interface(
    options: bytes, time: int, moment: int
) -> None:
    (packet,) = read_bytes(section() + interface(options=options) + enhanced(time, FRAMES[0]))
    assert packet.moment == moment


def test_sections_have_their_own_interfaces_and_byte_order() -> None:
    data = (
        section("<") + interface("<", 1) + interface("<", 101) + enhanced(1, b"a", "<", 1)
        + section(">") + interface(">", 113) + enhanced(2, b"bb", ">")
    )  # fmt: skip
    assert read_bytes(data) == [Packet(1000, 101, b"a", 1), Packet(2000, 113, b"bb", 2)]


def test_simple_packets_have_no_time_and_may_be_cut() -> None:
    simple = block("<", 3, struct.pack("<I", 100) + bytes(60))
    data = section() + interface(snaplen=60) + simple
    assert read_bytes(data) == [Packet(None, ETHERNET, bytes(60), 100)]


def test_old_packets_are_read() -> None:
    old = block("<", 2, struct.pack("<HHIIII", 0, 9, 0, 5, 3, 4) + b"abc")
    assert read_bytes(section() + interface() + old) == [Packet(5000, ETHERNET, b"abc", 4)]


def test_blocks_without_packets_are_passed_over() -> None:
    data = section() + interface() + block("<", 5, bytes(20)) + block("<", 0xBAD, b"custom")
    assert read_bytes(data + enhanced(1, b"x")) == [Packet(1000, ETHERNET, b"x", 1)]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (section() + enhanced(0, b"x"), "interface 0 is not declared"),
        (section() + struct.pack("<III", 6, 13, 13), "a block of 13 bytes"),
        (section() + struct.pack("<III", 6, 8, 8), "a block of 8 bytes"),
        (section() + struct.pack("<III", 6, 12, 16), "a block whose two lengths differ"),
        (section() + struct.pack("<II", 6, 4000), "cut short"),
        (block("<", 0x0A0D0D0A, b"\0" * 16), "a section of unknown byte order"),
        (
            section() + interface() + block("<", 6, struct.pack("<5I", 0, 0, 0, 99, 99)),
            "a length of 99 bytes",
        ),
        (section() + block("<", 1, b"\1\0"), "an interface cut short"),
        (section() + interface(options=struct.pack("<HH", 9, 500)), "an option cut short"),
        (section() + interface() + block("<", 6, b"\0" * 8), "cut short"),
        (section() + interface() + block("<", 3, b""), "cut short"),
        (section() + interface() + block("<", 2, b"\0" * 8), "cut short"),
    ],
)
def test_contradictions_in_a_pcapng_are_damage(data: bytes, what: str) -> None:
    with pytest.raises(Damage) as caught:
        read_bytes(data)
    assert caught.value.what == what


def test_damage_is_told_with_packet_and_byte(tmp_path: Path) -> None:
    path = written_pcap(tmp_path / "a.pcap", "<", nanoseconds=False)
    path.write_bytes(path.read_bytes()[:-1])
    place = 24 + sum(16 + len(frame) for frame in FRAMES[:-1]) + 16
    with pytest.raises(InputError) as caught:
        list(capture.read(path))
    assert caught.value.message == f"{path}, packet 5 at byte {place}: cut short"
    assert caught.value.hint == f"keep what is whole: tcpdump -r {path} -w whole.pcap"


def test_an_impossible_length_is_damage(tmp_path: Path) -> None:
    path = written_pcap(tmp_path / "a.pcap", "<", nanoseconds=False)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 24 + 8, 0xFFFFFFFF)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"packet 1 at byte 24: a length of 4,294,967,295 bytes"):
        list(capture.read(path))


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"", "tcpdump and Wireshark write both"),
        (b"PK\3\4 something else", "tcpdump and Wireshark write both"),
        (b"\x1f\x8b\x08\0", "it is compressed: gunzip"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, hint: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(InputError, match="neither a pcap nor a pcapng") as caught:
        list(capture.read(path))
    assert hint in (caught.value.hint or "")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file or directory"):
        list(capture.read(tmp_path / "none.pcap"))


def whole_pcap() -> bytes:
    record = b"".join(struct.pack("<IIII", 1, 2, len(f), len(f)) + f for f in FRAMES)
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, ETHERNET) + record


def whole_pcapng() -> bytes:
    packets = b"".join(enhanced(time, frame) for time, frame in enumerate(FRAMES))
    return section() + interface(options=option(9, bytes([9]))) + packets


@pytest.mark.parametrize(
    ("whole", "packets"), [(whole_pcap(), pcap.packets), (whole_pcapng(), pcapng.packets)]
)
def test_a_file_cut_anywhere_gives_its_first_packets_or_damage(
    whole: bytes, packets: Callable[[bytes], Iterator[Packet]]
) -> None:
    for length in range(12, len(whole)):
        found = []
        with suppress(Damage):
            for packet in packets(whole[:length]):
                found.append(packet.data)
        assert found == FRAMES[: len(found)]
        assert len(found) < len(FRAMES)


@given(
    whole=st.sampled_from([whole_pcap(), whole_pcapng()]),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8),
)
def test_no_damage_is_anything_but_told(whole: bytes, changes: list[tuple[int, int]]) -> None:
    data = bytearray(whole)
    for place, value in changes:
        data[place % len(data)] = value
    for reader in (pcap, pcapng):
        if not reader.knows(bytes(data)):
            continue
        try:
            total = sum(len(packet.data) for packet in reader.packets(bytes(data)))
        except Damage:
            continue
        assert total <= len(data)
