"""pcapng files as they are written: tshark and Scapy read what was meant."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import RawPcapNgReader

from nfv.traffic import capture
from nfv.traffic.link import ETHERNET
from nfv.traffic.packet import Packet
from nfv.traffic.pcapngwriter import Counts, Flow, Interface, Verdict, Writer

MOMENT = 1_700_000_000_123_456_789
FRAMES = [bytes(Ether() / IP() / UDP() / Raw(bytes(size))) for size in (0, 1, 2, 3, 1458)]
XDP_DROP, TC_REDIRECT = 1, 7


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two interfaces; every second frame goes in at the first, and is remarked upon."""
    path = tmp_path / "a.pcapng"
    interfaces = [
        Interface("gw:lan", "interface gw:lan", 2048, "udp port 53"),
        Interface("fw..gw", "between fw and gw", 2048),
    ]
    with path.open("wb") as opened:
        writer = Writer(opened, interfaces, "nfvctl test")
        for number, frame in enumerate(FRAMES):
            odd = number % 2
            writer.packet(
                odd,
                MOMENT + number,
                frame,
                len(frame) + number,
                Flow.OUT if odd else Flow.IN,
                comment="" if odd else f"dropped by fw: rule Straße {number}",
                verdict=(Verdict.TC, TC_REDIRECT) if odd else (Verdict.XDP, XDP_DROP),
            )
        for number in (0, 1):
            writer.statistics(number, Counts(MOMENT, MOMENT + 10**9, 3 + number, 6))
        writer.flush()
    return path


def tshark(path: Path, *fields: str) -> list[list[str]]:
    """The fields of each packet."""
    options = [word for field in fields for word in ("-e", field)]
    command = ["tshark", "-r", str(path), "-T", "fields", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_tshark_reads_what_was_meant(file: Path) -> None:
    rows = tshark(
        file,
        "frame.interface_name",
        "frame.time_epoch",
        "frame.packet_flags_direction",
        "frame.comment",
        "frame.cap_len",
        "frame.len",
        "frame.verdict.ebpf_xdp",
        "frame.verdict.ebpf_tc",
    )
    assert rows == [
        [
            "fw..gw" if number % 2 else "gw:lan",
            f"1700000000.{123_456_789 + number}",
            "0x00000002" if number % 2 else "0x00000001",
            "" if number % 2 else f"dropped by fw: rule Straße {number}",
            str(len(frame)),
            str(len(frame) + number),
            "" if number % 2 else str(XDP_DROP),
            str(TC_REDIRECT) if number % 2 else "",
        ]
        for number, frame in enumerate(FRAMES)
    ]


def test_interfaces_say_what_they_are(file: Path) -> None:
    done = subprocess.run(["capinfos", file], capture_output=True, text=True, check=True)
    assert "Capture application: nfvctl test" in done.stdout
    assert "Description = between fw and gw" in done.stdout
    assert "Filter string = udp port 53" in done.stdout
    assert done.stdout.count("Time precision = nanoseconds (9)") == 2
    assert done.stdout.count("Number of stat entries = 1") == 2


def test_statistics_are_at_the_end(file: Path) -> None:
    """As the specification lays them out: Wireshark shows them, but tshark prints them nowhere."""
    data = file.read_bytes()
    number = (5).to_bytes(4, "little")
    length = (12 + 12 + 2 * 12 + 3 * 12 + 4).to_bytes(4, "little")
    first, second = data[-176:-88], data[-88:]
    for interface, block in enumerate((first, second)):
        assert block.startswith(number + length + interface.to_bytes(4, "little"))
        assert block.endswith(length)
        ended = MOMENT + 10**9
        assert (
            int.from_bytes(block[12:16], "little") << 32 | int.from_bytes(block[16:20], "little")
            == ended
        )
        options = {
            int.from_bytes(block[at : at + 2], "little"): block[at + 4 : at + 12]
            for at in range(20, 80, 12)
        }
        counts = {code: int.from_bytes(options[code], "little") for code in (5, 6, 8)}
        assert counts == {5: 3 + interface, 6: 6, 8: 6}


def test_scapy_and_our_reader_agree(file: Path) -> None:
    read = list(capture.read(file))
    assert read == [
        Packet(MOMENT + number, ETHERNET, frame, len(frame) + number)
        for number, frame in enumerate(FRAMES)
    ]
    with RawPcapNgReader(str(file)) as reader:
        assert [data for data, _ in reader] == FRAMES


def test_a_file_is_valid_before_the_first_packet() -> None:
    stream = io.BytesIO()
    Writer(stream, [Interface("lan", "SAP lan", 262144)], "nfvctl test")
    command = ["tshark", "-r", "-"]
    done = subprocess.run(command, input=stream.getvalue(), capture_output=True, check=True)
    assert done.stdout == b""
