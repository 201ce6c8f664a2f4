"""nfvctl trace --live: packets that pass are told as they went, and pass as if nobody looked."""

from __future__ import annotations

import json
import re
import selectors
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from nfv.errors import ExitCode
from tests.integration.helpers import traffic
from tests.integration.helpers.lab import EXAMPLES, Lab, applied, example, nfvctl, started
from tests.integration.helpers.load import load

pytestmark = pytest.mark.root

LAN, WAN = "10.0.1.10", "192.0.2.254"
PATIENCE = 60.0  # seconds; the first start compiles
_ENDED = re.compile(r"([\d,]+) packets? traced, ([\d,]+) notes lost")


class Tracing:
    """A trace that has begun, printing JSON."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said = ""

    def next(self) -> dict[str, Any]:
        """The next packet, while the trace goes on."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            assert selector.select(PATIENCE), "no packet is traced"
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def stop(self, number: signal.Signals = signal.SIGINT) -> list[dict[str, Any]]:
        """End it; what it has printed since the last look, as many packets as it says."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> list[dict[str, Any]]:
        """Wait for it to end by itself."""
        out, self.said = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == ExitCode.OK, self.said
        return [json.loads(line) for line in out.splitlines()]

    @property
    def counts(self) -> tuple[int, int]:
        """Packets traced and notes lost, as it says at the end."""
        found = _ENDED.search(self.said)
        assert found is not None, self.said
        traced, lost = (int(text.replace(",", "")) for text in found.groups())
        return traced, lost


@contextmanager
def tracing(lab: Lab, text: str, *words: str) -> Iterator[Tracing]:
    """Trace, from when the programs are in place."""
    process = started("trace", lab.name, "--live", text, "--format", "json", *words)
    running = Tracing(process)
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        assert said.startswith("tracing packets of "), said + process.stderr.read()
        yield running
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate(timeout=PATIENCE)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    text = example("quickstart").replace("dport: 5201}", "dport: [53, 5201]}")
    with applied(text, "passing") as made:
        made.run("lan", f"ping -n -c 1 -W 2 {WAN}")
        made.run("lan", "ping -n -c 1 -W 2 2001:db8:2::254")
        made.settle()
        yield made


def way(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(step["at"], step["verdict"]) for step in found["steps"]]


def line_of(words: str) -> int:
    lines = (EXAMPLES / "quickstart.yaml").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if words in line)


def written(step: dict[str, Any]) -> int:
    """The line that a step names, as the file of the example has it."""
    return int(step["written_in"].rsplit(":", 1)[1])


def test_each_packet_is_told_with_rule_route_and_change(lab: Lab) -> None:
    with tracing(lab, "icmp", "-c", "6") as running:
        lab.run("lan", f"ping -n -c 3 -i 0.01 -W 2 {WAN}")
        found = running.ended()
    assert running.counts == (6, 0)
    assert Counter(one["steps"][0]["at"] for one in found) == {"lan": 3, "wan": 3}
    (there, *_) = (one for one in found if one["steps"][0]["at"] == "lan")
    (back, *_) = (one for one in found if one["steps"][0]["at"] == "wan")
    assert way(there) == [
        ("lan", "enters"),
        ("fw", "passes"),
        ("gw", "forwards out of gw:wan"),
        ("wan", "leaves"),
    ]
    _, rule, route, _ = there["steps"]
    assert (rule["because"], written(rule)) == ("rule ping", line_of("name: ping,"))
    assert route["because"] == "connected 192.0.2.0/24 at wan"
    changed = {one["field"]: (one["before"], one["after"]) for one in route["changes"]}
    assert changed.keys() == {"Ether.dst", "Ether.src", "IP.ttl", "IP.chksum"}
    assert changed["IP.ttl"] == ("64", "63")
    assert [at for at, _ in way(back)] == ["wan", "gw", "fw", "lan"]
    assert back["outcome"]["egress"] == "lan"
    assert [one["time"] for one in found] == sorted(one["time"] for one in found)


def test_a_trace_of_the_same_packet_says_the_same(lab: Lab) -> None:
    with tracing(lab, f"udp and dst host {WAN}", "-c", "1") as running:
        with traffic.datagrams(lab.netns("lan"), LAN, 40000) as near:
            near.sendto(b"", (WAN, 53))
        (found,) = running.ended()
    packet = f"udp,src={LAN},dst={WAN},sport=40000,dport=53"
    done = nfvctl("trace", lab.name, "--in", "lan", packet, "--format", "json")
    (path,) = json.loads(done.stdout)["paths"]
    assert way(found) == way(path)
    assert found["outcome"] == path["outcome"]


@pytest.mark.parametrize(
    ("command", "text", "verdicts", "outcome"),
    [
        (f"ping -n -c 1 -W 1 -t 1 {WAN}", "icmp[0] == 8", ["hands to Linux"], "kernel"),
        ("ping -n -c 1 -W 2 10.0.1.1", "icmp[0] == 8", ["hands to Linux"], "kernel"),
        (f"ping -n -c 1 -W 1 -Q 4 {WAN}", "ip[1] == 4 and icmp[0] == 8", [], "forwarded"),
    ],
)
def test_the_slow_path_is_told(
    lab: Lab, command: str, text: str, verdicts: Sequence[str], outcome: str
) -> None:
    with tracing(lab, text, "--in", "lan", "-c", "1") as running:
        lab.run("lan", command, check=False)
        (found,) = running.ended()
    assert found["outcome"]["verdict"] == outcome
    assert set(verdicts) <= {verdict for _, verdict in way(found)}


def test_a_rejected_packet_is_told_with_its_answer(lab: Lab) -> None:
    with tracing(lab, "tcp port 23", "-c", "1") as running:
        assert traffic.outcome(lab.netns("lan"), WAN, 23) == "refused"
        (found,) = running.ended()
    assert way(found)[1:] == [("fw", "rejects"), ("fw", "sends an answer"), ("lan", "leaves")]
    assert found["outcome"]["verdict"] == "rejected"


def test_what_linux_sends_is_told_from_where_it_enters(lab: Lab) -> None:
    with tracing(lab, "icmp[0] == 11", "-c", "1") as running:
        lab.run("lan", f"ping -n -c 1 -W 1 -t 1 {WAN}", check=False)
        (found,) = running.ended()
    assert way(found)[0] == ("gw:lan", "enters")
    assert found["outcome"]["egress"] == "lan"


def test_only_what_the_filter_says_is_traced_and_nothing_is_lost(lab: Lab) -> None:
    """Beside other traffic; each packet that a server has received is told once, there and back."""
    count = 300
    with load(lab.netns("lan"), LAN, lab.netns("wan"), WAN, 5201) as busy:
        with (
            tracing(lab, "udp port 53") as running,
            traffic.datagrams(lab.netns("wan"), WAN, 53) as server,
            traffic.datagrams(lab.netns("lan"), LAN, 40001) as client,
        ):
            for number in range(count):
                client.sendto(number.to_bytes(4, "big"), (WAN, 53))
                data, sender = server.recvfrom(100)
                server.sendto(data, sender)
                assert int.from_bytes(client.recv(100), "big") == number
            busy.go_on()
            found = running.stop()
        counts = busy.stop()
    assert running.counts == (2 * count, 0)
    assert Counter(one["steps"][0]["at"] for one in found) == {"lan": count, "wan": count}
    assert all(one["outcome"]["verdict"] == "forwarded" for one in found)
    assert (counts.lost, counts.tcp_lost) == (0, 0)


def test_afterwards_all_is_as_before(lab: Lab) -> None:
    before = lab.programs(), lab.maps()
    with tracing(lab, "icmp") as running:
        assert set(lab.programs().values()).isdisjoint(before[0].values())
        assert lab.plan().empty
        running.stop()
    assert (lab.programs(), lab.maps()) == before
    assert lab.plan().empty


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_packets_are_told_at_once_and_a_signal_ends_it(lab: Lab, number: signal.Signals) -> None:
    with tracing(lab, "icmp[0] == 8") as running:
        lab.run("lan", f"ping -n -c 1 -W 2 {WAN}")
        assert running.next()["steps"][0]["at"] == "lan"
        assert running.stop(number) == []
    assert running.counts == (1, 0)


def test_time_ends_it(lab: Lab) -> None:
    done = nfvctl("trace", lab.name, "--live", "tcp port 1", "--seconds", "0.1")
    assert (done.returncode, done.stdout) == (ExitCode.OK, "")
    assert "0 packets traced, 0 notes lost" in done.stderr


def test_a_copy_of_a_flood_has_a_way_of_its_own() -> None:
    with applied(example("switch"), "copies") as lab:
        with tracing(lab, "arp and arp[6:2] == 1", "--in", "alice", "-c", "1") as running:
            lab.run("alice", "ping -n -c 1 -W 1 10.0.10.99", check=False)
            (found,) = running.ended()
        assert found["outcome"]["verdict"] == "flooded"


def test_people_read_it_in_a_hundred_columns(lab: Lab) -> None:
    process = started("trace", lab.name, "--live", f"icmp and dst host {WAN}", "-c", "1")
    assert process.stderr is not None
    process.stderr.readline()
    lab.run("lan", f"ping -n -c 1 -W 2 {WAN}")
    out, _ = process.communicate(timeout=PATIENCE)
    assert max(map(len, out.splitlines())) <= 100
    assert "IP.ttl" in out
    assert "forwarded out of wan" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--live", "udp prot 53"], "filter 'udp prot 53'"),
        (["--live", "", "--in", "lna"], "did you mean 'lan'?"),
        (["--live", "", "icmp,dst=192.0.2.9"], "give packets, or --pcap"),
        (["--in", "lan", "icmp,dst=192.0.2.9", "-c", "2"], "-c and --seconds are for --live"),
        (["icmp,dst=192.0.2.9"], "missing option '--in'"),
    ],
)
def test_bad_input_is_told(lab: Lab, words: list[str], message: str) -> None:
    done = nfvctl("trace", lab.name, *words)
    assert done.returncode == ExitCode.BAD_INPUT, done.stderr
    assert message in done.stderr
