"""The name server in a chain, asked by real clients."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import pytest
from dns.name import from_text
from dns.rdatatype import RdataType

from nfv.dataplane.kernel import netns
from nfv.dataplane.resident import servicectl
from tests.integration.helpers import traffic
from tests.integration.helpers.lab import Lab, applied, example, lab, nfvctl
from tests.integration.helpers.names import dig, restart
from tests.services import oracle

pytestmark = pytest.mark.root

SERVERS = ["10.0.1.53", "2001:db8:1::53"]

FILE_ZONE = """
      file.example: {file: file.zone}
"""


@pytest.fixture(scope="module")
def net() -> Iterator[Lab]:
    with applied(example("dns"), "dns") as made:
        yield made


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("node", ["lan", "wan"])
@pytest.mark.parametrize("way", ["+notcp", "+tcp", "+noedns", "+nocookie"])
def test_dig_on_either_side(net: Lab, node: str, server: str, way: str) -> None:
    assert dig(net, node, f"{way} @{server} web.example.org A") == ["192.0.2.80", "192.0.2.81"]


def test_kdig_and_host(net: Lab) -> None:
    answer = net.run("lan", "kdig @10.0.1.53 www.example.org A +retry=0").stdout
    assert "status: NOERROR" in answer
    assert "CNAME" in answer
    assert answer.count("192.0.2.8") == 2
    assert "192.0.2.25" in net.run("lan", "host mail.example.org 10.0.1.53").stdout


def test_the_directory_knows_hosts_and_routers(net: Lab) -> None:
    assert dig(net, "lan", "@10.0.1.53 wan.lab.example AAAA") == ["2001:db8:2::10"]
    assert dig(net, "lan", "@10.0.1.53 gw.lab.example") == ["10.0.1.1", "192.0.2.1"]
    assert dig(net, "lan", "@10.0.1.53 wan.gw.lab.example") == ["192.0.2.1"]
    assert dig(net, "lan", "@10.0.1.53 dns.lab.example") == ["10.0.1.53"]
    assert dig(net, "wan", "@10.0.1.53 -x 10.0.1.10") == ["lan.lab.example."]
    assert dig(net, "wan", "@10.0.1.53 -x 2001:db8:2::10") == ["wan.lab.example."]


def test_programs_resolve_names(net: Lab) -> None:
    """By the C library, with the resolver's configuration of the namespace (`ip netns exec`)."""
    there = Path("/etc/netns") / net.netns("lan")
    there.mkdir(parents=True)
    try:
        (there / "resolv.conf").write_text("nameserver 10.0.1.53\nsearch lab.example\n")
        command = ["ip", "netns", "exec", net.netns("lan"), "getent", "ahosts", "wan"]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    finally:
        (there / "resolv.conf").unlink()
        there.rmdir()
    assert {line.split()[0] for line in found.splitlines()} == {"192.0.2.10", "2001:db8:2::10"}


@pytest.mark.parametrize("server", SERVERS)
def test_it_is_a_host(net: Lab, server: str) -> None:
    net.run("lan", f"ping -c1 -W3 {server}")
    net.run("wan", f"ping -c1 -W3 -s 4000 {server}")
    assert traffic.outcome(net.netns("lan"), server, 53) == "accepted"
    assert traffic.outcome(net.netns("lan"), server, 54) == "refused"


def test_commands_run_where_its_addresses_are(net: Lab) -> None:
    shown = nfvctl("exec", net.name, "dns", "--", "ip", "-br", "address")
    assert shown.returncode == 0, shown.stderr
    assert "10.0.1.53/24" in shown.stdout
    assert nfvctl("exec", net.name, "dns", "--", "sh", "-c", "exit 7").returncode == 7


def test_everything_else_passes(net: Lab) -> None:
    net.run("lan", "ping -c1 -W3 192.0.2.10")
    data = os.urandom(1 << 20)
    near, far = traffic.transfer(net.netns("lan"), net.netns("wan"), "192.0.2.10", 5353, data)
    near.close()
    far.close()


def _ask(place: str, server: str, wire: bytes) -> bytes:
    with traffic.asking(place, server) as asked:
        asked.send(wire)
        return asked.recv(65535)


def test_queries_are_pipelined(net: Lab) -> None:
    """RFC 7766: several queries at once on one connection, the second one in pieces."""
    names = ["web.example.org", "mail.example.org", "nobody.example.org", "big.users.example.org"]
    queries = [dns.message.make_query(name, RdataType.A) for name in names]
    wire = b"".join(struct.pack("!H", len(one.to_wire())) + one.to_wire() for one in queries)
    connection = traffic.connect(net.netns("lan"), "10.0.1.53", 53)
    with connection, connection.makefile("rb") as stream:
        connection.sendall(wire[:50])
        connection.sendall(wire[50:])
        answers = {}
        for _ in queries:
            (length,) = struct.unpack("!H", stream.read(2))
            answer = dns.message.from_wire(stream.read(length))
            answers[answer.id] = answer
    for query in queries:
        assert query.is_response(answers[query.id])


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    "question", ["web.example.org A", "mail.example.org AAAA", "u.example.org"]
)
def test_what_was_answered_is_answered_on_the_fast_path(
    net: Lab, server: str, question: str
) -> None:
    first = dig(net, "lan", f"@{server} {question}")
    before = servicectl.ask(net.name, "dns", "status")["service"]
    assert dig(net, "lan", f"@{server} {question}") == first
    after = servicectl.ask(net.name, "dns", "status")["service"]
    assert before["queries"] == after["queries"]  # type: ignore[index]


