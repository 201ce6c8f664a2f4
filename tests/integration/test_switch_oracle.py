"""Random and mutated frames through a switch, compared with a Linux bridge, or with IEEE 802.1Q."""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from random import Random

import pytest

from nfv.chain.sap import Hook
from nfv.dataplane.kernel import netns
from tests.integration.helpers import segment
from tests.integration.helpers.lab import Lab, applied, namespace, run_in
from tests.integration.helpers.segment import BROADCAST, TAG, Segment, Way, frame, group, mac
from tests.integration.scratch import scratch_namespace

pytestmark = pytest.mark.root

FRAMES = 25_000
"""Of each comparison: with two hooks and two oracles, 100,000."""

BATCH = 250
PORTS = ("1", "2", "3", "4")
STATIONS = [mac(number) for number in range(24)]
OTHERS = [mac(number) for number in range(100, 104)]  # who never send
GROUPS = [group(1), b"\x01\x00\x5e\x7f\x00\x01", b"\x33\x33\x00\x01\x00\x02"]
RESERVED = [bytes((1, 0x80, 0xC2, 0, 0, last)) for last in range(2, 16)]
"""Not 00 and 01: a bridge forwards the former without a spanning tree, and does not learn by the
latter."""


@contextmanager
def switched(switch: str, hook: Hook) -> Iterator[tuple[Lab, Segment]]:
    """A switch, and the wires of its ports; a host is at each."""
    saps = [
        f"  h{port}: {{kind: host, ip: 10.0.0.{port}/24, hook: {hook.value}}}" for port in PORTS
    ]
    chains = [f'  c{port}: {{path: [h{port}, "sw:{port}"]}}' for port in PORTS]
    text = "\n".join(["name: sw", "saps:", *saps, "vnfs:", f"  sw: {switch}", "chains:", *chains])
    with applied(text, "oracle") as lab:
        places = {port: (lab.netns(f"h{port}"), "eth0") for port in PORTS}
        with segment.segment(places) as wires:
            yield lab, wires


@contextmanager
def bridged() -> Iterator[Segment]:
    """A Linux bridge, and the wires of its ports."""
    with ExitStack() as stack:
        bridge = stack.enter_context(scratch_namespace())
        stations = stack.enter_context(namespace("stations"))
        run_in(bridge, "ip link add bridge0 type bridge stp_state 0 mcast_snooping 0")
        with netns.entered(bridge):
            netns.write_sysctl("net/ipv6/conf/all/disable_ipv6", 1)
            netns.write_sysctl("net/ipv6/conf/default/disable_ipv6", 1)
        run_in(bridge, "ip link set bridge0 up")
        for port in PORTS:
            run_in(bridge, f"ip link add p{port} type veth peer p{port} netns {stations}")
            run_in(bridge, f"ip link set p{port} master bridge0 up")
            run_in(stations, f"ip link set p{port} up")
        places = {port: (stations, f"p{port}") for port in PORTS}
        yield stack.enter_context(segment.segment(places))


def destination(random: Random) -> bytes:
    kinds = [STATIONS] * 12 + [OTHERS, [BROADCAST], GROUPS, RESERVED]
    return random.choice(random.choice(kinds))


def source(random: Random, port: str) -> bytes:
    """Mostly a station that is at home there; at times one that has moved, or none that can be."""
    if random.random() < 0.02:
        return random.choice([bytes(6), BROADCAST, group(7)])
    if random.random() < 0.05:
        return random.choice(STATIONS)
    return random.choice(STATIONS[int(port) :: len(PORTS)])


def mutated(random: Random, data: bytes) -> bytes:
    """With a few bytes behind the addresses changed, but not the ethertype that it is known by."""
    changed = bytearray(data)
    for _ in range(random.randrange(4)):
        if len(changed) > 20:
            changed[random.randrange(20, len(changed))] = random.randrange(256)
    return bytes(changed)


def draw(random: Random, tags: Sequence[int | None]) -> tuple[str, bytes]:
    port = random.choice(PORTS)
    tag = random.choice(tags)
    size = random.choice([18, 46, 60, 61, 64, 590, 1514]) + (0 if tag is None else 4)
    made = frame(destination(random), source(random, port), random.randbytes(8), tag=tag, size=size)
    return port, mutated(random, made)


@pytest.mark.parametrize("hook", Hook, ids=lambda hook: hook.name)
def test_switches_as_a_linux_bridge_does(hook: Hook) -> None:
    random = Random(1)
    with switched("{type: switch, ports: 4}", hook) as (_, ours), bridged() as theirs:
        for number in range(FRAMES // BATCH):
            sent = [draw(random, [None, None, None, 5, 0x6000]) for _ in range(BATCH)]
            ways: list[Way] = [("1", None), ("2", None)]
            assert ours.exchange(sent, number, ways) == theirs.exchange(sent, number, ways), number


@dataclass
class Port:
    """What the standard has of a port."""

    members: frozenset[int]
    untagged: int
    isolated: bool = False


@dataclass
class Model:
    """A bridge as IEEE 802.1Q has it, with independent learning."""

    ports: Mapping[str, Port]
    stations: dict[tuple[int, bytes], str] = field(default_factory=dict)

    def pass_on(self, port: str, data: bytes) -> Iterator[tuple[str, bytes]]:
        """Where a frame comes out, and as what."""
        dst, src, rest = data[:6], data[6:12], data[12:]
        tagged, tag = struct.unpack("!HH", rest[:4])
        has_tag = tagged == TAG
        vlan = tag & 0xFFF if has_tag else 0
        vlan = vlan or self.ports[port].untagged
        if vlan not in self.ports[port].members or src[0] & 1 or not any(src):
            return
        self.stations[vlan, src] = port
        if dst in RESERVED:
            return
        known = None if dst[0] & 1 else self.stations.get((vlan, dst))
        priority = tag & 0xF000 if has_tag else 0
        for name, other in self.ports.items():
            alone = other.isolated and self.ports[port].isolated
            if name == port or alone or vlan not in other.members or known not in (None, name):
                continue
            inner = rest[4:] if has_tag else rest
            out = (
                inner
                if vlan == other.untagged
                else struct.pack("!HH", TAG, priority | vlan) + inner
            )
            yield name, dst + src + out


VLANS = """
    type: switch
    ports:
      1: {trunk: all}
      2: {vlan: 10, isolated: true}
      3: {trunk: [10, 20], native: 30, isolated: true}
      4: {}
"""
MODEL = {
    "1": Port(frozenset(range(1, 4095)), 0),
    "2": Port(frozenset({10}), 10, isolated=True),
    "3": Port(frozenset({10, 20, 30}), 30, isolated=True),
    "4": Port(frozenset({1}), 1),
}


@pytest.mark.parametrize("hook", Hook, ids=lambda hook: hook.name)
def test_keeps_vlans_apart_as_the_standard_says(hook: Hook) -> None:
    random = Random(2)
    model = Model(MODEL)
    tags = [None, None, 0, 0x6000, 1, 10, 0xA00A, 20, 30, 99, 4094]
    with switched(VLANS, hook) as (_, wires):
        for number in range(FRAMES // BATCH):
            sent = [draw(random, tags) for _ in range(BATCH)]
            ways: list[Way] = [("1", 1), ("1", 10), ("1", 20), ("3", 20)]
            expected: dict[str, Counter[bytes]] = defaultdict(Counter)
            for port, data in sent:
                for name, out in model.pass_on(port, data):
                    expected[name][out] += 1
            wanted = {port: expected[port] for port in PORTS}
            assert wires.exchange(sent, number, ways) == wanted, number
