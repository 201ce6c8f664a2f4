"""What hosts do with the network, and what their kernels say of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from nfv.dataplane.kernel import netns

PATIENCE = 5.0
"""Seconds within which what is to arrive arrives."""

_SILENCE = 0.5  # seconds without an answer that count as none
_ETH_P_ALL = 0x0003


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def connect(place: str, address: str, port: int, *, patience: float = PATIENCE) -> socket.socket:
    """A TCP connection from a namespace. Raises what connect(2) does, and TimeoutError."""
    with netns.entered(place):
        made = socket.socket(family(address), socket.SOCK_STREAM)
    made.settimeout(patience)
    try:
        made.connect((address, port))
    except OSError:
        made.close()
        raise
    return made


def outcome(place: str, address: str, port: int) -> str:
    """How an attempt to connect ends: "accepted", "refused", "silence" or "unreachable"."""
    try:
        connect(place, address, port, patience=_SILENCE).close()
    except TimeoutError:
        return "silence"
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return "unreachable"
    return "accepted"


@contextmanager
def listener(place: str, address: str, port: int) -> Iterator[socket.socket]:
    """A listening TCP socket in a namespace."""
    with netns.entered(place):
        made = socket.create_server((address, port), family=family(address), backlog=64)
    made.settimeout(PATIENCE)
    with made:
        yield made


@contextmanager
def datagrams(place: str, address: str, port: int) -> Iterator[socket.socket]:
    """A bound UDP socket in a namespace."""
    with netns.entered(place):
        made = socket.socket(family(address), socket.SOCK_DGRAM)
    made.settimeout(PATIENCE)
    made.bind((address, port))
    with made:
        yield made


def transfer(
    near: str, far: str, address: str, port: int, data: bytes
) -> tuple[socket.socket, socket.socket]:
    """Connect, send data to the far end and check it there; both ends stay connected."""
    with listener(far, address, port) as server:
        client = connect(near, address, port)
        accepted, _ = server.accept()
    accepted.settimeout(PATIENCE)
    send(client, accepted, data)
    return client, accepted


def send(sender: socket.socket, receiver: socket.socket, data: bytes) -> None:
    """Send data and check that it arrives as it was."""
    done = 0
    while done < len(data):
        part = data[done : done + (1 << 16)]
        sender.sendall(part)
        received = b""
        while len(received) < len(part):
            more = receiver.recv(len(part) - len(received))
            assert more, "the connection was closed"
            received += more
        assert received == part
        done += len(part)


def kernel_counters(place: str) -> Mapping[str, int]:
    """/proc/net/snmp and snmp6 of a namespace: "TcpInCsumErrors", "Udp6InCsumErrors" and so on."""
    with netns.entered(place):
        lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
        lines6 = Path("/proc/thread-self/net/snmp6").read_text().splitlines()
    found = {}
    for keys, values in zip(lines[::2], lines[1::2], strict=True):
        protocol, *names = keys.split()
        found.update(
            {protocol[:-1] + key: int(v) for key, v in zip(names, values.split()[1:], strict=True)}
        )
    found.update({key: int(value) for key, value in (line.split() for line in lines6)})
    return found


def checksum_errors(place: str) -> int:
    """Packets with a wrong checksum that a namespace's kernel has received, of any protocol."""
    counters = kernel_counters(place)
    wrong = sum(value for key, value in counters.items() if key.endswith("InCsumErrors"))
    return wrong + counters["IpInHdrErrors"] + counters["Ip6InHdrErrors"]


def datagrams_left(place: str) -> int:
    """Datagrams that arrived in a namespace and found no room in their socket's buffer."""
    counters = kernel_counters(place)
    return counters["UdpRcvbufErrors"] + counters["Udp6RcvbufErrors"]


def raw(device: str) -> socket.socket:
    """A socket for whole frames on a device of the calling thread's namespace."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    made.bind((device, 0))
    made.settimeout(PATIENCE)
    return made


@contextmanager
def alone() -> Iterator[None]:
    """Send from one CPU: each has queues of its own, and only within one there is an order."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def asking(place: str, server: str) -> socket.socket:
    """A socket of a namespace for datagrams to a name server, and from it alone."""
    with netns.entered(place):
        asked = socket.socket(family(server), socket.SOCK_DGRAM)
    asked.settimeout(PATIENCE)
    asked.connect((server, 53))
    return asked
