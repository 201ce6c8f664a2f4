"""Captures replayed into every kind of SAP: what enters, leaves and is reported are the same."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from nfv.chain.path import Attachment
from nfv.cli.main import main
from nfv.dataplane import state
from nfv.dataplane.kernel import netns, tap
from nfv.dataplane.load import replay
from nfv.dataplane.load.histogram import percentile
from nfv.dataplane.load.injector import Injector, Sent
from nfv.dataplane.wiring import wire
from nfv.errors import ExitCode
from nfv.traffic.feed import Due
from nfv.traffic.pace import PacketRate, TopSpeed
from tests.integration.helpers import traffic
from tests.integration.helpers.faults import a_nic
from tests.integration.helpers.lab import Lab, applied, namespace, nfvctl, started

pytestmark = pytest.mark.root

TEXT = """\
name: replay
saps:
  lan: {{kind: host, ip: 10.0.1.10/24, gateway: 10.0.1.1}}
  wan: {{kind: host, ip: 192.0.2.254/24, gateway: 192.0.2.1}}
  box: {{kind: veth, netns: {box}, device: eth7, ip: 10.0.2.10/24, gateway: 10.0.2.1}}
  vm: {{kind: tap}}
  card: {{kind: nic, device: {nic}}}
vnfs:
  fw: {{type: firewall, rules: [{{action: accept, proto: udp}}, {{action: accept, proto: icmp}}]}}
  gw:
    type: router
    interfaces:
      lan: {{ip: 10.0.1.1/24}}
      wan: {{ip: 192.0.2.1/24}}
      box: {{ip: 10.0.2.1/24}}
chains:
  inside: {{path: [lan, fw, "gw:lan"]}}
  outside: {{path: ["gw:wan", wan]}}
  box: {{path: [box, "gw:box"]}}
  wire: {{path: [vm, card]}}
"""
PORT = 4711
FRAME = 60  # bytes
_SO_RCVBUFFORCE = 33  # socket(7)
ELSEWHERE: dict[str, Any] = {
    "src": "02:0e:00:00:00:01",
    "dst": "02:0e:00:00:00:02",
}  # MAC addresses of a capture
MS = 1_000_000
SECOND = 1_700_000_000 * 10**9
MTU_FRAME = 1514


class Bench:
    """The topology under test; `nic` is its NIC, whose other end is `nic` + "p"."""

    def __init__(self, lab: Lab, box: str, nic: str, directory: Path) -> None:
        self.lab = lab
        self.box = box
        self.nic = nic
        self.directory = directory

    def capture(self, frames: list[bytes], *, gap: int = MS, start: int = SECOND) -> Path:
        """A pcap file of frames, so many nanoseconds apart."""
        path = self.directory / f"{len(list(self.directory.iterdir()))}.pcap"
        data = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1)
        for number, frame in enumerate(frames):
            moment = divmod(start + number * gap, 10**9)
            data += struct.pack("<IIII", *moment, len(frame), len(frame)) + frame
        path.write_bytes(data)
        return path

    def replay(self, *words: str) -> dict[str, Any]:
        """Run nfvctl replay; what it reports."""
        done = nfvctl("replay", self.lab.name, *words, "--format", "json")
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def entered(self, sap: str) -> int:
        """Packets that the chains have counted at a SAP and forwarded."""
        counts = self.lab.statistics().ports[sap].received
        return counts["forwarded"].packets if "forwarded" in counts else 0


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with (
        namespace("box") as box,
        a_nic() as nic,
        applied(TEXT.format(box=box, nic=nic), "replay") as lab,
    ):
        for host, place in (("lan", lab.netns("lan")), ("box", box)):
            with netns.entered(place):  # so that the router knows both, and the far host
                command = ["ping", "-n", "-c", "1", "-W", "2", "192.0.2.254"]
                assert subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 0, host
        lab.settle()
        # A veth takes what XDP redirects into its other end only with NAPI.
        subprocess.run(["ethtool", "-K", f"{nic}p", "gro", "on"], check=True)
        yield Bench(lab, box, nic, tmp_path_factory.mktemp("captures"))


def numbered(count: int, source: str = "10.0.1.10", size: int = FRAME) -> list[bytes]:
    """UDP datagrams to the far host that carry their number."""
    header = Ether(**ELSEWHERE) / IP(src=source, dst="192.0.2.254") / UDP(sport=PORT, dport=PORT)
    return [bytes(header / Raw(struct.pack("!I", n).ljust(size - 42, b"\0"))) for n in range(count)]


class Listener:
    """What arrives at a device, if it is a datagram to PORT."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 26)
        self._sock = sock

    def frames(self, count: int) -> list[bytes]:
        """So many of them; fails if they do not come, or more do."""
        found = [self._next() for _ in range(count)]
        self._sock.setblocking(False)
        try:
            while not _is_numbered(self._sock.recv(65535)):
                pass
        except BlockingIOError:
            return found
        pytest.fail(f"more than {count} frames arrived")

    def _next(self) -> bytes:
        while True:
            frame = self._sock.recv(65535)
            if _is_numbered(frame):
                return frame


