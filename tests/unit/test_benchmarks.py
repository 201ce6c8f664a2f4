"""The benchmarks' frames are what they say they are, and their figures add up."""

from __future__ import annotations

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.l2 import Ether

from benchmarks import paths, report
from benchmarks.frames import PORT, Endpoint, Protocol, Traffic, conversation
from benchmarks.rates import Sample
from benchmarks.spread import Spread, ratio, spread
from nfv.chain.topology import load

NEAR = Endpoint("02:00:00:00:00:01", "02:00:00:00:00:0a", {4: "10.0.1.10", 6: "2001:db8:1::10"})
FAR = Endpoint("02:00:00:00:00:02", "02:00:00:00:00:0b", {4: "192.0.2.254", 6: "2001:db8:2::254"})

TRAFFICS = [Traffic(protocol, version, 3) for protocol in Protocol for version in NEAR.addresses]


def _rebuilt(packet: Ether) -> bytes:
    """The frame with the checksums and lengths that Scapy computes."""
    for layer in packet.layers():
        for field in ("chksum", "len", "plen"):
            if field in packet[layer].fields:
                delattr(packet[layer], field)
    return bytes(packet)


@pytest.mark.parametrize("traffic", TRAFFICS, ids=lambda traffic: traffic.name)
def test_frames_are_what_hosts_send(traffic: Traffic) -> None:
    for leg in conversation(traffic, NEAR, FAR):
        source, destination = (NEAR, FAR) if leg.forward else (FAR, NEAR)
        for frame in leg.frames:
            packet = Ether(frame)
            assert _rebuilt(packet) == frame
            assert len(frame) >= 60
            assert (packet.src, packet.dst) == (source.mac, source.next_hop_mac)
            network = packet.payload
            assert network.src == source.addresses[traffic.version]
            assert network.dst == destination.addresses[traffic.version]


@pytest.mark.parametrize("traffic", TRAFFICS, ids=lambda traffic: traffic.name)
def test_each_flow_has_a_source_port_of_its_own(traffic: Traffic) -> None:
    transport = TCP if traffic.protocol is Protocol.TCP else UDP
    ports = []
    for leg in conversation(traffic, NEAR, FAR):
        found = [Ether(frame)[transport] for frame in leg.frames]
        ports.append([each.sport if leg.forward else each.dport for each in found])
        assert {each.dport if leg.forward else each.sport for each in found} == {PORT}
    assert len(set(ports[0])) == traffic.flows
    assert ports == [ports[0]] * 3


def test_tcp_flows_begin_with_a_handshake() -> None:
    legs = conversation(Traffic(Protocol.TCP, 4, 1), NEAR, FAR)
    segments = [Ether(leg.frames[0])[TCP] for leg in legs]
    assert [leg.forward for leg in legs] == [True, False, True]
    assert [str(segment.flags) for segment in segments] == ["S", "SA", "A"]
    assert [(segment.seq, segment.ack) for segment in segments] == [(0, 0), (0, 1), (1, 1)]


def test_ratio_is_taken_round_by_round() -> None:
    assert spread([3.0, 1.0, 8.0]) == Spread(3.0, 1.0, 8.0)
    assert ratio([2.0, 1.0, 9.0], [4.0, 2.0, 3.0]) == Spread(0.5, 0.5, 3.0)


def test_slices_of_a_sample_add_up() -> None:
    sample = Sample(100, 100, 64, 0.5) + Sample(100, 50, 32, 0.5)
    assert sample.rate == 96
    assert sample.loss == 0.25


@pytest.fixture
def results() -> report.Results:
    traffic = Traffic(Protocol.UDP, 4, 1)
    run = report.Run("2030-01-31", "a machine", "6.0", "make bench", 2, 0.1)
    rates = {
        ("bare", traffic): [Sample(1000, 1000, 1000, 0.5), Sample(1000, 1000, 1000, 1.0)],
        ("chain", traffic): [Sample(1000, 1000, 1000, 1.0), Sample(1000, 900, 900, 0.9)],
        ("linux", traffic): [Sample(1000, 1000, 1000, 4.0), Sample(1000, 1000, 1000, 4.0)],
    }
    bulk = {"linux": [4e9, 4e9], "chain": [1e9, 2e9]}
    return report.Results(run, "bare", "chain", ("linux",), rates, bulk)


def test_tables_compare_with_the_base_and_the_rivals(results: report.Results) -> None:
    rows = report.as_markdown(results).splitlines()
    assert "| chain | 0.75 (0.50-1.00) |" in rows
    assert "| linux | 4.00 (4.00-4.00) |" in rows  # times that the chain is faster
    assert "| chain | 1000000 |" in rows  # nanoseconds
    assert "| chain | 1.5 | 0.38 (0.25-0.50) |" in rows
    assert "Packets lost, worst sample: chain (UDP, IPv4, 1 flow) 10.00%." in rows


def test_json_has_every_sample(results: report.Results) -> None:
    data = report.as_json(results)
    assert data["rates"][1]["packets_per_second"] == [1000, 1000]
    assert data["rates"][1]["loss"] == pytest.approx([0, 0.1])
    assert data["bulk"][1] == {"way": "chain", "bits_per_second": [1e9, 2e9]}


def test_results_take_the_place_of_former_ones() -> None:
    page = f"before\n{report.BEGIN}\nformer\n{report.END}\nafter\n"
    once = report.replace_between_markers(page, "results")
    assert "former" not in once
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert report.replace_between_markers(once, "results") == once
    with pytest.raises(ValueError, match="are not there"):
        report.replace_between_markers("no markers", "results")


def test_benchmarked_topologies_are_parts_of_the_quickstart() -> None:
    quickstart = load(paths.QUICKSTART)
    whole = paths.topology("bench", "fw", "gw")
    assert whole.name == "bench"
    assert (whole.saps, whole.vnfs, whole.chains) == (
        quickstart.saps,
        quickstart.vnfs,
        quickstart.chains,
    )
    assert list(paths.topology("bench", "gw").vnfs) == ["gw"]
    assert list(paths.topology("bench", "fw").chains) == ["wire"]
    assert not paths.topology("bench").vnfs
