"""nfvctl test and the fixture: what is right passes, and whatever is wrong is found and shown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import rdpcap

from nfv.dataplane import state
from nfv.dataplane.kernel import netns
from nfv.errors import ExitCode, InputError
from nfv.testing.lab import Lab, Labs
from tests.integration.helpers.lab import nfvctl, started
from tests.integration.helpers.waiting import until

pytestmark = pytest.mark.root

TOPOLOGY = """\
name: quickstart
saps:
  lan: {kind: host, ip: [10.0.1.10/24, 2001:db8:1::10/64], gateway: [10.0.1.1, 2001:db8:1::1]}
  wan: {kind: host, ip: [192.0.2.254/24, 2001:db8:2::254/64], gateway: 192.0.2.1}
  vm: {kind: tap}
  box: {kind: veth, netns: some-container, device: eth7}
  card: {kind: nic, device: eth1}
vnfs:
  fw:
    type: firewall
    rules:
      - {name: ping, action: accept, proto: icmp}
      - {name: low, action: accept, proto: udp, dport: 1-999}
  gw:
    type: router
    interfaces:
      lan: {ip: [10.0.1.1/24, 2001:db8:1::1/64]}
      wan: {ip: [192.0.2.1/24, 2001:db8:2::1/64]}
      box: {ip: 10.0.2.1/24}
chains:
  inside: {path: [lan, fw, "gw:lan"]}
  outside: {path: ["gw:wan", wan]}
  box: {path: [box, "gw:box"]}
  wire: {path: [vm, card]}