def _is_numbered(frame: bytes) -> bool:
    packet = Ether(frame)
    return UDP in packet and packet[UDP].dport == PORT


def _number(frame: bytes) -> int:
    return int(struct.unpack_from("!I", frame, 42)[0])


@contextmanager
def listening(place: str | None, device: str) -> Iterator[Listener]:
    with netns.entered(place):
        sock = traffic.raw(device)
    with sock:
        yield Listener(sock)


@contextmanager
def at_wan(bench: Bench) -> Iterator[Listener]:
    with listening(bench.lab.netns("wan"), "eth0") as listener:
        yield listener


def received(bench: Bench) -> int:
    """Packets that the kernel of the far host has received, by the counter of its device."""
    with netns.entered(bench.lab.netns("wan")):
        lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    (line,) = (line for line in lines if line.strip().startswith("eth0:"))
    return int(line.split()[2])


def mac(bench: Bench, place: str, device: str) -> str:
    with netns.entered(place):
        shown = subprocess.check_output(["ip", "-j", "link", "show", "dev", device])
    return str(json.loads(shown)[0]["address"])


def test_a_host_sends_what_was_captured(bench: Bench) -> None:
    frames = numbered(50)
    before = bench.entered("lan")
    with at_wan(bench) as listener:
        words = ("--src-mac", "auto", "--dst-mac", "auto")
        report = bench.replay(f"lan={bench.capture(frames)}", *words)
        arrived = listener.frames(50)
    assert [_number(frame) for frame in arrived] == list(range(50))
    router, wan = bench.lab.netns("gw"), bench.lab.netns("wan")
    expected = [Ether(frame) for frame in frames]
    for frame in expected:
        frame.src, frame.dst = mac(bench, router, "wan"), mac(bench, wan, "eth0")
        frame[IP].ttl -= 1
        del frame[IP].chksum
    assert arrived == [bytes(frame) for frame in expected]

    assert bench.entered("lan") - before == 50
    assert (report["packets"], report["bytes"], report["complete"]) == (50, 50 * 60, True)
    assert report["saps"][0] | {"file": ""} == {
        "sap": "lan", "file": "", "packets": 50, "bytes": 3000, "left_out": {}
    }  # fmt: skip
    assert report["requested"]["seconds"] == pytest.approx(0.049, abs=1e-9)
    assert report["requested"]["pps"] == pytest.approx(1000)
    assert report["requested"]["bps"] == pytest.approx(480_000)
    assert report["achieved"]["pps"] == pytest.approx(49 / report["achieved"]["seconds"])


def test_frames_are_not_changed_unless_asked(bench: Bench) -> None:
    before = bench.lab.statistics().ports["lan"].received
    bench.replay(f"lan={bench.capture(numbered(7))}")
    counted = bench.lab.statistics().ports["lan"].received
    known = before["other_host"].packets if "other_host" in before else 0
    assert counted["other_host"].packets - known == 7


def test_addresses_are_mapped(bench: Bench) -> None:
    with at_wan(bench) as listener:
        capture = bench.capture(numbered(3, source="10.77.5.10"))
        words = ("--dst-mac", "auto", "--map", "10.77.5.0/24=10.0.1.0/24")
        bench.replay(f"lan={capture}", *words)
        arrived = [Ether(frame) for frame in listener.frames(3)]
    for frame in arrived:
        assert frame[IP].src == "10.0.1.10"
        whole = Ether(bytes(frame))
        del whole[IP].chksum, whole[UDP].chksum
        assert bytes(Ether(bytes(whole))) == bytes(frame)


