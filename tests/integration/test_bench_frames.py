"""Frames of the generator in a second capture, and what the sink makes of frames."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from nfv.bench.trial import Load
from nfv.chain.path import Attachment
from nfv.dataplane.kernel import netns
from nfv.dataplane.load.rig import Rig
from nfv.dataplane.load.sink import Arrived, Sink
from nfv.dataplane.wiring import wire
from tests.integration.helpers import traffic
from tests.integration.helpers.benches import Site, a_bench, offered, stamped

pytestmark = pytest.mark.root

STAMP = struct.Struct("=HIIQ")  # struct stamp of stamp.h
_SO_RCVBUFFORCE = 33  # socket(7)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with a_bench("tc") as made:
        yield made


@pytest.mark.parametrize("proto", ["udp", "tcp"])
@pytest.mark.parametrize("version", [4, 6])
def test_a_second_capture_has_the_frames(site: Site, proto: str, version: int) -> None:
    """At TC, where a packet socket sees frames before the sink drops them."""
    own = ["10.0.1.10"] if version == 4 else ["2001:db8:1::10"]
    values = {"proto": proto, "src": own, "flows": 50}
    with listening(site) as sock, site.rig("lan", "wan", "200", **values) as rig:
        frames = captured(site, rig, sock, Load(0.1, rate=10_000))
    stamps = [STAMP.unpack(bytes(frame[Raw])[: STAMP.size]) for frame in frames]
    assert [sequence for _, _, sequence, _ in stamps] == list(range(1000))
    assert [flow for _, flow, _, _ in stamps] == [number % 50 for number in range(1000)]
    assert len({trial_ for trial_, _, _, _ in stamps}) == 1
    timed = [moment for *_, moment in stamps if moment]
    assert timed == [moment for *_, moment in stamps[::17]]
    gaps = [later - earlier for earlier, later in pairwise(timed)]
    assert gaps == pytest.approx([1.7e6] * len(gaps), abs=1)
    for frame in frames:
        again = Ether(bytes(frame))
        if IP in again:
            del again[IP].chksum
        del again[TCP if proto == "tcp" else UDP].chksum
        assert bytes(again) == bytes(frame)
        assert (IP if version == 4 else IPv6) in frame


@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_flows_are_renewed_one_after_the_other(site: Site, proto: str) -> None:
    """Every tenth frame a flow gets the next source port, of which there are 15."""
    values = {"proto": proto, "flows": 4, "churn": 1000, "sport": "5000-5014"}
    with listening(site) as sock, site.rig("lan", "wan", "200", **values) as rig:
        frames = captured(site, rig, sock, Load(0.05, rate=10_000))
    expected = []
    for number in range(500):
        flow, renewed = number % 4, number // 10
        turns = (renewed - flow - 1) // 4 + 1 if renewed > flow else 0
        expected.append(5000 + (flow + 4 * turns) % 15)
    assert [frame.sport for frame in frames] == expected
    for frame in frames:
        again = Ether(bytes(frame))
        del again[TCP if proto == "tcp" else UDP].chksum
        assert bytes(again) == bytes(frame)


def listening(site: Site) -> socket.socket:
    """A socket that has all that arrives at wan."""
    with netns.entered(site.lab.netns("wan")):
        sock = traffic.raw("eth0")
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 26)
    sock.setblocking(False)
    return sock


def captured(site: Site, rig: Rig, sock: socket.socket, load: Load) -> list[Packet]:
    """What a socket has of a trial in which all was sent."""
    while list(stamped(sock, 196)):
        pass  # of warming up
    trial, _ = offered(site, rig, load)
    frames = list(stamped(sock, 196))[-trial.sent :]
    assert (trial.received, trial.received_bytes) == (len(frames), 196 * len(frames))
    return frames


# The sink


@contextmanager
def sinking(site: Site, frames: int, flows: int) -> Iterator[tuple[Sink, socket.socket]]:
    """A sink at wan for trial 7, and a socket that sends frames out of lan."""
    sink = Sink(frames, flows)
    port = wire(site.lab.topology, site.state.ports).ports[Attachment("wan", None)]
    try:
        with netns.entered(site.lab.netns("lan")):
            sock = traffic.raw("eth0")
        with sock, sink.at(site.state, port):
            sink.begin(7, frames, flows)
            yield sink, sock
    finally:
        sink.close()


def to_wan(site: Site, payload: bytes) -> bytes:
    """A datagram from lan to wan."""
    with netns.entered(site.lab.netns("lan")):
        addresses = [_mac("eth0"), _mac_of(site.lab.netns("gw"), "lan")]
    header = Ether(src=addresses[0], dst=addresses[1])
    header /= IP(src="10.0.1.10", dst="192.0.2.254") / UDP(sport=4000, dport=4001)
    return bytes(header / Raw(payload))


def _mac_of(place: str, device: str) -> str:
    with netns.entered(place):
        return _mac(device)


def _mac(device: str) -> str:
    shown = subprocess.check_output(["ip", "-j", "link", "show", "dev", device])
    return str(json.loads(shown)[0]["address"])


def arrive(site: Site, stamps: Sequence[tuple[int, int, int, int]], count: int) -> Arrived:
    """What the sink makes of frames with these stamps, of which it counts so many."""
    site.lab.run("lan", "ping -n -c 1 -W 2 192.0.2.254")
    with sinking(site, 100, 4) as (sink, sock):
        for stamp in stamps:
            sock.send(to_wan(site, STAMP.pack(*stamp)))
        deadline = time.monotonic() + traffic.PATIENCE
        while True:
            found = sink.arrived
            if found.frames + found.duplicates + found.late >= count:
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.01)


def test_duplicates_and_overtaken_frames_are_told_apart(site: Site) -> None:
    """0 2 1 1 3 of one flow, and 4 of another that nothing overtakes (RFC 4737, section 4)."""
    order = [(0, 0), (0, 2), (0, 1), (0, 1), (0, 3), (1, 4)]
    found = arrive(site, [(7, flow, sequence, 0) for flow, sequence in order], 6)
    assert (found.frames, found.duplicates, found.reordered) == (5, 1, 1)
    assert found.bytes == 5 * (42 + STAMP.size)
    assert (found.timed, found.late) == (0, 0)


def test_frames_of_the_trial_before_are_late(site: Site) -> None:
    found = arrive(site, [(6, 0, 50, 0), (7, 0, 0, 0), (6, 0, 51, 0)], 3)
    assert (found.frames, found.late, found.duplicates) == (1, 2, 0)


def test_times_are_counted_by_their_size(site: Site) -> None:
    now = time.monotonic_ns()
    ages = [10**6, 10**9, 5 * 10**9]
    found = arrive(site, [(7, 0, number, now - age) for number, age in enumerate(ages)], 3)
    assert (found.frames, found.timed, sum(found.times)) == (3, 3, 3)
    assert 10**6 <= found.least <= found.most
    assert 5 * 10**9 <= found.most <= 5 * 10**9 + (time.monotonic_ns() - now)
    assert found.mean >= sum(ages) / 3


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        STAMP.pack(7, 0, 0, 0)[:-1],
        STAMP.pack(7, 4, 0, 0),  # there is no such flow
        STAMP.pack(7, 0, 100, 0),  # nor such a frame
        STAMP.pack(8, 0, 0, 0),
    ],
)
def test_what_is_not_of_the_trial_goes_on(site: Site, payload: bytes) -> None:
    site.lab.run("lan", "ping -n -c 1 -W 2 192.0.2.254")
    with (
        traffic.datagrams(site.lab.netns("wan"), "192.0.2.254", 4001) as server,
        sinking(site, 100, 4) as (sink, sock),
    ):
        sock.send(to_wan(site, payload))
        assert server.recv(100) == payload
        found = sink.arrived
    assert (found.frames, found.duplicates, found.late) == (0, 0, 0)