"""
SENT = 'IP(src="10.0.1.10", dst="192.0.2.254", id={id})/UDP(sport={sport}, dport={dport})/"hello"'
COUNT = 4


def frame(id: int = 1, sport: int = 5000, dport: int = 53, ttl: int = 64) -> str:
    text = SENT.format(id=id, sport=sport, dport=dport)
    return text.replace("IP(", f"IP(ttl={ttl}, ")


def frames(**words: int) -> list[str]:
    return [frame(number, **words) for number in range(COUNT)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("lab")
    (directory / "lab.yaml").write_text(TOPOLOGY)
    return directory


@pytest.fixture(scope="module")
def lab(home: Path) -> Iterator[Lab]:
    with closing(Labs(home)) as labs:
        yield labs.apply("lab.yaml")


@pytest.fixture
def replayed(lab: Lab) -> Lab:
    """One frame that the firewall drops, and four of one flow were sent from lan to wan."""
    lab.replay("lan", frames=[frame(dport=5000), *frames()], timing="200pps")
    return lab


def refused(lab: Lab, at: str, **words: Any) -> list[str]:
    """What is said to be wrong."""
    with pytest.raises(AssertionError) as raised:
        lab.expect(at, **words)
    return str(raised.value).splitlines()


# What the bench finds


def test_as_expected(replayed: Lab) -> None:
    for order in ("strict", "per-flow", "any"):
        replayed.expect("wan", frames=frames(ttl=63), order=order)
    replayed.expect("lan", none=True)


def test_changed_field(replayed: Lab) -> None:
    wanted = [*frames(ttl=63)[:2], frame(2, ttl=62), *frames(ttl=63)[3:]]
    said = refused(replayed, "wan", frames=wanted)
    assert said[0].startswith("wan: packet 3 of 4 differs: Ether / IP / UDP")
    assert said[1].strip() == "IP.ttl expected 62, got 63"
    assert said[2].strip().startswith("IP.chksum expected 0x")
    assert len(said) == 3
    replayed.expect("wan", frames=wanted, ignore=["IP.ttl", "IP.chksum"])


def test_changed_byte_of_the_payload(replayed: Lab) -> None:
    wanted = [text.replace("hello", "hallo") for text in frames(ttl=63)]
    said = refused(replayed, "wan", frames=wanted, ignore="UDP.chksum")
    assert [line for line in said if "differs" in line][3].startswith("wan: packet 4 of 4")
    assert any(b"hallo".hex(" ") in line and b"hello".hex(" ") in line for line in said)


def test_missing_frame(replayed: Lab) -> None:
    wanted = [*frames(ttl=63), frame(9, ttl=63)]
    (said,) = refused(replayed, "wan", frames=wanted, within="100ms")
    assert said.startswith("wan: packet 5 of 5 is missing: Ether / IP / UDP")


def test_extra_frame(replayed: Lab) -> None:
    (said,) = refused(replayed, "wan", frames=frames(ttl=63)[:3])
    assert said.startswith("wan: packet 4 that arrived is not expected: Ether / IP / UDP")
    replayed.expect("wan", frames=frames(ttl=63)[:3], extra="ignore")
    assert len(refused(replayed, "wan", none=True)) == COUNT


def test_wrong_order(replayed: Lab) -> None:
    wanted = frames(ttl=63)
    wanted[0], wanted[1] = wanted[1], wanted[0]
    for order in ("strict", "per-flow"):
        (said,) = refused(replayed, "wan", frames=wanted, order=order)
        assert said.endswith("out of order")
    replayed.expect("wan", frames=wanted, order="any")


def test_late_frame(replayed: Lab) -> None:
    said = refused(replayed, "wan", frames=frames(ttl=63), within="1ns", settle="50ms")
    assert said[0].startswith("wan: packet 4 that arrived is late: 0.0")
    assert said[1].strip() == "expected within 1e-09 s"


def test_latency(replayed: Lab) -> None:
    (said,) = refused(replayed, "wan", frames=frames(ttl=63), latency={"p50": "1ns"})
    assert said.startswith("wan: latency p50 expected at most 1e-09 s, got 0.")
    replayed.expect("wan", frames=frames(ttl=63), latency={"max": "2s"})


def test_what_was_sent_is_expected_rewritten(lab: Lab) -> None:
    lab.replay("lan", frames=frames())
    macs = {"Ether.src": "gw:wan", "Ether.dst": "wan"}
    lab.expect("wan", from_="lan", rewrite={"IP.ttl": -1, **macs})
    said = refused(lab, "wan", from_="lan", rewrite={"IP.ttl": "+1", **macs})
    assert said[1].strip() == "IP.ttl expected 65, got 63"
    said = refused(lab, "wan", from_="lan", rewrite={"IP.ttl": -1, "Ether.dst": "wan"})
    assert said[1].strip().startswith("Ether.src expected")


def test_counters(lab: Lab) -> None:
    """They are those of nfvctl stats, and of the beginning."""
    before = lab.counters()
    lab.replay("lan", frames=[*frames(), frame(dport=5000)])
    lab.expect("wan", frames=frames(ttl=63))
    now = lab.counters()
    bytes_sent = COUNT * len(Ether() / IP() / UDP() / b"hello")
    counted = {name: now[name] - before.get(name, 0) for name in now}
    assert counted["vnfs.fw.rules.low.packets"] == COUNT
    assert counted["ports.wan.out.packets"] == COUNT
    assert counted["ports.wan.out.bytes"] == bytes_sent
    assert counted["ports.lan.ended.rule.packets"] == 1
    assert (
        lab.drops("fw")["rule"] == now["ports.lan.ended.rule.packets"] == lab.drops("lan")["rule"]
    )


# Every kind of SAP


def test_tap_and_nic(lab: Lab) -> None:
    """A cable between both: every byte stays, also of frames that are no IP packets."""
    lab.replay_all([{"at": "vm", "frames": frames()}, {"at": "card", "frames": frame(dport=7)}])
    lab.expect("card", from_="vm")
    lab.expect("vm", from_="card")
    assert "is missing" in refused(lab, "lan", from_="vm", within="1ms")[0]


def test_veth(lab: Lab) -> None:
    """The bench answers ARP for what is behind it, though nothing has these addresses."""
    text = 'IP(src="10.0.1.10", dst="10.0.2.77", ttl={ttl})/UDP(sport=7, dport=9)/"x"'
    back = 'IP(src="10.0.2.77", dst="10.0.1.10", ttl={ttl})/UDP(sport=9, dport=7)/"y"'
    lab.replay_all(
        [{"at": "lan", "frames": text.format(ttl=64)}, {"at": "box", "frames": back.format(ttl=64)}]
    )
    lab.expect("box", frames=text.format(ttl=63))
    lab.expect("lan", frames=back.format(ttl=63))


def test_tcp_is_not_joined(lab: Lab) -> None:
    """Segments of a connection arrive one by one, although a host would join them."""
    text = (
        'IP(src="10.0.2.9", dst="10.0.1.10", ttl={})/TCP(dport=9, flags="A", seq={})/("z" * 1000)'
    )
    lab.replay("box", frames=[text.format(64, 1000 * number) for number in range(20)])
    assert all(len(data) < 1100 for data in lab.frames("lan"))
    lab.expect("lan", none=True)  # nobody has opened that connection
    lab.replay("vm", frames=[text.format(64, 1000 * number) for number in range(20)], timing="asap")
    lab.expect("card", from_="vm", order="strict")


def test_hosts_are_silent(lab: Lab) -> None:
    """A host would answer a datagram to a closed port."""
    lab.replay("lan", frames=frame())
    lab.expect("wan", frames=frame(ttl=63))
    lab.expect("lan", none=True, neighbours=True)


def test_hosts_answer(home: Path) -> None:
    with closing(Labs(home)) as labs:
        lab = labs.apply("lab.yaml", answering=True)
        done = lab.execute("lan", "ping", "-c", "1", "-W", "5", "192.0.2.254")
        assert done.code == 0, done
        lab.replay("lan", frames=frame())
        assert "ICMP 192.0.2.254" in refused(lab, "lan", none=True)[0]
        with pytest.raises(InputError, match="fw has no namespace"):
            lab.execute("fw", "true")


def test_mistakes_in_arguments(lab: Lab) -> None:
    with pytest.raises(ValueError, match="unknown key 'frame'"):
        lab.replay("lan", frame=frame())
    with pytest.raises(ValueError, match="needs one of pcap, frames, from and none"):
        lab.expect("wan")
    with pytest.raises(InputError, match="no SAP lam"):
        lab.frames("lam")


# The verb

CASE = f"""\
topology: lab.yaml
replay:
  - {{at: lan, frames: ['{frame(1)}', '{frame(2)}', '{frame(dport=5000)}']}}