def test_what_is_malformed_harms_nobody(net: Lab) -> None:
    place = net.netns("lan")
    before = servicectl.ask(net.name, "dns", "status")
    with netns.entered(place):
        flood = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with flood:
        for size in range(400):
            flood.sendto(os.urandom(size), ("10.0.1.53", 53))
            flood.sendto(
                struct.pack("!6H", 1, 0, 1, 0, 0, 0) + b"\xc0\x0c" * size, ("10.0.1.53", 53)
            )
    connection = traffic.connect(place, "10.0.1.53", 53)
    connection.sendall(b"\0\1\0")
    connection.close()
    answer = dns.message.from_wire(_ask(place, "10.0.1.53", struct.pack("!6H", 7, 0, 1, 0, 0, 0)))
    assert (answer.id, answer.rcode()) == (7, dns.rcode.FORMERR)
    assert dig(net, "lan", "@10.0.1.53 mail.example.org") == ["192.0.2.25"]
    assert servicectl.ask(net.name, "dns", "status")["pid"] == before["pid"]


def test_a_killed_service_comes_back(net: Lab) -> None:
    restart(net)
    assert dig(net, "lan", "@10.0.1.53 mail.example.org") == ["192.0.2.25"]


WORLD = """$TTL 300
@ SOA ns hostmaster 1 2 3 4 60
@ NS ns
ns A 192.0.2.10
www A 198.51.100.80
big TXT {big}
"""


