"""Rates that nfvctl shows, against packets that were counted before they were sent."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from nfv.dataplane import statistics
from nfv.dataplane.statistics import Count
from tests.integration.helpers import traffic
from tests.integration.helpers.lab import Lab, applied, example, nfvctl, started

pytestmark = pytest.mark.root

ACCEPTED, DROPPED = 5201, 9  # UDP ports, to the firewall of the example
COUNTS = {ACCEPTED: 700, DROPPED: 300}
FRAME = 60  # bytes
MACS: dict[str, Any] = {"src": "02:0e:00:00:00:01", "dst": "02:0e:00:00:00:02"}
_STYLES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with applied(example("quickstart"), "rates") as made:
        made.run("lan", "ping -n -c 1 -W 2 192.0.2.254")
        made.settle()
        # With a socket there, no datagram is answered by an ICMP error, which would count as well.
        with traffic.datagrams(made.netns("wan"), "192.0.2.254", ACCEPTED):
            yield made


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many datagrams for each port as COUNTS says, 1 ms apart."""
    path = tmp_path_factory.mktemp("rates") / "mix.pcap"
    ports = [port for port, count in COUNTS.items() for _ in range(count)]
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for number, port in enumerate(ports):
        packet = Ether(**MACS) / IP(src="10.0.1.10", dst="192.0.2.254") / UDP(sport=1, dport=port)
        frame = bytes(packet).ljust(FRAME, b"\0")
        data += struct.pack("<IIII", number // 1000, number % 1000 * 1000, FRAME, FRAME) + frame
    path.write_bytes(data)
    return path


def replay(lab: Lab, capture: Path, *words: str) -> None:
    done = nfvctl("replay", lab.name, f"lan={capture}", "--dst-mac", "auto", *words)
    assert done.returncode == 0, done.stderr


def watched(
    lab: Lab, enough: Callable[[list[dict[str, Any]]], bool], do: Callable[[], None]
) -> list[dict[str, Any]]:
    """The lines of `stats --watch` from before something is done until there are enough."""
    process = started("stats", lab.name, "--watch", "0.2", "--format", "json")
    assert process.stdout is not None
    found = [json.loads(process.stdout.readline())]
    do()
    deadline = time.monotonic() + traffic.PATIENCE
    while not enough(found) and time.monotonic() < deadline:
        found.append(json.loads(process.stdout.readline()))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=traffic.PATIENCE)
    assert process.returncode == 130
    return found


def total(lines: list[dict[str, Any]], unit: str, *keys: str) -> int:
    """What rates stand for, added up over all intervals."""
    amount = 0.0
    for line in lines:
        place: Any = line
        for key in keys:
            place = place.get(key, {})
        amount += place.get(unit, 0) * line["seconds"]
    return round(amount)


def rule(lines: list[dict[str, Any]], name: str) -> int:
    """The packets of a rule."""
    amount = 0.0
    for line in lines:
        (found,) = (one for one in line["vnfs"]["fw"]["rules"] if one["rule"] == name)
        amount += found["pps"] * line["seconds"]
    return round(amount)


def test_rates_add_up_to_what_was_sent(lab: Lab, capture: Path) -> None:
    def all_seen(lines: list[dict[str, Any]]) -> bool:
        return rule(lines, "iperf3") + rule(lines, "default") >= sum(COUNTS.values())

    lines = watched(lab, all_seen, lambda: replay(lab, capture, "--topspeed"))
    assert rule(lines, "iperf3") == COUNTS[ACCEPTED]
    assert rule(lines, "default") == COUNTS[DROPPED]
    assert total(lines, "pps", "vnfs", "fw", "ended", "rule") == COUNTS[DROPPED]
    assert total(lines, "bps", "vnfs", "fw", "ended", "rule") == COUNTS[DROPPED] * FRAME * 8
    assert total(lines, "pps", "ports", "lan", "ended", "rule") == COUNTS[DROPPED]
    assert total(lines, "pps", "ports", "lan", "in") >= sum(COUNTS.values())
    assert total(lines, "pps", "ports", "wan", "out") >= COUNTS[ACCEPTED]


def test_a_live_graph_marks_where_packets_are_dropped(lab: Lab, capture: Path) -> None:
    sender = started(
        *("replay", lab.name, f"lan={capture}", "--dst-mac", "auto", "--loop", "0"),
    )
    try:
        before = lab.statistics().vnfs["fw"].ended.get("rule")
        while lab.statistics().vnfs["fw"].ended.get("rule") == before:
            assert sender.poll() is None
        shown = nfvctl("graph", lab.name, "--live", "--interval", "1.5")
    finally:
        sender.send_signal(signal.SIGINT)
        sender.communicate(timeout=traffic.PATIENCE)
    assert shown.returncode == 0, shown.stderr
    lan, wan, fw, gw = (line for line in shown.stdout.splitlines() if re.match(r"  n\d[\[(]", line))
    assert re.search(r"in [0-9.]+k? pps, [0-9.]+k?bit/s<br>out .*<br>dropped [1-9][0-9.]* pps", lan)
    assert re.search(r"out [1-9][0-9.]* pps", wan)
    assert re.search(r"firewall<br>rule [1-9][0-9.]* pps", fw)
    assert "forwarded" not in gw
    assert "  class n0,n2 alarm\n" in shown.stdout


def test_a_terminal_shows_the_rates_in_place(lab: Lab) -> None:
    ours, theirs = pty.openpty()
    nfvctl_path = str(Path(sys.executable).with_name("nfvctl"))
    command = [nfvctl_path, "stats", lab.name, "--watch", "0.1"]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while shown.count(b"PACKETS/S IN") < 2:
            shown += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    assert process.returncode == 130
    text = _STYLES.sub("", shown.decode())
    assert re.search(r"lan +[0-9.]+[kM]? +[0-9.]+[kM]? +[0-9.]+", text)
    assert b"\x1b[1A" in shown  # back up to where the table begins
    assert shown.rstrip().endswith(b"interrupted")


def test_an_interval_is_not_watched_as_well(lab: Lab) -> None:
    done = nfvctl("stats", lab.name, "--watch", "--interval", "1")
    assert done.returncode == 3
    assert "--interval and --watch exclude each other" in done.stderr


def test_fewer_reasons_of_another_version_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A topology that was applied by a version with two reasons."""
    monkeypatch.setattr(statistics, "_counts", lambda pin: [Count(), Count(3, 180)])
    found = statistics._by_reason(Path("reasons"), (2, 120))
    assert found == {"forwarded": Count(5, 300)}