expect:
  - {{at: wan, pcap: out.pcap}}
  - {{at: lan, none: true}}
counters: {{vnfs.fw.rules.low.packets: 2, ports.wan.ended.rule.packets: 0}}
drops: {{fw: {{rule: 1}}}}
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(name: str, *changes: tuple[str, str]) -> Path:
        path = tmp_path / name
        path.mkdir()
        (path / "lab.yaml").write_text(TOPOLOGY)
        text = CASE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (path / "test.nfv.yaml").write_text(text)
        return path

    return _write


def test_record_then_pass_then_fail(write: Write, tmp_path: Path) -> None:
    """What is recorded passes; a byte changed in it is found, and what arrived is kept."""
    path = write("one")
    done = nfvctl("test", str(path))
    assert done.returncode == ExitCode.FAILED
    assert "wan: packet 1 that arrived is not expected" in done.stdout
    assert (path / "out.actual.pcap").exists()
    assert not (path / "out.pcap").exists()

    done = nfvctl("test", str(path), "--update")
    assert done.returncode == ExitCode.OK, done.stdout
    assert "wan: packet 1 that arrived is not expected" in done.stdout
    assert "recorded" in done.stderr
    assert [found[IP].id for found in rdpcap(str(path / "out.pcap"))] == [1, 2]
    assert not (path / "out.actual.pcap").exists()

    junit = tmp_path / "junit.xml"
    done = nfvctl("test", str(path), "--junit", str(junit), "--format", "json")
    assert done.returncode == ExitCode.OK, done.stdout
    ((outcome),) = json.loads(done.stdout)
    assert outcome["passed"]
    assert outcome["problems"] == []

    data = bytearray((path / "out.pcap").read_bytes())
    data[-1] ^= 1
    (path / "out.pcap").write_bytes(data)
    done = nfvctl("test", str(path), "--junit", str(junit))
    assert done.returncode == ExitCode.FAILED
    assert "wan: packet 2 of 2 differs" in done.stdout
    suite = ElementTree.parse(junit).getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "1", "0")
    failure = suite[0].find("failure")
    assert failure is not None
    assert failure.text is not None
    assert "Raw.load expected" in failure.text
    kept = rdpcap(str(path / "out.actual.pcap"))
    assert bytes(kept[1])[-1] == ord("o")


def test_wrong_counts_fail(write: Write) -> None:
    """Each is told, also reasons that are not named, and the right ones are not."""
    counters = """
counters:
  vnfs.fw.rules.low.packets: 3
  vnfs.fw.rules.lo.packets: 2
  ports.lan.ended.rule.packets: 1
  ports.lan.in.packets: ">= 3"
  ports.lan.ended.rule.bytes: "> 47"
drops: {fw: {invalid: 2}, lan: {rule: 1}, wan: {}}
"""
    head, _, _ = CASE.partition("counters:")
    path = write("counts", (CASE, head.replace("pcap: out.pcap", "from: lan") + counters))
    (outcome,) = json.loads(nfvctl("test", str(path), "--format", "json").stdout)
    messages = [one["message"] for one in outcome["problems"]]
    assert [one for one in messages if not one.startswith("wan: packet")] == [
        "vnfs.fw.rules.low.packets expected 3, got 2",
        "there is no counter vnfs.fw.rules.lo.packets: did you mean 'vnfs.fw.rules.low.packets'?",
        "ports.lan.ended.rule.bytes expected > 47, got 47",
        "drops of fw, invalid: expected 2, got 0",
        "drops of fw, rule: expected 0, got 1",
    ]


