"""Queries a second that name servers answer, by kxdpgun: `benchmarks/run names`.

The same zone and the same names for each server, one after the other: the function `dns` in a chain
between two hosts; Knot DNS by XDP and by sockets, NSD and Unbound at the other end of a veth pair.
The generator has one CPU, each server another, with one thread. What XDP does for the function is
done on the generator's CPU, as a veth pair has it. kxdpgun takes in what arrives at the first queue
of its device, which is what was sent by the first CPU: so that one is the generator's where XDP
answers, and the service's where that does.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import dns.message

from nfv.chain.names import node_netns
from nfv.chain.topology import load
from nfv.dataplane.change import engine
from nfv.dataplane.kernel import netns
from nfv.dataplane.resident import servicectl

ZONE = "bench.test"
RATES = (50_000, 100_000, 150_000, 200_000, 250_000, 300_000, 400_000, 500_000, 600_000, 700_000)
MISSES = (2_000, 4_000, 6_000, 8_000, 10_000, 12_000, 14_000, 16_000)
ANSWERED = 0.999  # of the queries, for a rate to count
ADDRESS = "10.0.0.53"

_FIRST, _OTHER = 0, 1  # CPUs
_NAME = "bench-names"
_TRIES = 5
_PATIENCE = 20.0  # seconds until a server has read its zone
_TOTAL = re.compile(r"total (queries|replies): +\d+ \((\d+) pps\)")

_TOPOLOGY = f"""
name: {_NAME}
saps:
  near: {{kind: host, hook: xdp, ip: 10.0.0.10/24}}
  far: {{kind: host, hook: xdp, ip: 10.0.0.11/24}}
vnfs:
  dns: {{type: dns, ip: {ADDRESS}/24, rate: 1000000, zones: {{{ZONE}: {{file: zone}}}}}}
chains:
  only: {{path: [near, dns, far]}}
"""

_HEAD = """$TTL 300
@ SOA ns hostmaster 1 7200 3600 1209600 60
@ NS ns
ns A 10.0.0.53"""

_KNOT = """
server:
    rundir: {at}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
{listen}
database:
    storage: {at}
log:
  - target: stdout
    any: info
zone:
  - domain: {zone}
    file: {at}/zone
    zonefile-load: whole
    journal-content: none
"""

_NSD = """
server:
    ip-address: {address}
    server-count: 1
    zonesdir: {at}
    username: ""
    database: ""
    pidfile: {at}/nsd.pid
    xfrdfile: {at}/xfrd.state
    zonelistfile: {at}/zone.list
    xfrdir: {at}
    minimal-responses: yes
    verbosity: 1
remote-control:
    control-enable: no
zone:
    name: {zone}
    zonefile: {at}/zone
"""

_UNBOUND = """
server:
    interface: {address}
    access-control: 0.0.0.0/0 allow
    num-threads: 1
    chroot: ""
    username: ""
    directory: {at}
    pidfile: {at}/unbound.pid
    logfile: ""
    use-syslog: no
    verbosity: 1
    minimal-responses: yes
    so-rcvbuf: 4m
    local-zone: "test." nodefault
auth-zone:
    name: {zone}
    zonefile: {at}/zone
    for-upstream: no
    for-downstream: yes
