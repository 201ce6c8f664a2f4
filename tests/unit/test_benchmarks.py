"""The benchmarks' frames and flows are what they say they are, and their figures add up."""

from __future__ import annotations

import ipaddress

import numpy as np
import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.l2 import Ether

from benchmarks import chains, routes, rules, variants
from benchmarks.figures import Spread, percentile, ratio, spread
from benchmarks.frames import (
    IMIX,
    NEAR_PORT,
    PORT,
    Endpoint,
    Kind,
    Leg,
    Protocol,
    Template,
    Translation,
    conversation,
    stamp_at,
)
from benchmarks.latency import intervals
from benchmarks.pages import pages
from benchmarks.sequences import LENGTH, Draw, drawn, flows4, flows6
from nfv.chain.graph import entries
from nfv.chain.path import Attachment
from nfv.chain.sap import Hook
from nfv.ebpf.compose import Composer
from nfv.ebpf.walks import REJECT, WALK
from nfv.functions.firewall import FirewallConfig
from tests import vnfs

NEAR = Endpoint("02:00:00:00:00:01", "02:00:00:00:00:0a", {4: "10.0.1.10", 6: "2001:db8:1::10"})
FAR = Endpoint("02:00:00:00:00:02", "02:00:00:00:00:0b", {4: "192.0.2.254", 6: "2001:db8:2::254"})

KINDS = [
    Kind(protocol, version, sizes)
    for protocol in Protocol
    for version in NEAR.addresses
    for sizes in ((60,), (512,), (1514,))
]
FLOW = {
    4: (ipaddress.ip_address("198.51.100.7"), 40000),
    6: (ipaddress.ip_address("2001:db8:9::1"), 0),
}


