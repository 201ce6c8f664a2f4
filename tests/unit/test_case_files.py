"""Case files: what they may say, and every mistake told with its place and a hint."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from nfv.errors import InputError, TopologyError
from nfv.testing import case
from nfv.testing.fields import FieldName
from nfv.traffic import pcap
from nfv.traffic.pace import BitRate, Original, PacketRate, TopSpeed

TOPOLOGY = """\
name: small
saps:
  a: {kind: tap}
  b: {kind: tap}
vnfs:
  fw: {type: firewall, rules: [{name: web, action: accept, proto: tcp, dport: 80}]}
chains:
  wire: {path: [a, fw, b]}
"""
FRAME = 'IP(src="10.0.0.1", dst="10.0.0.2")/UDP()'
MINIMAL = f"""\
topology: small.yaml
replay:
  - {{at: a, frames: '{FRAME}'}}
"""


def write(directory: Path, text: str, name: str = case.SUFFIX) -> Path:
    (directory / "small.yaml").write_text(TOPOLOGY)
    path = directory / name
    path.write_text(text)
    return path


def mistakes(directory: Path, text: str) -> list[tuple[int, int, str, str | None]]:
    with pytest.raises(TopologyError) as raised:
        case.load(write(directory, text))
    return [
        (one.position.line, one.position.column, one.message, one.hint)
        for one in raised.value.problems
    ]


def test_defaults(tmp_path: Path) -> None:
    found = case.load(write(tmp_path, MINIMAL))
    assert found.topology.name == "small"
    assert found.config.hosts == "silent"
    (entry,) = found.config.replay
    assert (entry.timing, entry.start, entry.rewrite) == (Original(), 0, {})
    assert found.config.expect == ()


def test_everything(tmp_path: Path) -> None:
    pcap.write(tmp_path / "in.pcap", [(0, bytes(60))])
    text = f"""\
title: all keys
topology:
  name: inline
  saps: {{a: {{kind: tap}}, b: {{kind: tap}}}}
  chains: {{wire: {{path: [a, b]}}}}
hosts: answering
replay:
  - {{at: a, pcap: in.pcap, timing: 1.5kpps, start: 20ms, src_mac: auto,
     dst_mac: "02:00:00:00:00:01", map: {{10.0.0.0/8: 11.0.0.0/8}},
     rewrite: {{IP.ttl: -1, IP.id: "+1", Ether.src: a}}}}
  - {{at: b, frames: ['{FRAME}'], timing: asap}}
expect:
  - {{at: a, from: b, ignore: IP.id, order: strict, extra: ignore, within: 3s, neighbours: true}}
  - {{at: b, pcap: out.pcap, ignore: [Ether, TCP.seq], latency: {{p50: 1us, p99: 2ms, max: 3s}}}}
