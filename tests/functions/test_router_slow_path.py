"""What a router leaves to its kernel, and what it drops."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_Router_Alert
from scapy.layers.inet6 import (
    ICMPv6ND_NS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from nfv.dataplane.kernel import bpf
from tests.functions.bench import Bench
from tests.functions.frames import ether, ip, padded
from tests.functions.routing import fill_from_topology
from tests.functions.test_router import TOPOLOGY as TOPOLOGY

pytestmark = pytest.mark.root

BROADCAST, MULTICAST4, MULTICAST6 = "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:05", "33:33:00:00:00:01"
ALERT = IPOption_Router_Alert()
BIG = Raw(b"x" * 1481)

PUNTED: dict[str, tuple[Packet, str]] = {
    "TTL 1": (ip(4, ttl=1) / UDP(), "ttl"),
    "TTL 0": (ip(4, ttl=0) / UDP(), "ttl"),
    "hop limit 1": (ip(6, hlim=1) / UDP(), "ttl"),
    "hop limit 0": (ip(6, hlim=0) / UDP(), "ttl"),
    "IPv4 options": (ip(4, options=[ALERT]) / UDP(), "options"),
    "hop-by-hop header": (ip(6) / IPv6ExtHdrHopByHop() / UDP(), "options"),
    "too big, IPv4": (ip(4) / BIG, "too_big"),
    "too big, don't fragment": (ip(4, flags="DF") / BIG, "too_big"),
    "too big, IPv6": (ip(6) / BIG, "too_big"),
    "for the router": (ip(4, dst="10.0.1.1") / TCP(), "local"),
    "for the router, TTL 1": (ip(4, dst="10.0.1.1", ttl=1) / TCP(), "local"),
    "for its other interface": (ip(4, dst="10.0.2.1") / TCP(), "local"),
    "for the router, IPv6": (ip(6, dst="2001:db8:2::1") / TCP(), "local"),
    "to loopback": (ip(4, dst="127.0.0.1") / TCP(), "local"),
    "to link-local": (ip(6, dst="fe80::1") / TCP(), "local"),
    "to link-local, IPv4": (ip(4, dst="169.254.0.1") / TCP(), "local"),
    "to a multicast group": (ip(4, dst="224.0.0.5") / UDP(), "local"),
    "to all hosts": (ip(4, dst="255.255.255.255") / UDP(), "local"),
    "from link-local": (ip(6, src="fe80::10") / UDP(), "link_local"),
    "ARP": (ARP(op="is-at", psrc="10.0.1.10", pdst="10.0.1.1"), "control"),
    "a VLAN tag": (Dot1Q(vlan=5) / ip(4) / UDP(), "control"),
}

GROUPS: dict[str, tuple[str, Packet, str]] = {
    "ARP request": (BROADCAST, ARP(pdst="10.0.1.1"), "control"),
    "broadcast": (BROADCAST, ip(4, dst="10.0.1.255") / UDP(), "link_local"),
    "IPv4 multicast": (MULTICAST4, ip(4, dst="224.0.0.5", ttl=1) / Raw(b"x"), "link_local"),
    "IPv6 multicast": (MULTICAST6, ip(6, dst="ff02::1", hlim=255) / ICMPv6ND_NS(), "link_local"),
    "unicast in a broadcast": (BROADCAST, ip(4) / UDP(), "link_local"),
    "LLDP": ("01:80:c2:00:00:0e", Raw(b"\x02\x07"), "control"),
}

MARTIANS = {
    4: ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.255", "224.0.0.1", "239.1.1.1",
        "239.255.255.255", "255.255.255.255"],
    6: ["::", "::1", "ff00::", "ff02::1", "ffff::1"],
}  # fmt: skip
NEIGHBOURS_OF_MARTIANS = {
    4: [
        "1.0.0.0",
        "126.255.255.255",
        "128.0.0.1",
        "223.255.255.255",
        "240.0.0.1",
        "255.255.255.254",
    ],
    6: ["::2", "::1:0:0:1", "1::", "fe00::1", "febf:ffff::1", "fec0::1"],
}


def check_punted(bench: Bench, frame: Packet | bytes, reason: str) -> None:
    """The frame goes to the router's kernel as it came."""
    outcome = bench.run("lan", frame)
    assert (outcome.egress, outcome.frame) == ("gw:lan", bytes(frame))
    once = (1, len(bytes(frame)))
    assert outcome.counted == {
        ("received", "lan", reason): once,
        ("reason", "gw", reason): once,
        ("sent", "gw:lan"): once,
    }


def check_dropped(bench: Bench, frame: Packet | bytes, reason: str) -> None:
    """The frame is dropped by the router."""
    outcome = bench.run("lan", frame)
    once = (1, len(bytes(frame)))
    assert outcome.egress is None
    assert outcome.counted == {
        ("received", "lan", reason): once,
        ("reason", "gw", reason): once,
    }


@pytest.mark.parametrize("case", PUNTED)
def test_leaves_to_the_kernel(bench: Bench, case: str) -> None:
    packet, reason = PUNTED[case]
    check_punted(bench, ether(bench, "lan", "gw:lan") / packet, reason)


@pytest.mark.parametrize("case", GROUPS)
def test_leaves_group_frames_to_the_kernel(bench: Bench, case: str) -> None:
    mac, packet, reason = GROUPS[case]
    check_punted(bench, Ether(src=bench.mac("lan"), dst=mac, type=_type(packet)) / packet, reason)