def fold(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def words(data: bytes) -> int:
    return int(np.frombuffer(data, "=u2").astype(int).sum())


def sent(kind: Kind, template: Template, forward: bool) -> bytes:
    """The frame that programs/generator.c makes of a template and a flow, the same way."""
    (leg,) = (leg for leg in conversation(kind, NEAR, FAR)[:2] if leg.forward is forward)
    place = leg.layout
    address, port = FLOW[kind.version]
    packed = address.packed[: 4 if kind.version == 4 else 8]
    frame = bytearray(template.head.ljust(template.length, b"\0"))
    frame[place.address : place.address + len(packed)] = packed
    total = words(packed)
    if kind.version == 4:
        frame[place.l3_check : place.l3_check + 2] = fold(template.l3_sum + total).to_bytes(
            2, "little"
        )
        frame[place.port : place.port + 2] = port.to_bytes(2, "big")
        total += words(port.to_bytes(2, "big"))
    check = fold(template.l4_sum + total) or 0xFFFF
    frame[place.l4_check : place.l4_check + 2] = check.to_bytes(2, "little")
    return bytes(frame)


def rebuilt(packet: Ether) -> bytes:
    """The frame with the checksums and lengths that Scapy computes."""
    for layer in packet.layers():
        for field in ("chksum", "len", "plen"):
            if field in packet[layer].fields:
                delattr(packet[layer], field)
    return bytes(packet)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_frames_are_what_hosts_send(kind: Kind) -> None:
    for leg in conversation(kind, NEAR, FAR):
        (template,) = leg.templates
        source, destination = (NEAR, FAR) if leg.forward else (FAR, NEAR)
        frame = sent(kind, template, leg.forward)
        packet = Ether(frame)
        assert rebuilt(packet) == frame
        assert len(frame) == max(kind.sizes[0], stamp_at(kind), 60)
        assert (packet.src, packet.dst) == (source.mac, source.next_hop_mac)
        address, port = FLOW[kind.version]
        near, far = NEAR.addresses[kind.version], str(address)
        transport = packet[TCP if kind.protocol is Protocol.TCP else UDP]
        wanted = ((near, port or NEAR_PORT), (far, PORT))
        ends = ((packet.payload.src, transport.sport), (packet.payload.dst, transport.dport))
        assert ends == (wanted if leg.forward else wanted[::-1])
        assert destination is not source


def test_a_far_station_has_a_mac_address_of_its_own() -> None:
    legs = conversation(Kind(stations=True), NEAR, FAR)
    there, back = (Ether(_with_station(leg)) for leg in legs[:2])
    assert (there.src, there.dst) == (NEAR.mac, "02:00:c6:33:64:07")
    assert (back.src, back.dst) == ("02:00:c6:33:64:07", FAR.next_hop_mac)


def _with_station(leg: Leg) -> bytes:
    address = FLOW[4][0].packed
    head = bytearray(leg.templates[0].head)
    head[leg.layout.mac : leg.layout.mac + len(address)] = address
    return bytes(head)


def test_subscribers_differ_in_the_near_address() -> None:
    kind = Kind(subscribers=True)
    leg, back, _ = conversation(kind, NEAR, FAR)
    frame = bytearray(leg.templates[0].head)
    address, port = FLOW[4][0].packed, (40000).to_bytes(2, "big")
    place = leg.layout
    frame[place.address : place.address + 4] = address
    frame[place.port : place.port + 2] = port
    for at, total in (
        (place.l3_check, leg.templates[0].l3_sum),
        (place.l4_check, leg.templates[0].l4_sum + words(port)),
    ):
        frame[at : at + 2] = fold(total + words(address)).to_bytes(2, "little")
    packet = Ether(bytes(frame))
    assert rebuilt(packet) == bytes(frame)
    assert (packet.payload.src, packet.payload.dst) == (str(FLOW[4][0]), FAR.addresses[4])
    assert back.layout.address == 30


def test_tcp_flows_begin_with_a_handshake() -> None:
    kind = Kind(Protocol.TCP)
    legs = conversation(kind, NEAR, FAR)
    segments = [Ether(sent(kind, leg.templates[0], leg.forward))[TCP] for leg in legs]
    assert [leg.forward for leg in legs] == [True, False, True]
    assert [str(segment.flags) for segment in segments] == ["S", "SA", "A"]
    assert [(segment.seq, segment.ack) for segment in segments] == [(0, 0), (0, 1), (1, 1)]


def test_answers_go_to_the_translated_address() -> None:
    kind = Kind()
    _, answer, _ = conversation(kind, NEAR, FAR, Translation("192.0.2.1", 0x1234))
    assert Ether(sent(kind, answer.templates[0], False)).payload.dst == "192.0.2.1"
    assert answer.port_bits == 0x1234


def test_a_mix_has_a_template_for_each_size() -> None:
    leg = conversation(Kind(sizes=IMIX), NEAR, FAR)[-1]
    assert [template.length for template in leg.templates] == [60, 590, 1514]
    addresses = np.array([1], np.uint64)
    sequence = drawn(flows4(addresses, 2), Draw(2), [0] * 7 + [1] * 4 + [2])
    shares = np.bincount(sequence["kind"]) / LENGTH
    assert shares == pytest.approx([7 / 12, 4 / 12, 1 / 12], abs=1e-5)


def test_each_flow_is_another() -> None:
    addresses = np.arange(100, dtype=np.uint64)
    flows = flows4(addresses, 10_000)
    assert len(np.unique(flows)) == 10_000
    assert flows["port"].min() >= 1024
    with pytest.raises(ValueError, match="too few"):
        flows4(addresses, 100 * 65536)
    with pytest.raises(ValueError, match="too few"):
        flows6(addresses, 101)


def test_uniform_flows_come_equally_often() -> None:
    sequence = drawn(flows4(np.array([1], np.uint64), 64), Draw(64))
    counts = np.unique(sequence["port"], return_counts=True)[1]
    assert counts == pytest.approx(np.full(64, LENGTH / 64), rel=0.05)


def test_zipf_flows_come_by_rank() -> None:
    sequence = drawn(flows4(np.array([1], np.uint64), 1000), Draw(1000, zipf=1.1))
    counts = np.sort(np.unique(sequence["port"], return_counts=True)[1])[::-1]
    weights = np.arange(1, 1001) ** -1.1
    wanted = LENGTH * weights / weights.sum()
    assert counts[:20] == pytest.approx(wanted[:20], rel=0.05)


@pytest.mark.parametrize("version", [4, 6])
def test_destinations_are_covered_by_the_routes(version: int) -> None:
    table = routes.table(version, 500)
    width = 32 if version == 4 else 64
    prefixes = set(zip(table.prefixes.tolist(), table.lengths.tolist(), strict=True))
    assert len(prefixes) == len(table) == 500
    for address in routes.destinations(table, 1000).tolist():
        assert any(
            (address >> width - length << width - length, length) in prefixes
            for length in range(width + 1)
        )
    assert len(np.unique(routes.destinations(table, 1000, active=10))) <= 10


@pytest.mark.parametrize("count", [0, 1, 10, 1000])
def test_rules_are_as_many_as_wanted_for_both(count: int) -> None:
    config = FirewallConfig.model_validate(rules.as_yaml(count))
    assert len(config.rules) == count
    lines = rules.as_nft(count).splitlines()
    assert sum(line.endswith((" drop", " accept")) for line in lines) == count + 2


def test_spread_is_the_middle_half() -> None:
    assert spread([1.0, 2.0, 3.0, 4.0, 100.0]) == Spread(3.0, 2.0, 4.0)
    assert spread([7.0]) == Spread(7.0, 7.0, 7.0)
    assert spread([1.0, 2.0, 3.0, 4.0, 100.0]).noisy
    assert not spread([1.0, 1.01, 1.02]).noisy


def test_ratio_is_taken_round_by_round() -> None:
    assert ratio([2.0, 1.0, 9.0], [4.0, 2.0, 3.0]).median == 0.5


def test_percentiles_are_of_what_was_counted() -> None:
    counts = [0, 50, 49, 0, 1]
    assert [percentile(counts, share) for share in (0.5, 0.9, 0.99, 0.999)] == [1, 2, 2, 4]


def test_intervals_have_the_mean_that_is_wanted() -> None:
    found = intervals(1000)
    assert np.mean(found) == pytest.approx(1000, rel=0.05)
    assert np.std(found) == pytest.approx(1000, rel=0.1)


def test_each_sweep_can_be_asked_for_by_its_name() -> None:
    names = [part for page in pages() for part in page.parts]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("composer", "programs"),
    [(variants.UNCACHED, 1), (variants.TAIL_CALLS, 3), (variants.POLYCUBE, 3)],
)
def test_variants_pass_every_packet_through_all_functions(
    composer: Composer, programs: int
) -> None:
    with vnfs.installed():
        topology = chains.standard("bench", rule_count=1)
        graph = entries(topology)
        unit = composer(topology, graph, graph[Attachment("lan")], Hook.XDP)
    assert sorted(unit.instances.values()) == ["fw", "gw", "nat"]
    assert WALK not in unit.programs  # which a packet whose flow is known does not reach
    assert sum(name != REJECT for name in unit.programs) == programs
    for prefix in unit.instances:
        assert f"verdict = {prefix}_process(" in unit.text
