"""Packets captured in the chains: compared with what the devices and counters around saw."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from scapy.utils import wrpcap

from nfv.dataplane.kernel import netns
from nfv.errors import ExitCode
from nfv.traffic.filter import Filter
from tests.integration.helpers import traffic
from tests.integration.helpers.capturing import Row, capturing, device, rows
from tests.integration.helpers.lab import Lab, applied, kill, nfvctl
from tests.integration.helpers.load import load
from tests.vnfs import DIRECTORY, installed

pytestmark = pytest.mark.root

TEXT = """\
name: capture
saps:
  lan: {{kind: host, hook: {hook}, ip: [10.0.1.10/24, "2001:db8:1::10/64"],
        gateway: [10.0.1.1, "2001:db8:1::1"]}}
  wan: {{kind: host, hook: {hook}, ip: [192.0.2.254/24, "2001:db8:2::254/64"],
        gateway: [192.0.2.1, "2001:db8:2::1"]}}
vnfs:
  fw:
    type: firewall
    rules:
      - {{name: telnet, action: reject, proto: tcp, dport: 23}}
      - {{name: smtp, action: drop, proto: tcp, dport: 25}}
      - {{action: accept, proto: icmp}}
      - {{action: accept, proto: icmpv6}}
      - {{action: accept, proto: [tcp, udp], dport: 4700-4800}}
  gw:
    type: router
    interfaces:
      lan: {{ip: [10.0.1.1/24, "2001:db8:1::1/64"]}}
      wan: {{ip: [192.0.2.1/24, "2001:db8:2::1/64"]}}
    routes: [{{to: 203.0.113.0/24, type: blackhole}}]
  nat: {{type: snat, inside: 10.0.1.0/24, outside: 198.51.100.0/24, ports: 4321}}
chains:
  inside: {{path: [lan, fw, "gw:lan"]}}
  outside: {{path: ["gw:wan", nat, wan]}}
