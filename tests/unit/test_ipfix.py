"""IPFIX messages of blocks of ports, as Scapy and tshark read them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.netflow import NetflowHeader
from scapy.packet import Raw
from scapy.utils import wrpcap

from nfv.dataplane.resident.ipfix import message

GIVEN = {
    "event": "allocated",
    "inside": "100.64.0.7",
    "outside": "192.0.2.1",
    "first_port": 1536,
    "last_port": 2047,
}
BACK = {**GIVEN, "event": "released"}
MOMENT = 1_700_000_000.25


def frame(data: bytes) -> Any:
    """A message on its way to a collector."""
    header = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    return header / IP(src="192.0.2.9", dst="192.0.2.10") / UDP(sport=9, dport=4739) / Raw(data)


def test_scapy_reads_a_message() -> None:
    packet = NetflowHeader(message(GIVEN, MOMENT, 7, 99))
    header = packet.payload
    assert (packet.version, header.flowSequence, header.ObservationDomainID) == (10, 7, 99)
    assert header.length == len(packet)


@pytest.mark.parametrize(("record", "event"), [(GIVEN, 16), (BACK, 17)])
def test_tshark_reads_a_message(tmp_path: Path, record: dict[str, object], event: int) -> None:
    """Every field by its name, and nothing malformed."""
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed")
    wrpcap(str(tmp_path / "m.pcap"), [frame(message(record, MOMENT, 0, 1))])
    command = ["tshark", "-r", str(tmp_path / "m.pcap"), "-d", "udp.port==4739,cflow", "-T", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    text = json.dumps(json.loads(done.stdout))
    assert "malformed" not in text.lower()
    for field, value in {
        "cflow.srcaddr": "100.64.0.7",
        "cflow.post_natsource_ipv4_address": "192.0.2.1",
        "cflow.port_range_start": "1536",
        "cflow.port_range_end": "2047",
        "cflow.nat_event": str(event),
    }.items():
        assert f'"{field}": "{value}"' in text, text
