"""The compiled matcher against the patterns read one after the other."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nfv.chain.pattern import Direction, Pattern
from nfv.dataplane.kernel import bpf
from nfv.ebpf import tables
from nfv.ebpf.vectors import PORT_PROTOCOLS, TCP
from tests.functions.bench import Bench
from tests.functions.firewalling import SIDES, firewall
from tests.unit.matching import Packet, first_match
from tests.unit.test_matcher import packets, patterns

pytestmark = pytest.mark.root

RULE = struct.Struct("=HHI")  # struct self_rule: action, fleeting, counter
ACCEPT = 0  # enum self_action; 1 is to drop
EXTENSIONS = frozenset({0, 43, 44, 60})  # IPv6 next headers that are no transport protocol
LATER_FRAGMENT = 5  # offset, in units of 8 bytes


@pytest.fixture(scope="module", params=[1, 65, 257, 1025], ids="{} rules and more".format)
def matcher(request: pytest.FixtureRequest) -> Iterator[tuple[Bench, int]]:
    """A firewall, and how many rules it has at least: each count is of another size class."""
    rules = ["action: accept"] * request.param
    with closing(Bench(firewall(*rules, stateless="true"))) as bench:
        yield bench, request.param


def publish(bench: Bench, rules: Sequence[Pattern]) -> None:
    """Make these the firewall's rules: default (place 0) and every other accept, the rest drop."""
    elements = [RULE.pack(place % 2, 0, place) for place in range(len(rules) + 1)]
    tables.publish(bench.function_maps("fw").memory("matcher"), rules, elements)
    bench.forget_flows()


def decided(bench: Bench) -> list[int]:
    """How many packets each place has counted."""
    counters = bench.map_of("fw", "counters").items(batch=65536)
    return [sum(count for count, _ in struct.iter_unpack("=QQ", value)) for _, value in counters]


def frame_of(packet: Packet) -> bytes:
    """The packet on the wire; without a transport header it is a later fragment."""
    if packet.protocol in (1, 58):
        transport = struct.pack("!HHHH", packet.dport, 0, 77, 1)
    else:
        transport = struct.pack("!HHII", packet.sport, packet.dport, 0, 0)
        transport += bytes((0x50, packet.tcp_flags)) + bytes(6)
    if packet.family == 4:
        fragment = 0 if packet.has_l4 else LATER_FRAGMENT
        length = 20 + len(transport)
        header = struct.pack("!BBHHHBBH", 0x45, 0, length, 9, fragment, 64, packet.protocol, 0)
        addresses = packet.src.to_bytes(4, "big") + packet.dst.to_bytes(4, "big")
        return bytes(12) + b"\x08\x00" + header + addresses + transport
    protocol = packet.protocol
    if not packet.has_l4:
        transport = struct.pack("!BBHI", protocol, 0, LATER_FRAGMENT << 3, 9) + transport
        protocol = 44
    header = struct.pack("!IHBB", 6 << 28, len(transport), protocol, 64)
    addresses = packet.src.to_bytes(16, "big") + packet.dst.to_bytes(16, "big")
    return bytes(12) + b"\x86\xdd" + header + addresses + transport


def as_parsed(packet: Packet) -> Packet:
    """What the parser can see of a packet: ports only where its protocol has them."""
    has_l4 = packet.has_l4 and packet.protocol in PORT_PROTOCOLS
    sport = 0 if packet.protocol in (1, 58) else packet.sport
    return replace(packet, has_l4=has_l4, sport=sport)


def common(pattern: Pattern) -> Pattern:
    """The pattern without what these programs are not compiled to look at."""
    return replace(pattern, src_macs=(), dst_macs=(), lengths=(), dscps=(), fragments=())


@settings(max_examples=40, deadline=None)
@given(st.lists(patterns.map(common), max_size=12), st.lists(packets, min_size=1, max_size=12))
def test_decides_like_the_patterns_read_in_order(
    matcher: tuple[Bench, int], rules: list[Pattern], some: list[Packet]
) -> None:
    bench, places = matcher
    # The rules are the last of the size class's least: those before match no packet.
    impossible = Pattern(protocols=(6,), families=(4,), tcp_flags=(0, 1))
    placed = [*([impossible] * places), *rules]
    publish(bench, placed)
    for packet in some:
        assume(packet.family == 4 or packet.protocol not in EXTENSIONS)
        seen = as_parsed(packet)
        found = first_match(placed, seen)
        place = 0 if found is None else found + 1
        side, frame = SIDES[packet.direction], frame_of(packet)
        bench.forget_flows()
        before = decided(bench)
        verdict, out = bench.execute(side, frame)
        after = decided(bench)
        assert [at for at, count in enumerate(after) if count != before[at]] == [place], seen
        assert verdict == (bpf.XDP_REDIRECT if place % 2 == ACCEPT else bpf.XDP_DROP)
        assert bench.execute(side, frame) == (verdict, out), "the flow is known"


def test_both_halves_are_read(matcher: tuple[Bench, int]) -> None:
    """Every change is written into the half that is not read: two changes, both halves."""
    bench, least = matcher
    packet = Packet(4, 1 << 24, 2 << 24, TCP, 1, 80, 2, True, Direction.FORWARD)
    for place in (1, 2, 1):
        never = Pattern(dports=((9, 9),))
        publish(bench, [never] * (place - 1) + [Pattern()] + [never] * least)
        verdict, _ = bench.execute("left", frame_of(packet))
        assert verdict == (bpf.XDP_REDIRECT if place % 2 == ACCEPT else bpf.XDP_DROP)
