"""Name servers that others have written, to compare answers with."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from dns.name import Name

from nfv.dataplane.kernel import netns

HOME = "127.0.0.1"
PORT = 5300

Starter = Callable[[str, Path, Mapping[Name, str]], AbstractContextManager["Oracle"]]
"""Runs a server with zones in a namespace, its files in a directory."""

_PATIENCE = 10.0


class Oracle:
    """A server that answers at an address of a namespace."""

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
    lines = [*_nsd_head(directory, HOME, PORT), "remote-control:", "    control-enable: no"]
    for number, (origin, text) in enumerate(zones.items()):
        (directory / f"{number}.zone").write_text(text)
        lines += ["zone:", f"    name: {origin}", f"    zonefile: {directory}/{number}.zone"]
    config = directory / "nsd.conf"
    config.write_text("\n".join(lines) + "\n")
    command = ["nsd", "-d", "-c", str(config)]
    with _running(place, command, "nsd started", Oracle(place)) as oracle:
        yield oracle


def _nsd_head(directory: Path, address: str, port: int) -> list[str]:
    return [
        "server:",
        f"    ip-address: {address}@{port}",
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
    ]


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


def certificate(directory: Path, name: str) -> None:
    """Make tls.key, and tls.pem, which certifies that it is the key of a name."""
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    command += f" -keyout tls.key -out tls.pem -subj /CN={name} -addext subjectAltName=DNS:{name}"
    subprocess.run(command.split(), cwd=directory, check=True, capture_output=True)


@contextmanager
def nsd_tls(
    place: str, directory: Path, zones: Mapping[Name, str], address: str
) -> Iterator[Oracle]:
    """NSD that is asked by TLS (RFC 7858), with the certificate in its directory."""
    lines = [
        *_nsd_head(directory, address, 853),
        "    tls-port: 853",
        f"    tls-service-key: {directory}/tls.key",
        f"    tls-service-pem: {directory}/tls.pem",
        "remote-control:",
        "    control-enable: no",
    ]
    for origin, text in zones.items():
        _zone_file(directory, origin).write_text(text)
        lines.append(f"zone:\n    name: {origin}\n    zonefile: {_zone_file(directory, origin)}")
    config = directory / "nsd.conf"
    config.write_text("\n".join(lines) + "\n")
    command = ["nsd", "-d", "-c", str(config)]
    with _running(place, command, "nsd started", Oracle(place, address, 853)) as oracle:
        yield oracle


class Primary:
    """A server whose zones can be changed while it runs."""

    def __init__(self, place: str, directory: Path, reload: Sequence[str]) -> None:
        """`reload` is a command that has it read a zone again, whose name follows."""
        self._place = place
        self._directory = directory
        self._reload = reload

    def change(self, origin: Name, text: str) -> None:
        """Have another version of a zone."""
        _zone_file(self._directory, origin).write_text(text)
        with netns.entered(self._place):
            subprocess.run([*self._reload, origin.to_text()], check=True, capture_output=True)


PrimaryStarter = Callable[
    [str, Path, Mapping[Name, str], str, tuple[str, str], str], AbstractContextManager[Primary]
]
"""Runs a server in a namespace, its files in a directory, with zones at an address, which are
for who signs with a key (name and secret), and tells a secondary of changes."""

_PRIMARY = """
server:
    rundir: {directory}
    listen: {address}@53
database:
    storage: {directory}
log:
  - target: stdout
    any: info
key:
  - id: {key}
    algorithm: hmac-sha256
    secret: {secret}
remote:
  - id: secondary
    address: {secondary}@53
    key: {key}
acl:
  - id: transfer
    action: [transfer, update]
    key: {key}
template:
  - id: default
    storage: {directory}
    zonefile-load: difference
    journal-content: changes
    notify: secondary
    acl: transfer
zone:
"""


def _zone_file(directory: Path, origin: Name) -> Path:
    return directory / f"{origin.to_text(omit_final_dot=True)}.zone"


@contextmanager
def knot_primary(
    place: str,
    directory: Path,
    zones: Mapping[Name, str],
    address: str,
    key: tuple[str, str],
    secondary: str,
) -> Iterator[Primary]:
    """Knot DNS, which knows what has changed (IXFR)."""
    text = _PRIMARY.format(
        directory=directory, address=address, key=key[0], secret=key[1], secondary=secondary
    )
    for origin, records in zones.items():
        _zone_file(directory, origin).write_text(records)
        text += f"  - domain: {origin}\n    file: {_zone_file(directory, origin)}\n"
    config = directory / "primary.conf"
    config.write_text(text)
    command = ["knotd", "-c", str(config)]
    with _running(place, command, "server started", Oracle(place, address, 53)):
        yield Primary(place, directory, ["knotc", "-c", str(config), "-b", "zone-reload"])


@contextmanager
def nsd_primary(
    place: str,
    directory: Path,
    zones: Mapping[Name, str],
    address: str,
    key: tuple[str, str],
    secondary: str,
) -> Iterator[Primary]:
    """NSD, which has whole zones only (AXFR)."""
    lines = [
        *_nsd_head(directory, address, 53),
        "remote-control:",
        "    control-enable: yes",
        f"    control-interface: {directory}/nsd.sock",
        f"key:\n    name: {key[0]}\n    algorithm: hmac-sha256\n    secret: {key[1]}",
    ]
    for origin, records in zones.items():
        _zone_file(directory, origin).write_text(records)
        lines += [
            f"zone:\n    name: {origin}\n    zonefile: {_zone_file(directory, origin)}",
            f"    provide-xfr: 0.0.0.0/0 {key[0]}\n    notify: {secondary} {key[0]}",
        ]
    config = directory / "nsd.conf"
    config.write_text("\n".join(lines) + "\n")
    command = ["nsd", "-d", "-c", str(config)]
    with _running(place, command, "nsd started", Oracle(place, address, 53)):
        yield Primary(place, directory, ["nsd-control", "-c", str(config), "reload"])