"""
LAN, WAN, BLACKHOLE = "10.0.1.10", "192.0.2.254", "203.0.113.9"
PORT = 4711
PORTS_XOR = 4321
ECHO = "icmp[0] == 8 or icmp[0] == 0"
OWN = (
    "(host 192.0.2.254 or host 203.0.113.9 or host 2001:db8:2::254) "
    "and not arp and not (icmp6 and ip6[40] >= 133)"
)
"""A filter for what tests send and what answers it, without looking for neighbours."""

ALL = "lan,lan..fw,fw..gw,gw:lan,gw:wan,gw..nat,nat..wan,wan"


@pytest.fixture(scope="module")
def functions() -> Iterator[None]:
    """Let this process, and those that it starts, know the functions of tests/vnfs."""
    with installed(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("NFV_FUNCTIONS", str(DIRECTORY))
        yield


@contextmanager
def made(hook: str) -> Iterator[Lab]:
    with applied(TEXT.format(hook=hook), "capture") as lab:
        lab.run("lan", f"ping -n -c 1 -W 2 {WAN}")  # so that neighbours are known
        lab.run("lan", "ping -n -c 1 -W 2 2001:db8:2::254")
        lab.settle()
        yield lab


@pytest.fixture(scope="module", params=["tc", "xdp"])
def each(request: pytest.FixtureRequest, functions: None) -> Iterator[Lab]:
    """The topology, at each hook."""
    with made(request.param) as lab:
        yield lab


@pytest.fixture(scope="module")
def lab(functions: None) -> Iterator[Lab]:
    with made("tc") as found:
        yield found


def send(lab: Lab, *packets: Packet) -> None:
    """Send whole frames from lan to the router; checksums are right."""
    macs = [
        json.loads(lab.run(node, f"ip -j link show dev {name}").stdout)[0]["address"]
        for node, name in (("lan", "eth0"), ("gw", "lan"))
    ]
    with netns.entered(lab.netns("lan")):
        sock = traffic.raw("eth0")
    with sock:
        for packet in packets:
            sock.send(bytes(Ether(src=macs[0], dst=macs[1]) / packet))


def datagram(number: int = 0, size: int = 20, target: str = WAN) -> Packet:
    header = IP(src=LAN, dst=target) / UDP(sport=PORT, dport=PORT)
    return header / Raw(number.to_bytes(4, "big").ljust(size, b"\0"))


def at(found: list[Row], point: str, direction: str = "") -> list[Row]:
    return [row for row in found if row.point == point and direction in ("", row.direction)]


def converse(lab: Lab) -> None:
    """Traffic of all kinds: forwarded on the fast path, by Linux, rejected, dropped."""
    lab.run("lan", f"ping -n -c 3 -i 0.01 -W 2 {WAN}")
    lab.run("lan", "ping -n -c 3 -i 0.01 -W 2 -s 1300 2001:db8:2::254")
    lab.run("lan", f"ping -n -c 1 -W 1 -t 1 {WAN}", check=False)  # Linux says: time exceeded
    with traffic.datagrams(lab.netns("wan"), WAN, PORT) as server:
        send(lab, *(datagram(number) for number in range(20)))
        for _ in range(20):
            data, sender = server.recvfrom(100)
            server.sendto(data, sender)
    assert traffic.outcome(lab.netns("lan"), WAN, 23) == "refused"
    assert traffic.outcome(lab.netns("lan"), WAN, 25) == "silence"
    malformed = datagram()
    malformed.ihl = 15
    send(lab, datagram(target=BLACKHOLE), malformed)
    near, far = traffic.transfer(lab.netns("lan"), lab.netns("wan"), WAN, 4712, b"x" * 50_000)
    near.close()
    far.close()


def test_every_frame_is_captured_once_at_each_place(each: Lab, tmp_path: Path) -> None:
    """Where chains end, it is what packet sockets in the hosts see, byte by byte."""
    path, matching = tmp_path / "all.pcapng", Filter(OWN)
    with (
        capturing(each.name, ALL, OWN, "-w", str(path)) as running,
        device(each.netns("lan"), "eth0") as lan,
        device(each.netns("wan"), "eth0") as wan,
    ):
        converse(each)
        said = running.stop()
        expected = {"lan": lan.frames(matching), "wan": wan.frames(matching)}
    found = rows(path)
    for sap, seen in expected.items():
        for way, other in (("in", "out"), ("out", "in")):
            captured = [row.data for row in at(found, sap, way)]
            assert Counter(short(captured)) == Counter(short(seen[other])), (sap, way)
            assert streamed(captured) == streamed(seen[other])
    # What a packet socket cannot see: each segment of a chain, in the direction as it is written.
    places = Counter((row.point, row.direction) for row in found)
    assert places["lan..fw", "in"] == places["lan", "in"] - 1  # the malformed one
    for one, other in (("lan..fw", "lan"), ("fw..gw", "gw:lan"), ("gw..nat", "nat..wan")):
        assert places[one, "out"] == places[other, "out"] > 30
    assert places["fw..gw", "in"] == places["gw:lan", "in"] > 30
    for one, other in (("gw:wan", "gw..nat"), ("gw..nat", "nat..wan"), ("nat..wan", "wan")):
        flip = {"in": "out", "out": "in"} if "gw:wan" in one or other == "wan" else {"in": "in"}
        assert all(places[one, way] == places[other, flip[way]] > 30 for way in flip)
    for name in ALL.split(","):
        count = len(at(found, name))
        assert f"{count} packets captured at {name}, " in said
    assert said.count(", 0 lost") == len(ALL.split(","))


def short(frames: list[bytes]) -> list[bytes]:
    """All but segments of streams, which the kernel may have joined for those who receive them."""
    return [frame for frame in frames if TCP not in (packet := Ether(frame)) or len(packet) < 100]


def streamed(frames: list[bytes]) -> int:
    """Bytes in the other ones, without headers."""
    return sum(len(Ether(frame)[TCP].payload) for frame in frames if frame not in short([frame]))


def test_what_became_of_a_packet_is_told(each: Lab, tmp_path: Path) -> None:
    """As many as the counters say, of each reason."""
    path = tmp_path / "a.pcapng"
    before = each.statistics()
    with capturing(each.name, "lan", OWN, "--direction", "in", "-w", str(path)):
        converse(each)
    counted = each.statistics().since(before)
    found = Counter((row.comment, row.action) for row in rows(path))
    verb = "TC" if "hook: tc" in each.text else "XDP"
    dropped, sent = {"TC": ("TC 2", "TC 7"), "XDP": ("XDP 1", "XDP 4")}[verb]
    smtp = found[f"dropped by fw: rule smtp, test.yaml:{line(each, 'smtp')}", dropped]
    telnet = found[f"rejected by fw: rule telnet, test.yaml:{line(each, 'telnet')}", sent]
    assert smtp == counted.vnfs["fw"].ended["rule"].packets >= 1
    assert telnet == counted.vnfs["fw"].ended["rejected"].packets >= 1
    assert found["dropped by gw: blackhole route", dropped] == 1
    assert found["dropped by lan: header cut short or contradictory", dropped] == 1
    assert found["to the kernel of gw: TTL or hop limit used up", sent] == 1
    assert found["", sent] >= 3 + 3 + 20


def line(lab: Lab, name: str) -> int:
    (number,) = (n for n, text in enumerate(lab.text.splitlines(), 1) if f"name: {name}" in text)
    return number


def test_edits_are_seen_where_they_were_made(each: Lab, tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    with (
        capturing(each.name, "lan,fw..gw,gw..nat,nat..wan", "udp", "-w", str(path)),
        traffic.datagrams(each.netns("wan"), WAN, PORT) as server,
    ):
        send(each, datagram())
        data, sender = server.recvfrom(100)
        server.sendto(data, sender)
    own, translated = (LAN, PORT), ("198.51.100.10", PORT ^ PORTS_XOR)
    forward, back = set(), set()
    for row in rows(path):
        packet = Ether(row.data)
        header, ports = packet[IP], packet[UDP]
        if header.dst == WAN:
            forward.add((row.point, header.src, ports.sport, header.ttl))
            del header.chksum, ports.chksum
            assert bytes(packet) == row.data
        else:  # what a socket sends may lack its checksum
            back.add((row.point, row.direction, header.dst, ports.dport, header.ttl))
    assert forward == {
        ("lan", *own, 64),
        ("fw..gw", *own, 64),
        ("gw..nat", *own, 63),
        ("nat..wan", *translated, 63),
    }
    assert back == {
        ("nat..wan", "out", *translated, 64),
        ("gw..nat", "out", *own, 64),
        ("fw..gw", "out", *own, 63),
        ("lan", "out", *own, 63),
    }


def test_nothing_is_lost_while_captures_begin_and_end(each: Lab, tmp_path: Path) -> None:
    programs, plan = each.programs(), each.plan()
    assert plan.empty
    with load(each.netns("lan"), LAN, each.netns("wan"), WAN, 4713) as running:
        for number in range(3):
            with capturing(each.name, "fw..gw", "-w", str(tmp_path / f"{number}.pcapng")):
                assert set(each.programs().values()).isdisjoint(programs.values())
                running.go_on()
            assert each.programs() == programs
            running.go_on()
        counts = running.stop()
    assert (counts.lost, counts.tcp_lost) == (0, 0)
    assert each.plan().empty


def test_what_is_lost_is_counted(lab: Lab, tmp_path: Path) -> None:
    """While the capture is stopped, more packets come than it has memory for."""
    path, size, count = tmp_path / "a.pcapng", 1400, 20_000
    burst = tmp_path / "burst.pcap"
    ends = Ether(src="02:0e:00:00:00:01", dst="02:0e:00:00:00:02")
    wrpcap(str(burst), [ends / datagram(number, size) for number in range(100)])
    before = received(lab)
    with capturing(lab.name, "lan", "udp port 4711", "-w", str(path)) as running:
        running.process.send_signal(signal.SIGSTOP)
        words = ("--loop", str(count // 100), "--topspeed", "--dst-mac", "auto")
        assert nfvctl("replay", lab.name, f"lan={burst}", *words).returncode == 0
        running.process.send_signal(signal.SIGCONT)
        said = running.stop()
    assert received(lab) - before >= count  # the chains lose nothing
    found = re.search(r"([\d,]+) packets captured at lan, (.*) lost", said)
    assert found is not None, said
    captured, lost = (int(text.replace(",", "")) for text in found.groups())
    assert captured == len(rows(path))
    assert lost > 0
    assert captured + lost == count
    shown = subprocess.run(["capinfos", "-c", path], capture_output=True, text=True).stdout
    assert f"Number of packets:   {captured}" in shown


def test_what_the_filter_does_not_match_takes_no_room(lab: Lab, tmp_path: Path) -> None:
    """While the capture is stopped, more packets come than it has memory for; two of them match."""
    path, burst = tmp_path / "a.pcapng", tmp_path / "burst.pcap"
    ends = Ether(src="02:0e:00:00:00:01", dst="02:0e:00:00:00:02")
    wrpcap(str(burst), [ends / datagram(number, 1400) for number in range(100)])
    with capturing(lab.name, "lan,wan", ECHO, "-w", str(path)) as running:
        running.process.send_signal(signal.SIGSTOP)
        words = ("--loop", "200", "--topspeed", "--dst-mac", "auto")
        assert nfvctl("replay", lab.name, f"lan={burst}", *words).returncode == 0
        lab.run("lan", f"ping -n -c 1 -W 2 {WAN}")
        running.process.send_signal(signal.SIGCONT)
        said = running.stop()
    assert "2 packets captured at lan, 0 lost" in said
    assert "2 packets captured at wan, 0 lost" in said
    assert Counter(row.point for row in rows(path)) == {"lan": 2, "wan": 2}


def received(lab: Lab) -> int:
    """Packets that the far host's device has received, as its kernel counts them."""
    with netns.entered(lab.netns("wan")):
        lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    (line,) = (line for line in lines if line.strip().startswith("eth0:"))
    return int(line.split()[2])


