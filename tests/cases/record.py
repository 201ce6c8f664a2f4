"""Records what real programs send, for the cases to replay: python -m tests.cases.record [NAME...]

A topology is applied in namespaces of its own, programs run on its hosts, and what each host sends
is written to `captures/NAME/HOST.pcap`, on one clock. Needs root, and the programs. What hosts send
by themselves (ARP, neighbour discovery) is left out: the bench does that for silent hosts. Gaps are
made 3 to 200 ms long, so that an answer follows its question on a busy machine, too.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from nfv.chain import names, topology
from nfv.dataplane.isolation import Place
from nfv.dataplane.kernel import ethtool, netns
from nfv.testing.neighbours import is_background
from nfv.testing.stage import Stage
from nfv.traffic import capture, pcap
from tests.integration.helpers.lab import run_in, server_in

HERE = Path(__file__).parent
EXAMPLES = HERE.parent.parent / "topologies"
OWN = HERE / "topologies"

_LEAST_GAP, _LONGEST_GAP = 3_000_000, 200_000_000  # nanoseconds
_WEB = ("python3 -u -m http.server --bind :: --directory /usr/share/doc/iproute2 8080", "Serving")
_IPERF = ("iperf3 -s -1 --forceflush", "Server listening")


@dataclass(frozen=True)
class Recording:
    """Programs on hosts: servers with the words that say they are ready, then clients in turn."""

    topology: Path
    clients: Sequence[tuple[str, str]]
    servers: Sequence[tuple[str, tuple[str, str]]] = ()
    status: int | None = 0  # with which clients end; None: any


_QUICKSTART = EXAMPLES / "quickstart.yaml"
_ROUTER = EXAMPLES / "router.yaml"
_DNS = EXAMPLES / "dns.yaml"
_FIREWALL = EXAMPLES / "firewall.yaml"
_DUAL = EXAMPLES / "dual.yaml"
_TRANSPARENT = EXAMPLES / "transparent.yaml"
_DIG = "dig +nocookie +tries=1 +timeout=2 @10.0.1.53"

RECORDINGS = {
    "ping": Recording(_QUICKSTART, [("lan", "ping -c 3 -i 0.05 192.0.2.254")]),
    "ping6": Recording(_QUICKSTART, [("lan", "ping -c 3 -i 0.05 2001:db8:2::254")]),
    "ping-fragments": Recording(_QUICKSTART, [("lan", "ping -c 2 -i 0.05 -s 4000 192.0.2.254")]),
    "ping6-fragments": Recording(
        _QUICKSTART, [("lan", "ping -c 2 -i 0.05 -s 4000 2001:db8:2::254")]
    ),
    "web": Recording(
        _QUICKSTART, [("lan", "curl -s -o /dev/null http://192.0.2.254:8080/")], [("wan", _WEB)]
    ),
    "web6": Recording(
        _QUICKSTART,
        [("lan", "curl -s -o /dev/null http://[2001:db8:2::254]:8080/")],
        [("wan", _WEB)],
    ),
    "iperf-tcp": Recording(
        _QUICKSTART, [("lan", "iperf3 -c 192.0.2.254 -l 1K -n 20K")], [("wan", _IPERF)]
    ),
    "iperf-udp": Recording(
        _QUICKSTART, [("lan", "iperf3 -u -l 1000 -b 2M -n 8K -c 192.0.2.254")], [("wan", _IPERF)]
    ),
    "telnet": Recording(_QUICKSTART, [("lan", "curl -m 2 telnet://192.0.2.254:23")], status=None),
    "telnet6": Recording(
        _QUICKSTART, [("lan", "curl -m 2 telnet://[2001:db8:2::254]:23")], status=None
    ),
    "smtp": Recording(_QUICKSTART, [("lan", "curl -m 0.3 smtp://192.0.2.254")], status=None),
    "closed-port": Recording(
        _QUICKSTART, [("lan", "curl -m 2 http://192.0.2.254:8080/")], status=None
    ),
    "udp-unreachable": Recording(
        _QUICKSTART,
        [("lan", "dig +tries=1 +timeout=1 -p 5201 @192.0.2.254 a.example")],
        status=None,
    ),
    "routed-ping": Recording(_ROUTER, [("h1", "ping -c 2 -i 0.05 10.4.0.10")]),
    "routed-ping6": Recording(_ROUTER, [("h1", "ping -c 2 -i 0.05 2001:db8:4::10")]),
    "traceroute": Recording(_ROUTER, [("h1", "traceroute -n -q 1 -N 1 -w 1 10.3.0.10")]),
    "traceroute6": Recording(_ROUTER, [("h1", "traceroute -6 -n -q 1 -N 1 -w 1 2001:db8:3::10")]),
    "no-route": Recording(_ROUTER, [("h1", "ping -c 2 -i 0.05 -W 0.5 10.99.0.1")], status=None),
    "no-route6": Recording(_ROUTER, [("h1", "ping -c 1 -W 0.5 2001:db8:99::1")], status=None),
    "big": Recording(
        OWN / "narrow.yaml", [("lan", "ping -c 1 -M do -s 1472 -W 0.5 192.0.2.254")], status=None
    ),
    "big6": Recording(
        OWN / "narrow.yaml",
        [("lan", "ping -c 1 -M do -s 1452 -W 0.5 2001:db8:2::254")],
        status=None,
    ),
    "big-fragmented": Recording(
        OWN / "narrow.yaml", [("lan", "ping -c 1 -M dont -s 1472 192.0.2.254")]
    ),
    "blackhole": Recording(
        OWN / "narrow.yaml", [("lan", "ping -c 2 -i 0.05 -W 0.2 203.0.113.9")], status=None
    ),
    "dns": Recording(
        _DNS,
        [
            ("lan", f"{_DIG} wan.lab.example A"),
            ("lan", f"{_DIG} lan.lab.example AAAA"),
            ("lan", f"{_DIG} example.org MX"),
            ("lan", f"{_DIG} www.example.org A"),
            ("lan", f"{_DIG} any.users.example.org A"),
            ("lan", f"{_DIG} -x 10.0.1.10"),
        ],
    ),
    "dns-none": Recording(_DNS, [("lan", f"{_DIG} none.example.org A")]),
    "dns6": Recording(
        _DNS, [("lan", "dig +nocookie +tries=1 @2001:db8:1::53 wan.lab.example AAAA")]
    ),
    "dns-tcp": Recording(_DNS, [("lan", f"{_DIG} +tcp example.org MX")]),
    "dns-ping": Recording(_DNS, [("lan", "ping -c 2 -i 0.05 10.0.1.53")]),
    "dhclient": Recording(
        OWN / "leases.yaml",
        [
            (
                "guest",
                "timeout 4 dhclient -4 -1 -v -sf /bin/true -lf /dev/null -pf /dev/null -d eth0",
            )
        ],
        status=None,
    ),
    "ssh": Recording(
        _FIREWALL,
        [("internet", "iperf3 -c 10.0.1.10 -p 22 -l 1K -n 5K")],
        [("office", ("iperf3 -s -1 -p 22 --forceflush", "Server listening"))],
    ),
    "rejected": Recording(
        _FIREWALL, [("internet", "dig +tries=1 +timeout=1 @10.0.1.10 a.example")], status=None
    ),
    "rejected6": Recording(
        _FIREWALL, [("internet", "curl -m 1 http://[2001:db8:1::10]/")], status=None
    ),
    "outgoing": Recording(
        _FIREWALL,
        [("office", "curl -s -o /dev/null http://198.51.100.1:8080/")],
        [("internet", _WEB)],
    ),
    "classified": Recording(
        _DUAL,
        [
            ("lan", "curl -s -o /dev/null http://10.0.2.10/"),
            ("lan", "curl -s -m 0.3 -o /dev/null http://10.0.2.10:8080/"),
            ("lan", "ping -c 1 10.0.2.10"),
        ],
        [("wan", (_WEB[0].replace("8080", "80"), "Serving"))],
        status=None,
    ),
    "wire": Recording(
        _TRANSPARENT,
        [
            ("left", "ping -c 2 -i 0.05 10.0.0.2"),
            ("left", "curl -s -m 0.3 telnet://10.0.0.2:23"),
            ("left", "curl -s -o /dev/null http://10.0.0.2:8080/"),
            ("right", "dig +tries=1 +timeout=1 -p 69 @10.0.0.1 a.example"),
            ("left", "dig +tries=1 +timeout=1 -p 69 @10.0.0.2 a.example"),
        ],
        [("right", _WEB)],
        status=None,
    ),
}


def record(name: str) -> None:
    """Record one of them anew."""
    wanted = RECORDINGS[name]
    declared = topology.load(wanted.topology)
    with TemporaryDirectory() as directory:
        with Place(lambda: Stage(declared, silent=False)) as place:
            place.call(_run, wanted, Path(directory))
        _write(HERE / "captures" / name, Path(directory))


def _run(stage: Stage, wanted: Recording, directory: Path) -> None:
    with ExitStack() as stack:
        for host in stage.hosts:
            where = names.node_netns(stage.name, host)
            with netns.entered(where):
                ethtool.set_features("eth0", {"tx-checksum": False, "tso": False, "gso": False})
            command = f"tcpdump --immediate-mode -U -Q out -i eth0 -w {directory / host}.pcap"
            stack.enter_context(server_in(where, command, "listening on"))
        for host, (command, ready) in wanted.servers:
            stack.enter_context(server_in(names.node_netns(stage.name, host), command, ready))
        for host, command in wanted.clients:
            done = run_in(names.node_netns(stage.name, host), command, check=False)
            if wanted.status not in (None, done.returncode):
                raise RuntimeError(f"{command}: {done.returncode}: {done.stdout}{done.stderr}")


def _write(target: Path, found: Path) -> None:
    """Keep what hosts sent, with times from the first packet of all."""
    packets = sorted(
        (packet.moment or 0, path.stem, packet.data)
        for path in found.glob("*.pcap")
        for packet in capture.read(path)
        if not is_background(packet.data)
    )
    sent: dict[str, list[tuple[int, bytes]]] = {}
    before, due = packets[0][0], 0
    for moment, host, data in packets:
        due += min(max(moment - before, _LEAST_GAP), _LONGEST_GAP)
        before = moment
        sent.setdefault(host, []).append((due - _LEAST_GAP, data))
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for host, frames in sent.items():
        pcap.write(target / f"{host}.pcap", frames)


if __name__ == "__main__":
    for name in sys.argv[1:] or RECORDINGS:
        print(name, file=sys.stderr)
        record(name)
