"""Traffic between the two hosts of the quickstart topology, and whether it came through.

The servers listen also on the ports that the firewall must block, so that nothing but the firewall
can be the reason when a connection fails.
"""

from __future__ import annotations

import json
import os
import re
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from nfv.dataplane.kernel import netns
from nfv.errors import NfvError

HTTP_PORT = 8080
IPERF3_PORT = 5201
TELNET_PORT = 23
SMTP_PORT = 25
SSH_PORT = 22

CONTENT = os.urandom(32 << 20)
"""What the HTTP server delivers, bytes."""

_PINGS = 3
_SECONDS = 2  # of each run of iperf3
_UDP_RATE = "50M"  # bit/s
_UDP_LOSS = 0.01  # share of the datagrams that may be lost on the way
_SILENCE = 0.5  # seconds without an answer after which there is none; a SYN is repeated after 1
_TIMEOUT = 15.0  # seconds for a command


class Unexpected(Exception):
    """Something else became of the traffic than should have; says what."""


@dataclass(frozen=True)
class Ends:
    """The network namespaces of client and server, and the server's address by IP version."""

    client: str
    server: str
    addresses: Mapping[int, str]


@dataclass(frozen=True)
class Check:
    """Traffic of one kind. `send` returns what became of it, or raises `Unexpected`."""

    title: str
    verdict: str  # of the firewall: "accepted", "rejected" or "dropped"
    send: Callable[[Ends], str]


CHECKS = (
    Check("ping", "accepted", lambda ends: _ping(ends, 4)),
    Check("ping, IPv6", "accepted", lambda ends: _ping(ends, 6)),
    Check("HTTP download", "accepted", lambda ends: _download(ends, 4)),
    Check("HTTP download, IPv6", "accepted", lambda ends: _download(ends, 6)),
    Check("iperf3 TCP", "accepted", lambda ends: _stream(ends)),
    Check("iperf3 UDP", "accepted", lambda ends: _datagrams(ends)),
    Check(f"telnet, TCP port {TELNET_PORT}", "rejected", lambda ends: _refused(ends, TELNET_PORT)),
    Check(f"SMTP, TCP port {SMTP_PORT}", "dropped", lambda ends: _unanswered(ends, SMTP_PORT)),
    Check(f"SSH, TCP port {SSH_PORT}", "dropped", lambda ends: _unanswered(ends, SSH_PORT)),
)


@contextmanager
def servers(host: str) -> Iterator[None]:
    """Everything that the checks talk to, in a network namespace, as long as the block."""
    with ExitStack() as stack:
        for port in (TELNET_PORT, SMTP_PORT, SSH_PORT):
            stack.enter_context(_listen(host, port))
        stack.enter_context(_http(_listen(host, HTTP_PORT)))
        stack.enter_context(_iperf3(host))
        yield


def _listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections over IPv4 and IPv6."""
    try:
        with netns.entered(host):
            return socket.create_server(
                ("", port), family=socket.AF_INET6, backlog=8, dualstack_ipv6=True
            )
    except OSError as error:
        raise _taken(host, port, str(error.strerror)) from error


def _taken(host: str, port: int, reason: str) -> NfvError:
    who = f"ip netns exec {host} ss -ltnp sport = {port}"
    return NfvError(f"cannot serve on port {port} of {host}: {reason}", f"{who} shows who does")


class _Handler(BaseHTTPRequestHandler):
    """Delivers the content, whatever is asked for."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@contextmanager