def test_a_container_sends(bench: Bench) -> None:
    with at_wan(bench) as listener:
        report = bench.replay(
            f"box={bench.capture(numbered(5, source='10.0.2.10'))}", "--dst-mac", "auto"
        )
        assert len(listener.frames(5)) == report["packets"] == 5


def test_a_tap_sends_while_no_program_has_it_open(bench: Bench) -> None:
    frames = numbered(5)
    with listening(None, bench.nic + "p") as listener:
        bench.replay(f"vm={bench.capture(frames)}", "--topspeed")
        assert listener.frames(5) == frames


def test_a_nic_sends(bench: Bench) -> None:
    frames = numbered(5)
    with tap.open(f"{bench.lab.name}-vm") as vm:
        os.set_blocking(vm.fileno(), False)
        bench.replay(f"card={bench.capture(frames)}", "--pps", "1000")
        found: list[bytes] = []
        while len(found) < 5:
            frame = vm.read(2048)
            if frame and _is_numbered(frame):
                found.append(frame)
    assert found == frames


def test_several_saps_have_one_clock(bench: Bench) -> None:
    near, far = numbered(10), numbered(10, source="10.0.2.10")
    with at_wan(bench) as listener:
        report = bench.replay(
            f"lan={bench.capture(near, gap=40 * MS)}",
            f"box={bench.capture(far, gap=40 * MS, start=SECOND + 20 * MS)}",
            *("--dst-mac", "auto"),
        )
        arrived = [Ether(frame)[IP].src for frame in listener.frames(20)]
    assert arrived == ["10.0.1.10", "10.0.2.10"] * 10
    assert [sap["packets"] for sap in report["saps"]] == [10, 10]
    assert report["requested"]["seconds"] == pytest.approx(0.38, abs=1e-9)


@pytest.mark.parametrize(
    "pace", [("--topspeed",), ("--pps", "200k"), ("--bps", "50M"), ("--speed", "300")]
)
def test_every_packet_is_counted_where_it_enters_and_arrives(
    bench: Bench, pace: tuple[str, str]
) -> None:
    entered, arrived = bench.entered("lan"), received(bench)
    capture = bench.capture(numbered(1000))
    report = bench.replay(f"lan={capture}", "--loop", "20", "--dst-mac", "auto", *pace)
    assert report["packets"] == bench.entered("lan") - entered == 20_000
    assert received(bench) - arrived >= 20_000  # and neighbour discovery
    assert report["bytes"] == 20_000 * 60


def test_lengths_are_those_captured(bench: Bench) -> None:
    frames = [numbered(1, size=size)[0] for size in (60, 61, 1000, MTU_FRAME, 64, 1513)]
    with at_wan(bench) as listener:
        bench.replay(f"lan={bench.capture(frames)}", "--topspeed", "--dst-mac", "auto")
        assert [len(frame) for frame in listener.frames(6)] == [len(frame) for frame in frames]