def test_a_pipe_leads_to_tshark(lab: Lab) -> None:
    command = ["tshark", "-n", "-l", "-r", "-", "-T", "fields", "-e", "ip.ttl", "-e", "ip.src"]
    with capturing(lab.name, "wan", "icmp", "-w", "-", "-c", "6") as running:
        tshark = subprocess.Popen(command, stdin=running.process.stdout, stdout=subprocess.PIPE)
        assert running.process.stdout
        running.process.stdout.close()
        running.process.stdout = None
        lab.run("lan", f"ping -n -c 3 -i 0.01 -W 2 {WAN}")
        out, _ = tshark.communicate(timeout=20)
        said = running.ended()
    assert sorted(out.decode().split()) == sorted(["63", "198.51.100.10", "64", WAN] * 3)
    assert "6 packets captured at wan, 0 lost" in said
    assert running.process.returncode == ExitCode.OK


def test_whoever_reads_may_have_enough(lab: Lab) -> None:
    with capturing(lab.name, "wan") as running:
        assert running.process.stdout
        running.process.stdout.close()
        running.process.stdout = None
        lab.run("lan", f"ping -n -c 1 -W 2 {WAN}")
        said = running.ended()
    assert running.process.returncode == ExitCode.OK
    assert "packets captured at wan" in said
    assert "Error" not in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_the_file_is_whole(
    lab: Lab, tmp_path: Path, number: signal.Signals
) -> None:
    path, programs = tmp_path / "a.pcapng", lab.programs()
    with capturing(lab.name, "lan", "icmp", "-w", str(path)) as running:
        lab.run("lan", f"ping -n -c 2 -i 0.01 -W 2 {WAN}")
        running.stop(number)
    assert running.process.returncode == ExitCode.OK
    assert len(rows(path)) == 4
    assert lab.programs() == programs