def test_offline(write: Write) -> None:
    """The programs alone say the same; what arrives later differs is found as well."""
    rewritten = (
        """{at: wan, from: lan, rewrite: {IP.ttl: -1, Ether.src: "gw:wan", Ether.dst: wan}}"""
    )
    first, third = frame(1), frame(dport=5000)
    right = (
        ("topology:", "mode: offline\ntopology:"),
        ("{at: wan, pcap: out.pcap}", rewritten),
        (f"'{frame(2)}', '{third}'", f"'{frame(2)}'"),
        ("drops: {fw: {rule: 1}}", "drops: {fw: {}, lan: {}}"),
    )
    path = write("right", *right)
    done = nfvctl("test", str(path))
    assert done.returncode == ExitCode.OK, done.stdout

    wrong = (("IP.ttl: -1", "IP.ttl: -2"), ("low.packets: 2", "low.packets: 1"))
    path = write("wrong", *right[:2], *wrong, (f"'{first}', ", ""))
    (outcome,) = json.loads(nfvctl("test", str(path), "--format", "json").stdout)
    problems = [(one["message"], one["details"]) for one in outcome["problems"]]
    assert [message.partition(":")[0] for message, _ in problems] == ["wan", "wan"]
    assert problems[0][1][0] == "IP.ttl expected 62, got 63"
    assert "packet 2 of 2 is missing" in problems[1][0]


def test_what_is_chosen(write: Write) -> None:
    parent = write("first").parent
    write("second")
    assert nfvctl("test", str(parent), "-k", "third").returncode == ExitCode.NO_TEST
    assert nfvctl("test", str(parent / "first"), "-k", "second").returncode == ExitCode.NO_TEST
    done = nfvctl("test", str(parent), "-k", "sec*", "--format", "json")
    assert [Path(one["file"]).parent.name for one in json.loads(done.stdout)] == ["second"]


def test_bad_input(write: Write, tmp_path: Path) -> None:
    """One mistake in one file, and nothing is run."""
    write("good")
    parent = write("wrong", ("at: wan", "at: van")).parent
    done = nfvctl("test", str(parent))
    assert done.returncode == ExitCode.BAD_INPUT
    assert "did you mean 'wan'?" in done.stderr
    assert not (parent / "good" / "out.actual.pcap").exists()
    assert nfvctl("test", str(parent / "none")).returncode == ExitCode.BAD_INPUT
    junit = str(tmp_path / "none" / "junit.xml")
    done = nfvctl("test", str(parent), "-k", "good", "--junit", junit)
    assert done.returncode == ExitCode.BAD_INPUT


def test_what_cannot_be_applied_fails(write: Write) -> None:
    """The case is an error."""
    path = write("one")
    done = nfvctl("test", str(path), "--format", "json", NFV_FAIL_AT_STEP="5")
    assert done.returncode == ExitCode.FAILED
    (outcome,) = json.loads(done.stdout)
    assert not outcome["passed"]
    assert "NFV_FAIL_AT_STEP=5" in outcome["error"]


def test_interrupted(write: Write) -> None:
    """Nothing remains: neither processes, nor what they had applied."""
    path = write(
        "slow", ("at: wan", "at: wan, within: 60s"), ("frames: ['", "start: 50s, frames: ['")
    )
    before = (state.names(), netns.names(), _processes())
    process = started("test", str(path))
    assert process.stdout is not None
    _wait_until(lambda: len(_processes() - before[2]) > 4)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == ExitCode.INTERRUPTED
    _wait_until(lambda: _processes() <= before[2])
    assert (state.names(), netns.names()) == before[:2]


def _processes() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdecimal()}


def _wait_until(condition: Callable[[], bool]) -> None:
    """Processes end without telling those that are not their parents."""
    until(condition, 20)


# pytest


def test_collected_by_pytest(write: Write, home: Path) -> None:
    """Case files are tests; their failures are the problems, without a trace."""
    path = write("one")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=path)
    assert done.returncode == 1, done.stdout
    assert "wan: packet 1 that arrived is not expected" in done.stdout
    assert "Traceback" not in done.stdout
    done = subprocess.run([*command, "--nfv-update"], capture_output=True, text=True, cwd=path)
    assert done.returncode == 0, done.stdout
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=path)
    assert done.returncode == 0, done.stdout