def test_what_is_longer_than_the_mtu_is_left_out(bench: Bench) -> None:
    capture = bench.capture([*numbered(2), *numbered(1, size=1519)])
    done = nfvctl("replay", bench.lab.name, f"lan={capture}", "--topspeed", "--format", "json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["saps"][0]["left_out"] == {"longer than the MTU allows": 1}
    assert f"{capture}: 1 packet is longer than the MTU allows, and not sent" in done.stderr


def test_a_damaged_capture_is_refused_before_anything_is_sent(bench: Bench) -> None:
    entered = bench.lab.statistics().ports["lan"].entered
    whole, broken = bench.capture(numbered(3)), bench.capture(numbered(3))
    broken.write_bytes(broken.read_bytes()[:-5])
    done = nfvctl("replay", bench.lab.name, f"lan={whole}", f"box={broken}")
    assert done.returncode == ExitCode.BAD_INPUT
    assert f"{broken}, packet 3 at byte 192: cut short" in done.stderr
    assert bench.lab.statistics().ports["lan"].entered == entered


def test_tcpdump_keeps_what_is_whole_as_the_hint_says(bench: Bench) -> None:
    broken, whole = bench.capture(numbered(3)), bench.directory / "whole.pcap"
    broken.write_bytes(broken.read_bytes()[:-5])
    subprocess.run(["tcpdump", "-r", broken, "-w", whole], stderr=subprocess.DEVNULL)
    assert bench.replay(f"lan={whole}", "--topspeed")["packets"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nosap=x.pcap"], "no 'nosap' for this"),
        (["lan=x.pcap"], "cannot read x.pcap: No such file or directory"),
        (["lan"], "'lan' is not SAP=FILE"),
        (["lan=x", "--pps", "1", "--topspeed"], "exclude each other"),
        (["lan=x", "--pps", "0"], "'0' is no positive number"),
        (["lan=x", "--map", "10.0.0.0/8=10.0.0.0/9"], "networks of different sizes"),
        (["lan=x", "--map", "10.0.0.0/8"], "is not OLD=NEW"),
        (["lan=x", "--dst-mac", "1:2"], "neither a MAC address nor auto"),
        (["card=x", "--src-mac", "auto"], "cannot be chosen automatically"),
    ],
)
def test_what_is_asked_for_wrongly(
    bench: Bench, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", bench.lab.name, *words]) == ExitCode.BAD_INPUT
    out, err = capsys.readouterr()
    assert (out, message in err) == ("", True), err


def test_an_endless_replay_ends_when_interrupted(bench: Bench) -> None:
    entered = bench.entered("lan")
    process = started(
        *("replay", bench.lab.name, f"lan={bench.capture(numbered(10))}", "--loop", "0"),
        *("--pps", "2000", "--dst-mac", "auto", "--format", "json"),
    )
    deadline = time.monotonic() + traffic.PATIENCE
    while bench.entered("lan") - entered < 200:
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=traffic.PATIENCE)
    assert process.returncode == ExitCode.INTERRUPTED, err
    report = json.loads(out)
    assert not report["complete"]
    assert report["packets"] == bench.entered("lan") - entered


def test_a_topology_that_is_destroyed_meanwhile_is_told(bench: Bench) -> None:
    text = "name: brief\nsaps: {a: {kind: tap}, b: {kind: tap}}\nchains: {wire: {path: [a, b]}}\n"
    with applied(text, "brief") as lab:
        capture = bench.capture(numbered(2))
        process = started("replay", lab.name, f"a={capture}", "--pps", "100", "--loop", "0")
        deadline = time.monotonic() + traffic.PATIENCE
        while not lab.statistics().ports["a"].received:
            assert time.monotonic() < deadline
        lab.destroy()
        _, err = process.communicate(timeout=traffic.PATIENCE)
    assert process.returncode == ExitCode.FAILED
    assert err == f"error: topology {lab.name} was destroyed while packets were sent\n"


def test_what_runs_can_change_meanwhile(bench: Bench) -> None:
    """No packet is lost while the programs of the port are exchanged."""
    entered, arrived = bench.entered("lan"), received(bench)
    process = started(
        *("replay", bench.lab.name, f"lan={bench.capture(numbered(10))}", "--dst-mac", "auto"),
        *("--pps", "1000", "--loop", "0", "--format", "json"),
    )
    deadline = time.monotonic() + traffic.PATIENCE
    while bench.entered("lan") - entered < 100:
        assert time.monotonic() < deadline
    programs = bench.lab.programs()
    bench.lab.edit("[lan, fw,", "[lan, fw, other,")
    bench.lab.edit("vnfs:\n", "vnfs:\n  other: {type: firewall, default: accept}\n")
    bench.lab.apply()
    assert bench.lab.programs()["lan"] != programs["lan"]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=traffic.PATIENCE)
    assert process.returncode == ExitCode.INTERRUPTED, err
    report = json.loads(out)
    assert report["packets"] == bench.entered("lan") - entered
    assert received(bench) - arrived >= report["packets"]