def test_after_a_kill_all_goes_on_and_apply_mends_it(functions: None, tmp_path: Path) -> None:
    with made("xdp") as lab:
        programs = lab.programs()
        with load(lab.netns("lan"), LAN, lab.netns("wan"), WAN, 4714) as running:
            for _ in range(2):  # the second capture finds what the first one left
                with capturing(lab.name, "fw..gw", "-w", str(tmp_path / "a.pcapng")) as capture:
                    running.go_on()
                    kill(capture.process.pid)
                running.go_on()
            assert set(lab.programs().values()).isdisjoint(programs.values())
            assert not lab.plan().empty
            lab.apply()
            running.go_on()
            counts = running.stop()
        assert (counts.lost, counts.tcp_lost) == (0, 0)
        assert lab.plan().empty
        assert lab.programs().keys() == programs.keys()
        with capturing(lab.name, "fw..gw", "-w", str(tmp_path / "a.pcapng")) as capture:
            kill(capture.process.pid)
        lab.destroy()
        assert not lab.pins.exists()


def test_a_capture_follows_changes(functions: None, tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    ping = f"ping -n -c 2 -i 0.01 -W 2 {WAN}"
    with made("tc") as lab:
        with capturing(lab.name, "lan..fw", "icmp", "-w", str(path)) as running:
            lab.run("lan", ping)
            lab.edit("[lan, fw, ", "[lan, fw, second, ")
            lab.edit("vnfs:\n", "vnfs:\n  second: {type: firewall, default: accept}\n")
            lab.apply()
            assert running.next_line() == "the topology has changed, and the capture goes on\n"
            lab.run("lan", ping)
            lab.edit("[lan, fw, second, ", "[lan, second, ")
            lab.apply()
            said = running.ended()
        assert f"error: topology {lab.name} has no 'fw' to capture at" in said
        assert running.process.returncode == ExitCode.BAD_INPUT
        assert len(rows(path)) == 8
        assert lab.plan().empty


def test_other_changes_leave_a_capture_alone(lab: Lab) -> None:
    rule = "      - {name: smtp, action: drop, proto: tcp, dport: 25}\n"
    text = lab.text
    with capturing(lab.name, "lan", "tcp port 26") as running:
        programs = lab.programs()
        assert lab.plan().empty
        lab.edit(rule, rule + rule.replace("smtp", "more").replace("25", "26"))
        lab.apply()
        assert lab.programs() == programs
        with traffic.listener(lab.netns("wan"), WAN, 26):
            assert traffic.outcome(lab.netns("lan"), WAN, 26) == "silence"
    assert "[dropped by fw: " in running.printed
    assert lab.programs().keys() == programs.keys()
    lab.text = text
    lab.apply()
    assert lab.plan().empty


def test_a_capture_ends_with_its_topology(functions: None) -> None:
    with made("tc") as lab, capturing(lab.name, "lan") as running:
        lab.destroy()
        said = running.ended()
        assert f"error: topology {lab.name} was destroyed while it was observed" in said
        assert running.process.returncode == ExitCode.FAILED


def test_only_one_direction_and_so_many_bytes(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    with (
        capturing(
            lab.name, "gw:wan", "udp port 4711", "--direction", "out", "-s", "50", "-w", str(path)
        ),
        traffic.datagrams(lab.netns("wan"), WAN, PORT) as server,
    ):
        send(lab, *(datagram(number, 500) for number in range(5)))
        for _ in range(5):
            data, sender = server.recvfrom(1000)
            server.sendto(data, sender)
    found = rows(path)
    assert [(row.direction, row.length, row.kept) for row in found] == [("out", 542, 50)] * 5
    times = [row.moment for row in found]
    assert times == sorted(times)


def test_lines_are_for_people_and_for_programs(lab: Lab) -> None:
    with capturing(lab.name, "lan,fw..gw", "tcp port 25 or udp port 4711") as running:
        send(lab, IP(src=LAN, dst=WAN) / TCP(sport=1025, dport=25, flags="S"), datagram())
        running.stop()
    lines = running.printed.splitlines()
    assert len(lines) == 3, lines
    smtp, near, far = lines
    number = line(lab, "smtp")
    assert re.fullmatch(
        rf"\d\d:\d\d:\d\d\.\d{{9}} lan in  IP {LAN}.1025 > {WAN}.25: Flags \[S\], .* "
        rf"\[dropped by fw: rule smtp, test.yaml:{number}\]",
        smtp,
    )
    assert near.endswith(f" lan in  IP {LAN}.{PORT} > {WAN}.{PORT}: UDP, length 20")
    assert far.endswith(f" fw..gw in  IP {LAN}.{PORT} > {WAN}.{PORT}: UDP, length 20")

    with capturing(lab.name, "lan", "tcp port 25", "--format", "json") as running:
        send(lab, IP(src=LAN, dst=WAN) / TCP(sport=1025, dport=25, flags="S"))
        running.stop()
    item = json.loads(running.printed)
    assert Ether(bytes.fromhex(item.pop("data")))[TCP].dport == 25
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", item.pop("time"))
    assert item == {
        "point": "lan",
        "direction": "in",
        "length": 54,
        "segments": 1,
        "outcome": "dropped",
        "node": "fw",
        "reason": "rule",
        "rule": {"text": "smtp", "written_in": f"test.yaml:{number}"},
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dmz"], "has no 'dmz' to capture at"),
        (["lan..gw"], "'lan' and 'gw' are not neighbours on any path"),
        (["lan", "udp", "prot"], "filter 'udp prot': "),
        (["lan", "-w", "/nowhere/a.pcapng"], "cannot write /nowhere/a.pcapng: No such file"),
        (["lan", "-w", "a.pcapng", "--format", "json"], "-w and --format exclude each other"),
    ],
)
def test_what_cannot_be_captured_is_told(lab: Lab, words: list[str], message: str) -> None:
    done = nfvctl("capture", lab.name, *words)
    assert done.returncode == ExitCode.BAD_INPUT
    assert message in done.stderr


def test_one_capture_at_a_time(lab: Lab) -> None:
    with capturing(lab.name, "lan") as running:
        done = nfvctl("capture", lab.name, "wan")
        assert done.returncode == ExitCode.BAD_INPUT
        assert f"is being observed by process {running.process.pid}" in done.stderr


SWITCHED = """\
name: switched
saps:
  a: {{kind: host, hook: {hook}, ip: 10.0.0.1/24}}
  b: {{kind: host, hook: {hook}, ip: 10.0.0.2/24}}
  c: {{kind: host, hook: {hook}, ip: 10.0.0.3/24}}
vnfs:
  fw: {{type: firewall, default: accept}}
  sw: {{type: {type}, ports: {ports}}}
chains:
  a: {{path: [a, "sw:1"]}}
  b: {{path: [b, fw, "sw:2"]}}
  c: {{path: [c, "sw:3"]}}
"""


@pytest.fixture(params=[("switch", "tc"), ("switch", "xdp"), ("hub", "tc")], ids=" ".join)
def switched(request: pytest.FixtureRequest) -> Iterator[Lab]:
    kind, hook = request.param
    ports = {"switch": "{1: {}, 2: {}, 3: {}}", "hub": "3"}[kind]
    with applied(SWITCHED.format(hook=hook, type=kind, ports=ports), "switched") as made:
        yield made


def test_behind_a_switch_each_copy_is_captured(switched: Lab, tmp_path: Path) -> None:
    path, matching, saps = tmp_path / "a.pcapng", Filter("arp or icmp"), ("a", "b", "c")
    points = "a,b,c,sw:1,sw:2,sw:3,fw..sw"
    with ExitStack() as stack:
        stack.enter_context(capturing(switched.name, points, "arp or icmp", "-w", str(path)))
        seen = {sap: stack.enter_context(device(switched.netns(sap), "eth0")) for sap in saps}
        switched.run("a", "ping -n -c 3 -i 0.01 -W 2 10.0.0.2")
        switched.run("c", "ping -n -c 3 -i 0.01 -W 2 10.0.0.1")
        with netns.entered(switched.netns("c")), traffic.raw("eth0") as sock:
            to_all = Ether(src="02:00:00:00:00:0c", dst="ff:ff:ff:ff:ff:ff")
            sock.send(bytes(to_all / IP(src="10.0.0.3", dst="10.0.0.255") / ICMP()))
        expected = {sap: one.frames(matching) for sap, one in seen.items()}
    found = rows(path)
    for number, sap in enumerate(("a", "b", "c"), 1):
        into, out = (Counter(row.data for row in at(found, sap, way)) for way in ("in", "out"))
        assert (into, out) == (Counter(expected[sap]["out"]), Counter(expected[sap]["in"])), sap
        assert Counter(row.data for row in at(found, f"sw:{number}", "in")) == into
        assert Counter(row.data for row in at(found, f"sw:{number}", "out")) == out
    between = Counter(row.direction for row in at(found, "fw..sw"))
    assert between == Counter({"in": len(at(found, "b", "in")), "out": len(at(found, "b", "out"))})