@pytest.fixture(scope="module")
def world(net: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[oracle.Oracle]:
    """Knot DNS on wan, which the lab's name server asks."""
    text = WORLD.format(big=" ".join(f'"{"x" * 200}"' for _ in range(12)))
    zones = {from_text("world.test"): text}
    directory = tmp_path_factory.mktemp("knot")
    with oracle.knot(net.netns("wan"), directory, zones, "192.0.2.10", 53) as server:
        yield server


@pytest.mark.usefixtures("world")
def test_other_names_are_asked_for(net: Lab) -> None:
    answer = net.run("lan", "dig +time=3 +tries=1 @10.0.1.53 www.world.test").stdout
    assert "status: NOERROR" in answer
    assert "flags: qr rd ra;" in answer
    assert "198.51.100.80" in answer
    missing = net.run("lan", "dig +time=3 +tries=1 @2001:db8:1::53 nobody.world.test").stdout
    assert "status: NXDOMAIN" in missing
    assert "SOA" in missing
    long = net.run("lan", "dig +time=3 +tries=1 +short @10.0.1.53 big.world.test TXT").stdout
    assert long.count("x") == 2400
    local = net.run("lan", "dig +time=3 +tries=1 @10.0.1.53 -x 10.99.0.1").stdout
    assert "status: NXDOMAIN" in local


@pytest.mark.usefixtures("world")
def test_who_does_not_want_recursion_gets_none(net: Lab) -> None:
    answer = net.run("lan", "dig +time=3 +tries=1 +norec @10.0.1.53 other.test").stdout
    assert "status: REFUSED" in answer


def test_what_is_forwarded_is_served_by_the_fast_path_with_its_time(tmp_path: Path) -> None:
    """Everybody may ask: then remembered answers are given there, for a second each time."""
    text = example("dns").replace(
        "{to: 192.0.2.10}", '{to: 192.0.2.10, clients: ["0.0.0.0/0", "::/0"]}'
    )
    zones = {from_text("world.test"): WORLD.format(big="x")}
    with (
        applied(text, "dns") as made,
        oracle.knot(made.netns("wan"), tmp_path, zones, "192.0.2.10", 53),
    ):
        place = made.netns("lan")
        query = dns.message.make_query("www.world.test", RdataType.A).to_wire()
        seen = []
        for _ in range(50):
            answer = dns.message.from_wire(_ask(place, "10.0.1.53", query))
            assert answer.answer[0][0].to_text() == "198.51.100.80"
            seen.append(answer.answer[0].ttl)
        assert all(0 < ttl <= 300 for ttl in seen)
        assert seen == sorted(seen, reverse=True)
        asked = servicectl.ask(made.name, "dns", "status")["service"]
        assert asked["queries"] < 50  # type: ignore[index]


def test_other_names_are_asked_for_by_tls(tmp_path: Path) -> None:
    """RFC 7858: of a server that can prove its name, several at once, and of no other."""
    oracle.certificate(tmp_path, "right.test")
    to = "{to: 192.0.2.10#right.test, domains: {other.test: 192.0.2.10#wrong.test}, ca: tls.pem}"
    zones = {from_text(name): WORLD.format(big="x") for name in ("world.test", "other.test")}
    with lab(example("dns").replace("{to: 192.0.2.10}", to), "tls") as made:
        file = tmp_path / "lab.yaml"
        file.write_text(made.text)
        assert nfvctl("apply", str(file)).returncode == 0
        with oracle.nsd_tls(made.netns("wan"), tmp_path, zones, "192.0.2.10"):
            names = [f"{word}.world.test" for word in ("www", "ns", "no", "big")]
            with ThreadPoolExecutor() as pool:
                found = pool.map(lambda name: dig(made, "lan", f"@10.0.1.53 {name}"), names)
            assert list(found) == [["198.51.100.80"], ["192.0.2.10"], [], []]
            wrong = made.run("lan", "dig +time=3 +tries=1 @10.0.1.53 www.other.test").stdout
            assert "SERVFAIL" in wrong

            other = tmp_path / "other"
            other.mkdir()
            oracle.certificate(other, "right.test")
            trusted = tmp_path / "tls.pem"
            own = trusted.read_text()
            for ca, answers in (((other / "tls.pem").read_text(), []), (own, ["198.51.100.80"])):
                trusted.write_text(ca)
                assert nfvctl("apply", str(file)).returncode == 0
                assert dig(made, "lan", "@10.0.1.53 www.world.test") == answers


def test_certificates_that_are_none_are_refused(tmp_path: Path) -> None:
    text = example("dns").replace("{to: 192.0.2.10}", "{to: 192.0.2.10#a.test, ca: lab.yaml}")
    (tmp_path / "lab.yaml").write_text(text)
    said = nfvctl("validate", str(tmp_path / "lab.yaml"))
    assert said.returncode == 3
    assert "no certificates in PEM" in said.stderr


def test_clients_whose_frames_come_by_tc() -> None:
    """Their checksums may be incomplete where the programs see them."""
    text = re.sub(r"(lan|wan): {kind: host,", r"\1: {kind: host, hook: tc,", example("dns"))
    with applied(text, "dns") as made:
        for server in SERVERS:
            for node in ("lan", "wan"):
                for _ in range(3):  # by the service, and on the fast path
                    assert dig(made, node, f"@{server} mail.example.org") == ["192.0.2.25"]
                assert dig(made, node, f"+tcp @{server} mail.example.org") == ["192.0.2.25"]
                assert traffic.checksum_errors(made.netns(node)) == 0


def test_zones_change_while_clients_ask() -> None:
    """No query is lost, and what is answered is the zone as it was before or as it is, in order."""
    with applied(example("dns"), "dns") as made:
        query = dns.message.make_query("mail.example.org", RdataType.A).to_wire()
        done = threading.Event()
        with ThreadPoolExecutor() as pool:
            asking = pool.submit(_ask_until, done, made.netns("lan"), query)
            try:
                for number in range(26, 29):
                    made.edit(f"data: 192.0.2.{number - 1}}}", f"data: 192.0.2.{number}}}")
                    made.apply()
            finally:
                done.set()
            answers = asking.result()
        assert list(dict.fromkeys(answers)) == [f"192.0.2.{number}" for number in range(25, 29)]
        assert answers == sorted(answers)
        assert made.lines() == []


def _ask_until(done: threading.Event, place: str, query: bytes) -> list[str]:
    """Ask one query after the other, none of them twice; what the answers said."""
    answers = []
    while True:
        is_last = done.is_set()
        answer = dns.message.from_wire(_ask(place, "10.0.1.53", query))
        answers.append(answer.answer[0][0].to_text())
        if is_last:
            return answers


def test_a_zone_file_that_changes_is_read_again(tmp_path: Path) -> None:
    text = example("dns").replace("zones:\n", "zones:" + FILE_ZONE, 1)
    with lab(text, "dns") as made:
        file, zone = tmp_path / "lab.yaml", tmp_path / "file.zone"
        file.write_text(made.text)
        zone.write_text("@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n$INCLUDE hosts\n")
        (tmp_path / "hosts").write_text("www A 192.0.2.7\n")
        assert nfvctl("apply", str(file)).returncode == 0
        assert dig(made, "lan", "@10.0.1.53 www.file.example") == ["192.0.2.7"]
        assert "No changes" in nfvctl("apply", str(file)).stdout
        (tmp_path / "hosts").write_text("www A 192.0.2.8\n")
        assert nfvctl("apply", str(file)).returncode == 0
        assert dig(made, "lan", "@10.0.1.53 www.file.example") == ["192.0.2.8"]
        (tmp_path / "hosts").unlink()  # what was applied is what counts
        restart(made)
        assert dig(made, "lan", "@10.0.1.53 www.file.example") == ["192.0.2.8"]