def _http(listening: socket.socket) -> Iterator[None]:
    with socketserver.ThreadingTCPServer(
        listening.getsockname()[:2], _Handler, bind_and_activate=False
    ) as server:
        server.socket.close()
        server.socket = listening
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def _iperf3(host: str) -> Iterator[None]:
    command = ("iperf3", "--server", "--port", str(IPERF3_PORT), "--forceflush")
    # The kernel ends it even if this process is killed.
    wrapped = ("setpriv", "--pdeathsig", "TERM", *_inside(host, command))
    with subprocess.Popen(
        wrapped, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            said = []
            for line in process.stdout:
                said.append(line.strip())
                if "listening" in line:
                    break
            else:
                raise _taken(host, IPERF3_PORT, said[-1] if said else "iperf3 ended")
            yield
        finally:
            process.terminate()


def _inside(host: str, command: tuple[str, ...]) -> tuple[str, ...]:
    return ("ip", "netns", "exec", host, *command)


def _run(host: str, *command: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a network namespace, with its messages in English."""
    try:
        return subprocess.run(
            _inside(host, command),
            capture_output=True,
            timeout=_TIMEOUT,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise Unexpected(f"not done within {_TIMEOUT:.0f} s") from error


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _ping(ends: Ends, version: int) -> str:
    options = (f"-{version}", "-q", "-c", str(_PINGS), "-i", "0.2", "-W", "1")
    output = _run(ends.client, "ping", *options, ends.addresses[version]).stdout.decode()
    answered = re.search(r"(\d+) received", output)
    count = int(answered[1]) if answered else 0
    times = re.search(r"= ([\d.]+)/", output)
    if count < _PINGS or times is None:
        raise Unexpected(f"{count} of {_PINGS} answered")
    return f"{count} of {_PINGS} answered, {times[1]} ms"


def _download(ends: Ends, version: int) -> str:
    address = ends.addresses[version]
    url = f"http://[{address}]:{HTTP_PORT}/" if version == 6 else f"http://{address}:{HTTP_PORT}/"
    done = _run(
        ends.client, "curl", "--silent", "--show-error", "--noproxy", "*",
        "--max-time", "10", "--write-out", "%{stderr}%{speed_download}", url,
    )  # fmt: skip
    if done.returncode:
        raise Unexpected(_last_line(done.stderr))
    if done.stdout != CONTENT:
        raise Unexpected(f"{len(done.stdout)} of {len(CONTENT)} bytes, or others")
    speed = float(done.stderr) * 8 / 1e9
    return f"{len(CONTENT) >> 20} MiB intact, {speed:.1f} Gbit/s"


def _stream(ends: Ends) -> str:
    received = _measure(ends)["sum_received"]
    return f"{received['bits_per_second'] / 1e9:.1f} Gbit/s"


def _datagrams(ends: Ends) -> str:
    before = _overflowed(ends.server)
    total = _measure(ends, "--udp", "--bitrate", _UDP_RATE)["sum"]
    lost = max(0, total["lost_packets"] - (_overflowed(ends.server) - before))
    found = f"{total['bits_per_second'] / 1e6:.0f} Mbit/s, {lost} of {total['packets']:,} lost"
    if lost > total["packets"] * _UDP_LOSS:
        raise Unexpected(found)
    return found


def _overflowed(host: str) -> int:
    """Datagrams that arrived at a host, but not in time for the program that reads them.

    That happens on a busy machine, and the chain has no part in it.
    """
    with netns.entered(host):
        text = Path("/proc/thread-self/net/snmp").read_text()
    names, values = (line.split() for line in text.splitlines() if line.startswith("Udp:"))
    return int(values[names.index("RcvbufErrors")])


def _measure(ends: Ends, *options: str) -> Any:
    """What iperf3 found out in the end, as it puts it (its option --json)."""
    done = _run(
        ends.client, "iperf3", "--client", ends.addresses[4], "--port", str(IPERF3_PORT),
        "--connect-timeout", "3000", "--time", str(_SECONDS), "--json", *options,
    )  # fmt: skip
    try:
        result = json.loads(done.stdout)
    except ValueError as error:
        raise Unexpected(_last_line(done.stderr) or "iperf3 says nothing") from error
    if "error" in result:
        raise Unexpected(str(result["error"]))
    return result["end"]


def _refused(ends: Ends, port: int) -> str:
    error, seconds = _connect(ends, port)
    if not isinstance(error, ConnectionRefusedError):
        raise Unexpected(f"{_words(error)}, but should be refused")
    return f"refused after {seconds * 1000:.1f} ms"


def _unanswered(ends: Ends, port: int) -> str:
    error, _ = _connect(ends, port)
    if not isinstance(error, TimeoutError):
        raise Unexpected(f"{_words(error)}, but should not be answered")
    return _words(error)


def _connect(ends: Ends, port: int) -> tuple[OSError | None, float]:
    """The error that a TCP connection to the server fails with, and seconds until then."""
    with netns.entered(ends.client):
        client = socket.socket()
    with client:
        client.settimeout(_SILENCE)
        started = time.monotonic()
        try:
            client.connect((ends.addresses[4], port))
        except OSError as error:
            return error, time.monotonic() - started
    return None, 0.0


def _words(error: OSError | None) -> str:
    if error is None:
        return "connected"
    if isinstance(error, TimeoutError):
        return f"no answer in {_SILENCE} s"
    return (error.strerror or str(error)).lower()
