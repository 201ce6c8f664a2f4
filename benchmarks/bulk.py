"""TCP bulk throughput between the hosts of a path, by iperf3."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.frames import PORT
from benchmarks.paths import Path
from nfv.chain.sap import Hook
from nfv.dataplane import ethtool, netns
from nfv.dataplane.devices import FAR_FEATURES
from nfv.errors import KernelError

_IPV4 = 4
_ROUNDS = 3
_SECONDS = 2


def measure(chain: Path, linux: Path, progress: Callable[[str], None]) -> dict[str, list[float]]:
    """Throughputs by way in bits per second, one a round."""
    found: dict[str, list[float]] = {
        (plain := "Linux forwarding"): [],
        (bare := "Linux forwarding, offloads off as beside a chain"): [],
        (ours := "quickstart chain"): [],
    }
    for number in range(1, _ROUNDS + 1):
        progress(f"TCP bulk, round {number} of {_ROUNDS}")
        found[plain].append(throughput(linux, _SECONDS))
        with without_offloads(linux):
            found[bare].append(throughput(linux, _SECONDS))
        found[ours].append(throughput(chain, _SECONDS))
    return found


def throughput(path: Path, seconds: int) -> float:
    """Payload received over one connection, in bits per second."""
    with _server(path):
        command = ["iperf3", "--json", "--time", str(seconds), "--port", str(PORT)]
        with netns.entered(path.near.netns):
            done = subprocess.run(
                [*command, "--client", path.far_end.addresses[_IPV4]],
                capture_output=True,
                text=True,
                check=False,
            )
    report = json.loads(done.stdout or "{}")
    if done.returncode:
        raise KernelError(f"iperf3 failed: {report.get('error') or done.stderr.strip()}")
    return float(report["end"]["sum_received"]["bits_per_second"])


@contextmanager
def without_offloads(path: Path) -> Iterator[None]:
    """Give the hosts' devices the features that they have beside a chain."""
    hosts = (path.near, path.far)
    before = []
    for host in hosts:
        with netns.entered(host.netns):
            before.append(ethtool.set_features(host.name, FAR_FEATURES[Hook.XDP]))
    try:
        yield
    finally:
        for host, features in zip(hosts, before, strict=True):
            with netns.entered(host.netns):
                ethtool.restore_features(host.name, features)


@contextmanager
def _server(path: Path) -> Iterator[None]:
    """A server in the far host that takes one client, from when it listens."""
    command = ["iperf3", "--server", "--one-off", "--forceflush", "--port", str(PORT)]
    with netns.entered(path.far.netns):
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        if not any("listening" in line for line in server.stdout):
            raise KernelError("iperf3 does not listen")
        yield
    finally:
        server.kill()
        server.communicate()
