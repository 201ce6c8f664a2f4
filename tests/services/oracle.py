"""Name servers that others have written, to compare answers with."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from dns.name import Name

from nfv.dataplane import netns

HOME = "127.0.0.1"
PORT = 5300

Starter = Callable[[str, Path, Mapping[Name, str]], AbstractContextManager["Oracle"]]
"""Runs a server with zones in a namespace, its files in a directory."""

_PATIENCE = 10.0


class Oracle:
    """A server that answers on a port of the loopback device of a namespace."""

    def __init__(self, place: str, address: str = HOME, port: int = PORT) -> None:
        with netns.entered(place):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(_PATIENCE)
        self._socket.connect((address, port))

    def ask(self, wire: bytes) -> bytes:
        """The answer to a query."""
        self._socket.send(wire)
        return self._socket.recv(65535)

    def close(self) -> None:
        self._socket.close()


@contextmanager
def knot(
    place: str,
    directory: Path,
    zones: Mapping[Name, str],
    address: str = HOME,
    port: int = PORT,
) -> Iterator[Oracle]:
    """Knot DNS with zones given as texts."""
    lines = [
        "server:",
        f"    rundir: {directory}",
        f"    listen: {address}@{port}",
        "database:",
        f"    storage: {directory}",
        "log:",
        "  - target: stdout",
        "    any: info",
        "zone:",
    ]
    for number, (origin, text) in enumerate(zones.items()):
        (directory / f"{number}.zone").write_text(text)
        lines += [f"  - domain: {origin}", f"    file: {directory}/{number}.zone"]
    config = directory / "knot.conf"
    config.write_text("\n".join(lines) + "\n")
    command = ["knotd", "-c", str(config)]
    with _running(place, command, "server started", Oracle(place, address, port)) as oracle:
        yield oracle


_SECONDARY = """
key:
  - id: {key}
    algorithm: hmac-sha256
    secret: {secret}
remote:
  - id: primary
    address: {primary}@53
    key: {key}
acl:
  - id: told
    address: {primary}
    action: notify
    key: {key}
"""


@contextmanager
def knot_secondary(
    place: str,
    directory: Path,
    zones: Sequence[str],
    primary: str,
    key: tuple[str, str],
    address: str,
) -> Iterator[Oracle]:
    """Knot DNS at an address, which gets zones from a primary server, signed with a key."""
    lines = [
        "server:",
        f"    rundir: {directory}",
        f"    listen: {address}@53",
        "database:",
        f"    storage: {directory}",
        "log:",
        "  - target: stdout",
        "    any: info",
        _SECONDARY.format(key=key[0], secret=key[1], primary=primary),
        "zone:",
    ]
    for zone in zones:
        lines += [f"  - domain: {zone}", f"    storage: {directory}"]
        lines += ["    master: primary", "    acl: told"]
    config = directory / "secondary.conf"
    config.write_text("\n".join(lines) + "\n")
    command = ["knotd", "-c", str(config)]
    with _running(place, command, "server started", Oracle(place, address, 53)) as oracle:
        yield oracle


@contextmanager
def nsd(place: str, directory: Path, zones: Mapping[Name, str]) -> Iterator[Oracle]:
    """NSD with zones given as texts."""
    lines = [
        "server:",
        f"    ip-address: 127.0.0.1@{PORT}",
        "    server-count: 1",
        f"    zonesdir: {directory}",
        '    username: ""',
        '    database: ""',
        f"    pidfile: {directory}/nsd.pid",
        f"    xfrdfile: {directory}/xfrd.state",
        f"    zonelistfile: {directory}/zone.list",
        f"    xfrdir: {directory}",
        "    minimal-responses: no",
        "    verbosity: 1",
        "remote-control:",
        "    control-enable: no",
    ]
    for number, (origin, text) in enumerate(zones.items()):
        (directory / f"{number}.zone").write_text(text)
        lines += ["zone:", f"    name: {origin}", f"    zonefile: {directory}/{number}.zone"]
    config = directory / "nsd.conf"
    config.write_text("\n".join(lines) + "\n")
    command = ["nsd", "-d", "-c", str(config)]
    with _running(place, command, "nsd started", Oracle(place)) as oracle:
        yield oracle


@contextmanager
def _running(place: str, command: list[str], ready: str, oracle: Oracle) -> Iterator[Oracle]:
    """Run a server until the block ends; it is asked once it has said that it is ready."""
    with netns.entered(place):
        server = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    assert server.stdout is not None
    said = []
    try:
        for line in server.stdout:
            said.append(line)
            if ready in line:
                break
        else:
            raise AssertionError(f"{command[0]} does not start:\n{''.join(said)}")
        yield oracle
    finally:
        oracle.close()
        server.terminate()
        server.wait(_PATIENCE)
        server.stdout.close()