def test_a_terminal_shows_how_far_it_has_come(bench: Bench) -> None:
    ours, theirs = pty.openpty()
    words = ["replay", bench.lab.name, f"lan={bench.capture(numbered(300))}", "--dst-mac", "auto"]
    command = [str(Path(sys.executable).with_name("nfvctl")), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    shown = b""
    while b"/300 packets sent" not in shown:
        shown += os.read(ours, 4096)
    out, _ = process.communicate(timeout=traffic.PATIENCE)
    os.close(ours)
    assert process.returncode == 0
    assert re.search(r"^lan .* 300 +18,000$", out, re.MULTILINE)


def test_a_pause_is_reported_as_the_error_that_it_is(bench: Bench) -> None:
    """The process that sends is stopped: the far host sees the gap that is reported."""
    with at_wan(bench) as listener:
        process = started(
            *("replay", bench.lab.name, f"lan={bench.capture(numbered(3000))}"),
            *("--dst-mac", "auto", "--format", "json"),
        )
        before = bench.entered("lan")
        deadline = time.monotonic() + traffic.PATIENCE
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not (sender := children.read_text()):
            assert time.monotonic() < deadline
        while bench.entered("lan") - before < 20:
            assert time.monotonic() < deadline
        os.kill(int(sender), signal.SIGSTOP)
        stopped = time.monotonic()
        time.sleep(0.2)  # how long the pause is, not something to wait for
        pause = time.monotonic() - stopped
        os.kill(int(sender), signal.SIGCONT)
        out, err = process.communicate(timeout=traffic.PATIENCE)
        assert process.returncode == 0, err
        assert len(listener.frames(3000)) == 3000
    report = json.loads(out)
    errors = report["gap_error_seconds"]
    assert errors["p50"] <= errors["p99"] <= errors["max"]
    assert errors["max"] >= pause - 0.01
    assert report["achieved"]["seconds"] >= report["requested"]["seconds"] - 0.001


def test_errors_of_gaps_are_counted_by_their_size(bench: Bench) -> None:
    """All frames are due at once, so that the time between two is the error."""
    found = state.load(bench.lab.name)
    assert found is not None
    port = wire(found.topology(), found.ports).ports[Attachment("lan", None)]
    pauses = [0, 0.0001, 0.001, 0.003, 0.02, 0.1]
    (frame,) = numbered(1)
    with Injector(found, {0: port}, 1) as injector, injector.sending() as run:
        injector.cursor["timed"], injector.cursor["limit"] = 1, 1 + len(pauses)
        injector.fill(Due(0, 0, frame) for _ in range(1 + len(pauses)))
        injector.cursor["base"] = earlier = time.monotonic_ns()
        run(1, 1)
        later = time.monotonic_ns()
        for pause in pauses:
            time.sleep(pause)
            counts = injector.gaps()
            start = time.monotonic_ns()
            run(1, 1)
            end = time.monotonic_ns()
            grown = [now - before for now, before in zip(injector.gaps(), counts, strict=True)]
            assert sum(grown) == 1
            place = grown.index(1)
            longest = percentile(grown, 1)
            shortest = percentile([0] * (place - 1) + [1], 1) + 1 if place else 0
            assert start - later <= longest <= (end - earlier) * 33 // 32
            assert shortest <= end - earlier
            earlier, later = start, end
        assert injector.sent(0) == Sent(1 + len(pauses), FRAME * (1 + len(pauses)))


# Captures that do not fit in memory


@pytest.mark.parametrize("pace", [TopSpeed(), PacketRate(100_000), PacketRate(15_000)])
def test_a_capture_larger_than_the_memory_is_read_while_it_is_sent(
    bench: Bench, pace: TopSpeed | PacketRate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "_most_chunks", lambda: 1)
    monkeypatch.setattr(replay, "_RING", 2)
    report, numbers = replayed_large(bench, pace, loops=2)
    assert numbers == [*range(1500)] * 2
    assert (report.packets, report.complete) == (3000, True)


def test_a_capture_of_several_chunks_is_sent_from_memory_again_and_again(bench: Bench) -> None:
    report, numbers = replayed_large(bench, TopSpeed(), loops=2)
    assert numbers == [*range(1500)] * 2
    assert (report.packets, report.complete) == (3000, True)


def replayed_large(
    bench: Bench, pace: TopSpeed | PacketRate, loops: int
) -> tuple[replay.Report, list[int]]:
    """Replay 1,500 frames of MTU size, which take 2.2 MiB; what arrives."""
    found = state.load(bench.lab.name)
    assert found is not None
    capture = bench.capture(numbered(1500, size=MTU_FRAME))
    fit = replay.Fit(destination="auto")
    feed = replay.prepare(
        [replay.source(found, "lan", capture, fit)], pace, False, lambda path: None
    )
    told: list[Mapping[str, int]] = []
    with at_wan(bench) as listener:
        report = replay.Replay(found, feed, loops).run(
            lambda sent, total: told.append({"sent": sent, "total": total or 0})
        )
        numbers = [_number(frame) for frame in listener.frames(1500 * loops)]
    assert told[-1] == {"sent": 1500 * loops, "total": 1500 * loops}
    return report, numbers