counters: {{ports.a.in.packets: 3, ports.b.out.bytes: ">= 4"}}
drops: {{a: {{malformed: 1}}}}
settle: 1s
"""
    config = case.load(write(tmp_path, text)).config
    first, second = config.replay
    assert (first.timing, first.start) == (PacketRate(1500), 0.02)
    assert first.rewrite == {
        FieldName("IP", "ttl"): -1,
        FieldName("IP", "id"): "+1",
        FieldName("Ether", "src"): "a",
    }
    assert second.timing == TopSpeed()
    assert config.expect[0].from_ == "b"
    assert config.expect[0].ignore == (FieldName("IP", "id"),)
    latency = config.expect[1].latency
    assert latency is not None
    assert latency.bounds == {"p50": (0.5, 1e-6), "p99": (0.99, 2e-3), "max": (1.0, 3.0)}
    assert [amount.fits(3) for amount in config.counters.values()] == [True, False]


@pytest.mark.parametrize(
    ("text", "pace"),
    [
        ("original", Original()),
        ("10x", Original(10)),
        ("0.5x", Original(0.5)),
        ("200pps", PacketRate(200)),
        ("1.5Mbps", BitRate(1.5e6)),
    ],
)
def test_timing(tmp_path: Path, text: str, pace: object) -> None:
    found = case.load(write(tmp_path, MINIMAL.replace("at: a", f"at: a, timing: {text}")))
    assert found.config.replay[0].timing == pace


@pytest.mark.parametrize(
    ("old", "new", "marker", "message"),
    [
        ("replay", "expct: []\nreplay", "expct", "unknown key 'expct'"),
        ("small.yaml", "none.yaml", "none.yaml", "cannot read"),
        ("small.yaml", "5", "5", "5 is neither the path of a topology file nor a topology"),
        ("at: a", "at: c", "c, ", "there is no 'c' for this"),
        ("at: a", "at: a, timing: 0pps", "0pps", "'0pps' is not a timing"),
        ("at: a", "at: a, start: 5", "5, ", "5 is not a time"),
        ("at: a", "at: a, pcap: small.yaml", "{at", "needs either pcap or frames"),
        ("UDP", "UPD", "'IP", "Scapy has no layer 'UPD'"),
        ('src="10.0.0.1", ', "", "'IP", "IP needs src"),
        ("at: a", "at: a, rewrite: {IP: 3}", "rewrite", "IP is a layer; name a field of it"),
        ("at: a", "at: a, rewrite: {IP.tll: 3}", "IP.tll", "IP has no field 'tll'"),
        ("at: a", "at: a, map: {10.0.0.0/8: 10.0.0.0/9}", "map", "networks of different sizes"),
    ],
)
def test_mistakes(tmp_path: Path, old: str, new: str, marker: str, message: str) -> None:
    text = MINIMAL.replace(old, new)
    line, column, words, _ = mistakes(tmp_path, text)[0]
    assert message in words
    assert text.splitlines()[line - 1][column - 1 :].startswith(marker)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{at: b}", "needs one of pcap, frames, from and none"),
        ("{at: b, none: true, from: a}", "needs one of pcap, frames, from and none"),
        ("{at: b, none: true, rewrite: {IP.ttl: 1}}", "excludes latency and rewrite"),
        ("{at: b, from: b}", "there is no 'b' for this"),
        ("{at: fw, none: true}", "there is no 'fw' for this"),
        ("{at: b, none: true, order: random}", "'random' is not one of strict, per-flow, any"),
        ("{at: b, none: true, ignore: [IP.id, Foo]}", "Scapy has no layer 'Foo'"),
        ("{at: b, none: true, within: -1s}", "'-1s' is not a time"),
        ("{at: b, pcap: broken.pcap}", "packet 1 at byte 24: cut short"),
    ],
)
def test_mistakes_in_expectations(tmp_path: Path, entry: str, message: str) -> None:
    pcap.write(tmp_path / "broken.pcap", [(0, bytes(60))])
    data = (tmp_path / "broken.pcap").read_bytes()
    (tmp_path / "broken.pcap").write_bytes(data[:30])
    ((line, _, words, _),) = mistakes(tmp_path, f"{MINIMAL}expect:\n  - {entry}\n")
    assert message in words
    assert line == 5


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("hosts: answering", "offline there are no hosts"),
        ("expect: [{at: b, from: a, latency: {max: 1s}}]", "offline there are no times"),
    ],
)
def test_what_is_not_there_offline(tmp_path: Path, key: str, message: str) -> None:
    ((line, _, words, _),) = mistakes(tmp_path, f"{MINIMAL}mode: offline\n{key}\n")
    assert (line, words) == (5, message)


def test_mistakes_in_counts(tmp_path: Path) -> None:
    text = f"{MINIMAL}drops:\n  fw: {{rull: 1}}\n  gw: {{rule: 1}}\ncounters: {{a: -1}}\n"
    found = mistakes(tmp_path, text.replace("-1", "3"))
    assert [(line, words) for line, _, words, _ in found] == [
        (5, "there is no reason 'rull'"),
        (6, "there is no 'gw' for this"),
    ]
    assert found[0][3] == "did you mean 'rule'?"
    assert "is not a number of packets" in mistakes(tmp_path, text)[0][2]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "neither a pcap nor a pcapng file"),
        (b"\x1f\x8bxxxx", "neither a pcap nor a pcapng file"),
        (b"\xd4\xc3\xb2\xa1", "the file's header is cut short"),
        (
            struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
            + struct.pack("<IIII", 0, 0, 1 << 31, 1 << 31),
            "packet 1 at byte 24",
        ),
    ],
)
def test_damaged_captures(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "in.pcap").write_bytes(data)
    text = "topology: small.yaml\nreplay:\n  - {at: a, pcap: in.pcap}\n"
    ((line, column, message, hint),) = mistakes(tmp_path, text)
    assert words in message
    assert hint
    assert (line, column) == (3, 19)


def test_large_capture(tmp_path: Path) -> None:
    with (tmp_path / "in.pcap").open("wb") as file:
        file.truncate(case.MAX_BYTES + 1)
    text = "topology: small.yaml\nreplay:\n  - {at: a, pcap: in.pcap}\n"
    ((_, _, message, hint),) = mistakes(tmp_path, text)
    assert "larger than 64 MiB" in message
    assert hint == "`nfvctl replay` sends captures of any size"


def test_mistakes_in_a_topology(tmp_path: Path) -> None:
    """Inside a case they have the case's lines, elsewhere those of the topology file."""
    inline = MINIMAL.replace("small.yaml", "\n  name: x\n  saps: {a: {kind: tab}}\n  chains: {}")
    ((line, column, message, _), *_) = mistakes(tmp_path, inline)
    assert (line, column, message) == (3, 20, "unknown kind 'tab'")
    path = write(tmp_path, MINIMAL)
    (tmp_path / "small.yaml").write_text(TOPOLOGY.replace("firewall", "firewalk"))
    with pytest.raises(TopologyError) as raised:
        case.load(path)
    (problem,) = raised.value.problems
    assert problem.position.file == str(tmp_path / "small.yaml")


def test_names_and_finding(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    paths = [
        write(tmp_path / "one", MINIMAL),
        write(tmp_path / "two", MINIMAL, "first.test.nfv.yaml"),
        write(tmp_path / "two", MINIMAL, "second.test.nfv.yaml"),
    ]
    write(tmp_path / "two", MINIMAL, "latest.nfv.yaml")
    write(tmp_path / "two", MINIMAL, "contest.nfv.yaml")
    assert list(case.find([tmp_path])) == paths
    assert list(case.find([paths[1]])) == [paths[1]]
    assert [case.name_of(path.relative_to(tmp_path)) for path in paths] == [
        "one",
        "two/first",
        "two/second",
    ]
    with pytest.raises(InputError):
        list(case.find([tmp_path / "three"]))
