"""Frames of a profile compared with Scapy's reading and checksums."""

from __future__ import annotations

import struct
from ipaddress import ip_address, ip_network

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from nfv.errors import InputError
from nfv.traffic import flows
from nfv.traffic.link import Macs
from nfv.traffic.profile import Profile

MACS = Macs(destination=bytes.fromhex("020000000001"), source=bytes.fromhex("020000000002"))
V4 = {"src": ["10.0.1.0/24"], "dst": ["192.0.2.254", "198.51.100.0/24"]}
V6 = {"src": ["2001:db8:1::/64"], "dst": ["2001:db8:2::254"]}


def profile(**values: object) -> Profile:
    return Profile.model_validate({**V4, **values})


def complete(template: flows.Template) -> Packet:
    """The frame as the generator sends it with a stamp of zeros."""
    frame = bytearray(template.head.ljust(template.length, b"\0"))
    total = template.sum
    if template.port:
        (port,) = struct.unpack_from("=H", frame, template.port)
        total += port
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into("=H", frame, template.check, (~total & 0xFFFF) or 0xFFFF)
    return Ether(bytes(frame))


@pytest.mark.parametrize("size", ["64", "65", "100", "1518", "imix"])
@pytest.mark.parametrize("proto", ["udp", "tcp"])
@pytest.mark.parametrize("addresses", [V4, V6])
@pytest.mark.parametrize("churn", [0, 10])
def test_frames_are_what_scapy_makes_of_them(
    size: str, proto: str, addresses: dict[str, list[str]], churn: int
) -> None:
    wanted = profile(proto=proto, flows=20, churn=churn, **addresses)
    for template in flows.templates(wanted, size, MACS):
        frame = complete(template)
        again = Ether(bytes(frame))
        if IP in again:
            del again[IP].chksum, again[IP].len
        else:
            del again[IPv6].plen
        transport = again[UDP if proto == "udp" else TCP]
        del transport.chksum
        if proto == "udp":
            del transport.len
        assert bytes(again) == bytes(frame)
        assert (frame.src, frame.dst) == ("02:00:00:00:00:02", "02:00:00:00:00:01")
        network = frame[IP] if IP in frame else frame[IPv6]
        assert any(ip_address(network.src) in ip_network(one) for one in addresses["src"])
        assert any(ip_address(network.dst) in ip_network(one) for one in addresses["dst"])


def test_sizes_count_the_fcs_and_have_room_for_the_stamp() -> None:
    def length(proto: str, size: str, **values: object) -> int:
        return flows.templates(profile(proto=proto, flows=1, **values), size, MACS)[0].length + 4

    assert [length("udp", size) for size in ("64", "1518")] == [64, 1518]
    assert length("tcp", "64") == 14 + 20 + 20 + 18 + 4
    assert length("udp", "64", **V6) == 14 + 40 + 8 + 18 + 4
    assert length("tcp", "64", **V6) == 14 + 40 + 20 + 18 + 4


@pytest.mark.parametrize("count", [1, 7, 12, 64])
def test_the_mix_is_seven_four_one_for_any_number_of_flows(count: int) -> None:
    found = [one.length + 4 for one in flows.templates(profile(flows=count), "imix", MACS)]
    twelfth = len(found) // 12
    assert sorted(found) == [64] * 7 * twelfth + [594] * 4 * twelfth + [1518] * twelfth


def test_flows_differ_and_meet_every_destination_and_port() -> None:
    wanted = profile(flows=500, sport="1000-1099", dport=[80, "443-445"])
    found = flows.flows(wanted)
    assert len(set(found)) == 500
    assert {one.sport for one in found} == set(range(1000, 1100))
    assert {one.dport for one in found} == {80, 443, 444, 445}
    prefixes = [sum(one.dst in network for one in found) for network in wanted.dst]
    assert prefixes == [250, 250]
    assert flows.flows(wanted) == found


def test_no_flow_has_the_address_of_a_network_or_its_broadcast() -> None:
    found = flows.flows(profile(src=["10.0.0.0/30"], dst=["10.0.0.8/31"], flows=40))
    assert {str(one.src) for one in found} == {"10.0.0.1", "10.0.0.2"}
    assert {str(one.dst) for one in found} == {"10.0.0.8", "10.0.0.9"}


def test_too_few_addresses_are_an_error() -> None:
    wanted = profile(src=["10.0.0.1"], dst=["10.0.0.2"], sport=1000, flows=2)
    with pytest.raises(InputError, match="not as many as 2 different flows"):
        flows.flows(wanted)
