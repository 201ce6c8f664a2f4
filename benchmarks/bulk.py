"""TCP bulk throughput between the hosts of a way, by iperf3."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from benchmarks.figures import Figure
from benchmarks.frames import PORT
from benchmarks.live import Loader
from benchmarks.runs import Progress
from benchmarks.ways import Builder
from benchmarks.wired import Path
from nfv.chain.sap import Hook
from nfv.dataplane.change.devices import FAR_FEATURES
from nfv.dataplane.kernel import ethtool, netns
from nfv.errors import KernelError, NfvError

TABLE = "tcp"
COLUMN = "one connection"
NO_OFFLOADS = "Linux, offloads off"
AT_XDP = "ours, hosts at XDP"

_IPV4 = 4


def measure(
    ways: Mapping[str, Builder], rounds: int, seconds: int, progress: Progress
) -> Iterator[Figure]:
    """Throughputs of the ways, which take turns, in Gbit/s."""
    with ExitStack() as stack:
        loader = stack.enter_context(Loader())
        paths = {}
        for number, (way, builder) in enumerate(ways.items()):
            progress(f"TCP: setting up {way}")
            try:
                paths[way] = stack.enter_context(builder(loader, f"bench-{number}"))
            except NfvError as error:
                progress(f"TCP: not run: {way}: {error.message}")
        found: dict[str, list[float]] = {way: [] for way in paths}
        for number in range(rounds):
            progress(f"TCP: round {number + 1} of {rounds}")
            for way, path in paths.items():
                found[way].append(throughput(path, seconds) / 1e9)
    for way, values in found.items():
        yield Figure(TABLE, way, COLUMN, "Gbit/s", tuple(values))


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


def without_offloads(builder: Builder) -> Builder:
    """The way, its hosts' devices with the features that they have where XDP reads their frames."""

    @contextmanager
    def build(loader: Loader, name: str) -> Iterator[Path]:
        with builder(loader, name) as path:
            for host in (path.near, path.far):
                with netns.entered(host.netns):
                    ethtool.set_features(host.name, FAR_FEATURES[Hook.XDP])
            yield path

    return build


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