"""


@dataclass(frozen=True)
class Rate:
    """Queries a second that were sent, and answers a second that came back."""

    sent: int
    answered: int


@dataclass(frozen=True)
class Client:
    """The generator in its namespace."""

    place: str
    directory: Path
    seconds: int
    cpu: int = _FIRST

    def ask(self, names: Iterable[str], rate: int) -> Rate:
        """Ask for the addresses of names of the zone, over and over, so many a second."""
        queries = self.directory / "queries"
        queries.write_text("".join(f"{name}.{ZONE} A\n" for name in names))
        command = ["kxdpgun", "-t", str(self.seconds), "-Q", str(rate), "-F", str(self.cpu)]
        for _ in range(_TRIES):  # the kernel frees the queue some time after the last run
            with netns.entered(self.place):
                done = subprocess.run(
                    [*command, "-i", str(queries), ADDRESS], capture_output=True, text=True
                )
            if "busy" not in done.stderr:
                break
            time.sleep(1)
        found = dict(_TOTAL.findall(done.stdout))
        if set(found) != {"queries", "replies"}:
            raise click.ClickException(f"kxdpgun failed:\n{done.stdout}{done.stderr}")
        return Rate(int(found["queries"]), int(found["replies"]))


Names = Callable[[int], Iterable[str]]
"""What is asked for at a rate."""


@click.command()
@click.option("--names", default=10_000, show_default=True, help="names in the zone")
@click.option("--seconds", default=4, show_default=True, help="for each rate")
def command(names: int, seconds: int) -> None:
    """Queries a second that name servers answer, one core each side."""
    hosts = [f"host{number}" for number in range(names)]
    random.Random(1).shuffle(hosts)
    with tempfile.TemporaryDirectory() as directory:
        at = Path(directory)
        (at / "zone").write_text("\n".join([_HEAD, *(f"{host} A 192.0.2.1" for host in hosts), ""]))
        click.echo("| Server | queries/s, 99.9 % answered | answers/s at most |")
        click.echo("| --- | ---: | ---: |")
        with _function(at) as place:
            client = Client(place, at, seconds)
            _report("function `dns`", client, lambda _: hosts, RATES)
            client = Client(place, at, seconds, _OTHER)
            _report("the same, names that nobody asked for", client, partial(_new, seconds), MISSES)
        for title, words in _others(at):
            if shutil.which(words[0]) is None:
                click.echo(f"| {title} | not installed | |")
                continue
            try:
                with _server(words) as place:
                    _report(title, Client(place, at, seconds), lambda _: hosts, RATES)
            except click.ClickException as failure:
                click.echo(f"| {title} | {failure.message} | |")


def _new(seconds: int, rate: int) -> Iterator[str]:
    """Names that are not in the zone, and were in no other run."""
    return (f"nobody{rate}-{number}" for number in range(rate * seconds * 2))


def _report(title: str, client: Client, names: Names, rates: Sequence[int]) -> None:
    """A row for one server: rate after rate, until it has twice answered less than before."""
    client.ask(["ns"], 1000)  # neighbours get to know each other
    found: list[Rate] = []
    for rate in rates:
        found.append(client.ask(names(rate), rate))
        print(f"{title}: {found[-1]}", file=sys.stderr)
        best = max(one.answered for one in found)
        if len(found) > 2 and all(one.answered < best for one in found[-2:]):
            break
    whole = [one.answered for one in found if one.answered >= ANSWERED * one.sent]
    click.echo(f"| {title} | {max(whole, default=0):,} | {max(one.answered for one in found):,} |")


@contextmanager
def _function(at: Path) -> Iterator[str]:
    """The function in a chain; the namespace of a client."""
    file = at / "lab.yaml"
    file.write_text(_TOPOLOGY)
    begun = time.monotonic()
    engine.apply(load(file), None, _fail)
    try:
        while _status()["prepared"] is None:
            time.sleep(0.1)
        print(f"answers ready after {time.monotonic() - begun:.1f} s", file=sys.stderr)
        os.sched_setaffinity(int(str(servicectl.ask(_NAME, "dns", "status")["pid"])), {_FIRST})
        yield node_netns(_NAME, "near")
    finally:
        engine.destroy(_NAME, None, _fail)


def _status() -> Mapping[str, object]:
    found = servicectl.ask(_NAME, "dns", "status")["service"]
    assert isinstance(found, dict)
    return found


def _fail(message: str) -> None:
    raise click.ClickException(message)


def _others(at: Path) -> Iterator[tuple[str, list[str]]]:
    """Each other server with the command that runs it."""
    values = {"at": at, "zone": ZONE, "address": ADDRESS}
    by_xdp, by_socket = "xdp:\n    listen: eth0@53", f"    listen: {ADDRESS}@53"
    for title, text, words in [
        ("Knot DNS, XDP", _KNOT.format(**values, listen=by_xdp), ["knotd", "-c"]),
        ("Knot DNS, sockets", _KNOT.format(**values, listen=by_socket), ["knotd", "-c"]),
        ("NSD", _NSD.format(**values), ["nsd", "-d", "-c"]),
        ("Unbound, as a zone of its own", _UNBOUND.format(**values), ["unbound", "-d", "-c"]),
    ]:
        config = at / "server.conf"
        config.write_text(text)
        yield title, [*words, str(config)]


@contextmanager
def _server(words: Sequence[str]) -> Iterator[str]:
    """A server at one end of a veth pair; the namespace at the other end."""
    near, far = f"{_NAME}-near", f"{_NAME}-far"
    for place in (near, far):
        _ip("netns", "add", place)
    try:
        _ip("-n", near, "link", "add", "eth0", "type", "veth", "peer", "eth0", "netns", far)
        for place, address in ((near, "10.0.0.10"), (far, ADDRESS)):
            _ip("-n", place, "address", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", place, "link", "set", "eth0", "up")
            _ip("-n", place, "link", "set", "lo", "up")
        with netns.entered(far):
            server = subprocess.Popen(
                ["taskset", "-c", str(_OTHER), *words],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        try:
            _wait_for(near)
            yield near
        finally:
            server.terminate()
            server.wait(_PATIENCE)
    finally:
        for place in (near, far):
            _ip("netns", "del", place)


def _wait_for(place: str) -> None:
    """Return when the server at the other end answers for the zone."""
    deadline = time.monotonic() + _PATIENCE
    query = dns.message.make_query(ZONE, "SOA").to_wire()
    with netns.entered(place):
        asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with asked:
        asked.settimeout(0.2)
        asked.connect((ADDRESS, 53))
        while time.monotonic() < deadline:
            try:
                asked.send(query)
                if dns.message.from_wire(asked.recv(4096)).answer:
                    return
            except OSError:
                time.sleep(0.1)
    raise click.ClickException("a server does not answer")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


if __name__ == "__main__":
    command()