def _type(packet: Packet) -> int:
    return {IP: 0x0800, IPv6: 0x86DD, ARP: 0x0806}.get(type(packet), 0x88CC)


@pytest.mark.parametrize("version", [4, 6])
def test_trailing_bytes_are_the_kernels_to_trim(bench: Bench, version: int) -> None:
    frame = ether(bench, "lan", "gw:lan") / ip(version) / UDP()
    check_punted(bench, padded(frame, 63), "padding")


@pytest.mark.parametrize("version", [4, 6])
def test_no_route_is_the_kernels_to_report(bench: Bench, version: int) -> None:
    router = bench.routers["gw"]
    router.clear()
    try:
        check_punted(bench, ether(bench, "lan", "gw:lan") / ip(version) / UDP(), "local")
    finally:
        fill_from_topology(router)


@pytest.mark.parametrize("version", [4, 6])
def test_an_interface_that_is_down_forwards_nothing(bench: Bench, version: int) -> None:
    router = bench.routers["gw"]
    router.interface("lan", up=False)
    try:
        check_punted(bench, ether(bench, "lan", "gw:lan") / ip(version) / UDP(), "local")
    finally:
        router.interface("lan", up=True)


@pytest.mark.parametrize("version", [4, 6])
def test_blackhole_routes_drop(bench: Bench, version: int) -> None:
    prefix, inside = {
        4: ("192.0.2.0/24", "192.0.2.9"),
        6: ("2001:db8:bad::/48", "2001:db8:bad::9"),
    }[version]
    bench.routers["gw"].blackhole(prefix)
    frame = ether(bench, "lan", "gw:lan") / ip(version, dst=inside) / UDP()
    check_dropped(bench, frame, "blackhole")


@pytest.mark.parametrize("packet", [ip(4) / UDP(), ip(6) / UDP(), ARP()])
def test_drops_frames_for_other_stations(bench: Bench, packet: Packet) -> None:
    check_dropped(bench, ether(bench, "lan", "wan") / packet, "other_host")


@pytest.mark.parametrize("byte", range(6))
def test_every_byte_of_the_mac_address_counts(bench: Bench, byte: int) -> None:
    mac = bytearray.fromhex(bench.mac("gw:lan").replace(":", ""))
    mac[byte] ^= 0x40
    frame = bytes(mac) + bytes(ether(bench, "lan", "gw:lan") / ip(4) / UDP())[6:]
    check_dropped(bench, frame, "other_host")


def test_drops_wrong_ipv4_checksums(bench: Bench) -> None:
    """Any single bit of the header wrong is noticed, or makes it another kind of packet."""
    frame = bytes(ether(bench, "lan", "gw:lan") / ip(4) / UDP())
    reasons = set()
    for bit in range(14 * 8, 34 * 8):
        wrong = bytearray(frame)
        wrong[bit // 8] ^= 0x80 >> bit % 8
        outcome = bench.run("lan", bytes(wrong))
        assert outcome.egress != "wan", f"bit {bit}"
        reasons.add(outcome.reason)
    assert reasons == {"checksum", "malformed", "options"}


@pytest.mark.parametrize("address", MARTIANS[4] + MARTIANS[6])
def test_drops_sources_that_no_host_has(bench: Bench, address: str) -> None:
    packet = ip(6 if ":" in address else 4, src=address) / UDP()
    check_dropped(bench, ether(bench, "lan", "gw:lan") / packet, "source")


@pytest.mark.parametrize("address", NEIGHBOURS_OF_MARTIANS[4] + NEIGHBOURS_OF_MARTIANS[6])
def test_forwards_sources_next_to_those(bench: Bench, address: str) -> None:
    packet = ip(6 if ":" in address else 4, src=address) / UDP()
    outcome = bench.run("lan", ether(bench, "lan", "gw:lan") / packet)
    expected = "gw:lan" if address.startswith("febf") else "wan"
    assert outcome.egress == expected


CUT: list[Packet] = [
    ip(4) / TCP() / b"payload",
    ip(4, options=[ALERT]) / UDP() / b"payload",
    ip(6) / TCP() / b"payload",
    ip(6) / IPv6ExtHdrFragment(m=1) / UDP() / b"payload",
    ip(6) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / UDP() / b"payload",
]


@pytest.mark.parametrize("packet", CUT, ids=lambda packet: packet.summary())
def test_drops_packets_cut_short_at_any_length(bench: Bench, packet: Packet) -> None:
    frame = bytes(ether(bench, "lan", "gw:lan") / packet)
    for length in filter(lambda end: bench.takes(frame[:end]), range(14, len(frame))):
        verdict, _ = bench.execute("lan", frame[:length])
        assert verdict == bpf.XDP_DROP, f"{length} of {len(frame)} bytes"
    assert bench.execute("lan", frame)[0] == bpf.XDP_REDIRECT


CONTRADICTORY: dict[str, Packet] = {
    "version 5": ip(4, version=5) / UDP(),
    "header of 16 bytes": ip(4, ihl=4) / UDP(),
    "length shorter than the header": ip(4, len=19) / UDP(),
    "length longer than the frame": ip(4, len=29) / UDP(),
    "IPv6 version 4": ip(6, version=4) / UDP(),
    "IPv6 length longer than the frame": ip(6, plen=9) / UDP(),
}


@pytest.mark.parametrize("case", CONTRADICTORY)
def test_drops_contradictory_headers(bench: Bench, case: str) -> None:
    outcome = bench.run("lan", ether(bench, "lan", "gw:lan") / CONTRADICTORY[case])
    assert (outcome.egress, outcome.reason) == (None, "malformed")
