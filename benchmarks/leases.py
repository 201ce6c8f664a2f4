"""Leases a second by perfdhcp: the function dhcp, and Kea with its leases in memory and a file.

    .venv/bin/python -m benchmarks.leases

Each server has one core to itself, perfdhcp the other. A rate counts if at least 99 of 100 clients
have got their lease. Renewals are sent by `nfvctl replay`: perfdhcp says that it is a relay agent,
which is not answered on the fast path.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.renewals import Renewing
from nfv.chain import names
from nfv.chain.topology import loads
from nfv.dataplane.change import engine
from nfv.dataplane.kernel import netns
from nfv.dataplane.resident import servicectl
from tests.integration.helpers.dhcpload import exchanges
from tests.integration.helpers.lab import Lab

_NAME = "leases"
_SERVER_CPU, _CLIENT_CPU = 0, 1
_SECONDS = 3
_FIRST = 1000  # clients a second
_STEPS = 4  # of halving what is between a rate that is kept and one that is not
_ENOUGH = 0.99

_TOPOLOGY = f"""
name: {_NAME}
saps:
  one: {{kind: host, ip: [10.0.0.1/8, "2001:db8::1/64"]}}
  end: {{kind: host, ip: [10.0.0.3/8, "2001:db8::3/64"]}}
  two: {{kind: host, ip: [10.0.0.1/8, "2001:db8::1/64"]}}
  kea: {{kind: host, ip: [10.0.0.2/8, "2001:db8::2/64"]}}
vnfs:
  dhcp:
    type: dhcp
    ip: [10.0.0.2/8, "2001:db8::2/64"]
    limit: 1048576
    rate: 1000000
    subnets: [{{network: 10.0.0.0/8, pools: [{{range: 10.1.0.0-10.200.0.0}}]}}]
    ipv6:
      subnets: [{{network: "2001:db8::/64", pools: [{{range: "2001:db8::1:0-2001:db8::ffff:0"}}]}}]
chains:
  ours: {{path: [one, dhcp, end]}}
  theirs: {{path: [two, kea]}}
"""
_POOLS = {
    4: {"id": 1, "subnet": "10.0.0.0/8", "pools": [{"pool": "10.1.0.0 - 10.200.0.0"}]},
    6: {
        "id": 1,
        "subnet": "2001:db8::/64",
        "interface": "eth0",
        "pools": [{"pool": "2001:db8::1:0 - 2001:db8::ffff:0"}],
    },
}


def _keeps(host: str, version: int, rate: int) -> bool:
    """Whether clients that come at a rate, a second, get their leases."""
    command = f"taskset -c {_CLIENT_CPU} perfdhcp -{version} -l eth0 -r {rate} -R 4000000"
    with netns.entered(names.node_netns(_NAME, host)):
        done = subprocess.run(
            [*command.split(), "-p", str(_SECONDS), "-W", "500000"],
            capture_output=True,
            text=True,
            check=False,
        )
    (sent, _), (_, got) = exchanges(done.stdout).values()
    return got >= _ENOUGH * max(sent, rate * (_SECONDS - 1))


def _best(host: str, version: int) -> int:
    """The highest rate that is kept."""
    good, bad = 0, _FIRST
    while _keeps(host, version, bad):
        good, bad = bad, bad * 2
    for _ in range(_STEPS):
        middle = (good + bad) // 2
        if _keeps(host, version, middle):
            good = middle
        else:
            bad = middle
    return good


@contextmanager
def _kea(directory: Path, version: int) -> Iterator[None]:
    """Kea in the namespace of its host, until the block ends."""
    name = f"Dhcp{version}"
    config = {
        "interfaces-config": {"interfaces": ["eth0"]},
        "lease-database": {"type": "memfile", "name": str(directory / f"{version}.csv")},
        "valid-lifetime": 3600,
        f"subnet{version}": [_POOLS[version]],
        "loggers": [
            {
                "name": f"kea-dhcp{version}.dhcp{version}",
                "severity": "INFO",
                "output_options": [{"output": "stdout"}],
            },
            {"name": f"kea-dhcp{version}", "severity": "ERROR"},
        ],
    }
    if version == 6:
        config["server-id"] = {"type": "EN", "enterprise-id": 32473, "persist": False}
    path = directory / f"{version}.json"
    path.write_text(json.dumps({name: config}))
    places = {"KEA_PIDFILE_DIR": str(directory), "KEA_LOCKFILE_DIR": str(directory)}
    with netns.entered(names.node_netns(_NAME, "kea")):
        server = subprocess.Popen(
            ["taskset", "-c", str(_SERVER_CPU), f"kea-dhcp{version}", "-c", str(path)],
            env={**os.environ, **places},
            stdout=subprocess.PIPE,
            text=True,
        )
    assert server.stdout is not None
    try:
        if not any("STARTED" in line for line in server.stdout):
            raise RuntimeError(f"kea-dhcp{version} does not start")
        yield
    finally:
        server.kill()
        server.wait()


def _answered(lab: Lab) -> int:
    """Messages that were answered on the fast path."""
    found = lab.statistics().vnfs["dhcp"].ended.get("answered")
    return found.packets if found else 0


def _sent_by_kea(lab: Lab) -> int:
    (device,) = json.loads(lab.run("kea", "ip -s -j link show dev eth0").stdout)
    return int(device["stats64"]["tx"]["packets"])


def _print(what: str, ours: int, theirs: int) -> None:
    print(f"| {what} | {ours:,} | {theirs:,} |", flush=True)


def main() -> None:
    """Measure, and print a table."""
    engine.apply(loads(_TOPOLOGY, "leases"), None, print)
    try:
        worker = servicectl.ask(_NAME, "dhcp", "status")["pid"]
        assert isinstance(worker, int)
        os.sched_setaffinity(worker, {_SERVER_CPU})
        print("| leases a second | nfv | Kea |\n| --- | ---: | ---: |", flush=True)
        with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
            directory = Path(name)
            for version, what in ((4, "DHCPv4"), (6, "DHCPv6")):
                ours = _best("one", version)
                with _kea(directory, version):
                    _print(f"{what}, four messages", ours, _best("two", version))
            lab = Lab(_TOPOLOGY, _NAME)
            ours = Renewing(lab, "one", directory).best(_answered)
            with _kea(directory, 4):
                theirs = Renewing(lab, "two", directory).best(_sent_by_kea)
            _print("DHCPv4, renewals", ours, theirs)
    finally:
        engine.destroy(_NAME, None, print)


if __name__ == "__main__":
    main()
