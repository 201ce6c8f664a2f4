"""NAT: which outside endpoints inside ones get, byte by byte, and who may send to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.functions.bench import Bench
from tests.functions.frames import ether
from tests.functions.natting import (
    INSIDE,
    OTHER,
    OUTSIDE,
    REMOTE,
    STRANGER,
    age,
    answer,
    arp,
    ends,
    locate,
    mapped,
    nat,
    out,
    pool,
    renewed,
    send,
    tcp,
    udp,
)

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("forgotten")]

TOPOLOGY = nat(pool(), "filtering: independent")


PACKETS = [
    udp(),
    udp(sport=1024, dport=1),
    tcp(),
    tcp("A"),
    IP(src=INSIDE, dst=REMOTE) / ICMP(id=5000, seq=3) / Raw(b"ping"),
    IP(src=INSIDE, dst=REMOTE) / UDP(sport=5000, dport=9, chksum=0) / Raw(b"without"),
    IP(src=INSIDE, dst=REMOTE, options=b"\x94\x04\0\0") / UDP(sport=5000, dport=9) / Raw(b"x"),
]


@pytest.mark.parametrize("packet", PACKETS, ids=range(len(PACKETS)))
def test_there_and_back(bench: Bench, packet: Any) -> None:
    """With the port kept, the address alone differs; the answer finds back."""
    went = out(bench, packet)
    expected = IP(bytes(packet))
    expected.src = OUTSIDE
    assert bytes(went) == renewed(expected)
    came = out(bench, answer(went), "wan")
    assert ends(came) == ends(answer(packet))
    assert mapped(bench) == 1


def test_a_known_flow_is_translated_to_the_same_bytes(bench: Bench) -> None:
    for packet in (udp(), tcp("A")):
        walked, known = send(bench, packet), send(bench, packet)
        assert walked.frame == known.frame
        assert walked.counted == known.counted
        back = answer(Ether(walked.frame)[IP], "A")
        assert send(bench, back, "wan").frame == send(bench, back, "wan").frame
    assert sum(packets for packets, _ in bench.known().received.values()) >= 4


def test_a_port_that_is_taken_gives_another_and_keeps_its_own(bench: Bench) -> None:
    first, second = out(bench, udp()), out(bench, udp(src=OTHER))
    assert first.sport == 5000
    assert second.sport not in (5000, *range(1024))
    assert ends(out(bench, answer(first), "wan"))[2:] == (INSIDE, 5000)
    assert ends(out(bench, answer(second), "wan"))[2:] == (OTHER, 5000)
    assert out(bench, udp(src=OTHER)).sport == second.sport


def test_ports_of_protocols_are_apart(bench: Bench) -> None:
    assert [out(bench, packet).sport for packet in (udp(), tcp())] == [5000, 5000]
    assert out(bench, IP(src=OTHER, dst=REMOTE) / ICMP(id=5000)).id is not None
    assert mapped(bench) == 3


def test_a_mapping_is_independent_of_the_far_end(bench: Bench) -> None:
    """RFC 4787, REQ-1."""
    seen = {
        ends(out(bench, udp(dst=far, dport=port)))[:2]
        for far in (REMOTE, STRANGER)
        for port in (1, 2)
    }
    assert seen == {(OUTSIDE, 5000)}
    assert mapped(bench) == 1


@pytest.mark.parametrize(
    ("other", "count"),
    [
        ((pool(), "mapping: address"), 2),
        ((pool(), "mapping: address-port"), 4),
    ],
    indirect=["other"],
)
def test_a_mapping_may_depend_on_the_far_end(other: Bench, count: int) -> None:
    """Each far end sees another port, and answers to it."""
    went = [out(other, udp(dst=far, dport=port)) for far in (REMOTE, STRANGER) for port in (1, 2)]
    assert len({packet.sport for packet in went}) == count == mapped(other)
    for packet in went:
        assert ends(out(other, answer(packet), "wan"))[2:] == (INSIDE, 5000)


FILTERS = [
    ("independent", {"same", "port", "address"}),
    ("address", {"same", "port"}),
    ("address-port", {"same"}),
]


@pytest.mark.parametrize(
    ("other", "allowed"),
    [((pool(), f"filtering: {name}"), allowed) for name, allowed in FILTERS],
    indirect=["other"],
)
@pytest.mark.parametrize("make", [udp, tcp])
def test_who_may_send(other: Bench, allowed: set[str], make: Any) -> None:
    """RFC 4787, section 5; RFC 5382, REQ-3."""
    went = out(other, make())
    tried = {
        "same": answer(went),
        "port": answer(went),
        "address": answer(went),
    }
    tried["port"].sport = 4444
    tried["address"].src = STRANGER
    passed = {name for name, packet in tried.items() if out(other, packet, "wan") != "unsolicited"}
    assert passed == allowed


@pytest.mark.parametrize("other", [(pool(), "filtering: address-port")], indirect=True)
def test_leave_to_send_ends(other: Bench) -> None:
    """With the mapping, or when nothing went to that far end for as long."""
    permits = other.map_of("nat", "permits")
    for port in (1, 2):
        out(other, udp(dport=port))
    age(other, 70)
    assert len(list(permits.items())) == 2
    age(other, 320)
    assert list(permits.items()) == []


def test_nothing_comes_in_by_itself(bench: Bench) -> None:
    """RFC 5382, REQ-4: a SYN is not answered."""
    for packet in (
        IP(src=REMOTE, dst=OUTSIDE) / TCP(sport=1, dport=5000, flags="S"),
        IP(src=REMOTE, dst=OUTSIDE) / UDP(sport=1, dport=5000),
        IP(src=REMOTE, dst=OUTSIDE) / ICMP(),
        IP(src=REMOTE, dst=OUTSIDE) / ICMP(type=0, id=1),
        IP(src=REMOTE, dst=OUTSIDE, proto=47) / Raw(b"gre"),
    ):
        assert out(bench, packet, "wan") == "unsolicited"
    assert mapped(bench) == 0


def test_a_query_does_not_come_in_by_the_mapping_of_another(bench: Bench) -> None:
    out(bench, IP(src=INSIDE, dst=REMOTE) / ICMP(id=7777))
    assert out(bench, IP(src=REMOTE, dst=OUTSIDE) / ICMP(id=7777), "wan") == "unsolicited"
    assert out(bench, IP(src=REMOTE, dst=OUTSIDE) / ICMP(type=0, id=7777), "wan").dst == INSIDE


def test_what_is_for_others_passes(bench: Bench) -> None:
    """Groups, IPv6, and what is to no outside address."""
    group = IP(src=INSIDE, dst="224.0.0.5", ttl=1) / UDP(sport=1, dport=2)
    assert bytes(out(bench, group)) == bytes(group)
    elsewhere = IP(src=REMOTE, dst="203.0.113.1") / UDP(sport=1, dport=2)
    assert bytes(out(bench, elsewhere, "wan")) == bytes(elsewhere)
    frame = ether(bench, "lan", "wan") / IPv6(dst="2001:db8::1") / UDP()
    assert bench.run("lan", frame).frame == bytes(frame)


@pytest.mark.parametrize("flags", ["R", "RA"])
def test_a_reset_makes_no_mapping(bench: Bench, flags: str) -> None:
    assert out(bench, tcp(flags)) == "invalid"
    assert mapped(bench) == 0


def test_headers_cut_short(bench: Bench) -> None:
    for protocol in (1, 6, 17):
        whole = IP(src=INSIDE, dst=REMOTE, proto=protocol)
        assert out(bench, whole / Raw(b"abc")) == "malformed"


@pytest.mark.parametrize("protocol", [47, 50, 132])
def test_protocols_without_ports_have_the_address(bench: Bench, protocol: int) -> None:
    """One inside host for each protocol and outside address."""
    there: Any = IP(src=INSIDE, dst=REMOTE, proto=protocol) / Raw(b"\1\2\3\4whatever it is")
    went = out(bench, there)
    assert (went.src, bytes(went.payload)) == (OUTSIDE, bytes(there.payload))
    back = IP(src=REMOTE, dst=OUTSIDE, proto=protocol) / Raw(b"\1\2\3\4an answer")
    assert out(bench, back, "wan").dst == INSIDE
    second = IP(src=OTHER, dst=REMOTE, proto=protocol) / Raw(b"\1\2\3\4")
    assert ("reason", "nat", "ports") in send(bench, second).counted


def offers(options: list[Any], flags: str) -> Any:
    """A segment with TCP options."""
    return IP(src=INSIDE, dst=REMOTE) / TCP(sport=5000, dport=80, flags=flags, options=options)


@pytest.mark.parametrize("other", [(pool(), "filtering: independent", "mss: 1400")], indirect=True)
def test_segments_are_bounded(other: Bench) -> None:
    """At even and odd places; smaller ones stay, and so does what is no SYN."""
    nop, scale = ("NOP", None), ("WScale", 7)
    for before in ([], [nop], [nop, nop], [("SAckOK", b""), scale], [scale, nop, nop]):
        for flags in ("S", "SA"):
            went = out(other, offers([*before, ("MSS", 1460), ("Timestamp", (1, 2))], flags))
            assert dict(went[TCP].options)["MSS"] == 1400
    back = answer(out(other, offers([("MSS", 1200)], "S")))
    assert dict(back[TCP].options) == {}
    back[TCP].options = [("MSS", 9000)]
    assert dict(out(other, back, "wan")[TCP].options)["MSS"] == 1400
    assert dict(out(other, offers([("MSS", 1200)], "S"))[TCP].options)["MSS"] == 1200
    assert dict(out(other, offers([("MSS", 1460)], "A"))[TCP].options)["MSS"] == 1460


@pytest.mark.parametrize("other", [(pool(), "mss: 1400")], indirect=True)
@pytest.mark.parametrize(
    "options",
    ["00000000", "02000000", "02020000", "0300000003030303", "01010102", "0204", "ff" * 40],
)
def test_options_that_are_none(other: Bench, options: str) -> None:
    raw = bytes.fromhex(options).ljust((len(options) // 2 + 3) // 4 * 4, b"\0")
    header = bytearray(bytes(tcp())[20:] + raw)
    header[12] = len(header) // 4 << 4
    header[16:18] = b"\0\0"
    packet = IP(bytes(IP(src=INSIDE, dst=REMOTE, proto=6) / Raw(bytes(header))))
    outcome = send(other, packet)
    assert outcome.egress == "wan"
    assert outcome.frame[54:] == raw


SMALL = ("pools: [{outside: 192.0.2.1, ports: 1024-1151}]", "filtering: independent")


@pytest.mark.parametrize("other", [SMALL], indirect=True)
def test_every_port_is_used_once_and_then_none_is_left(other: Bench) -> None:
    """What is refused is told (RFC 6888, REQ-4): by ICMP 3/13."""
    seen = {out(other, udp(sport=3000 + number)).sport for number in range(128)}
    assert seen == set(range(1024, 1152))
    refused = send(other, udp(sport=4000))
    assert refused.egress == "lan"
    error = Ether(refused.frame)
    assert (error[ICMP].type, error[ICMP].code, error[IP].dst) == (3, 13, INSIDE)
    assert ("reason", "nat", "ports") in refused.counted
    assert out(other, udp(sport=3000)).src == OUTSIDE


@pytest.mark.parametrize("other", [(*SMALL, "mappings: 4")], indirect=True)
def test_a_full_table_refuses_what_is_new(other: Bench) -> None:
    for number in range(4):
        out(other, udp(sport=1024 + number))
    assert ("reason", "nat", "table_full") in send(other, udp(sport=1100)).counted
    assert out(other, udp(sport=1024)).sport == 1024
    assert mapped(other) == 4


@pytest.mark.parametrize("other", [(pool(), "port_choice: random")], indirect=True)
def test_random_ports(other: Bench) -> None:
    """RFC 6056: what an inside host does says nothing of the next port."""
    ports = [out(other, udp(sport=2000 + number)).sport for number in range(64)]
    assert len(set(ports)) == 64
    assert max(ports) - min(ports) > 32768
    assert sum(abs(a - b) == 1 for a, b in pairwise(ports)) < 3


@pytest.mark.parametrize(
    "other", [(pool(), "port_choice: random", "port_parity: true")], indirect=True
)
def test_parity(other: Bench) -> None:
    """RFC 4787, section 4.2.2."""
    for sport in range(2000, 2032):
        assert out(other, udp(sport=sport)).sport % 2 == sport % 2


@pytest.mark.parametrize("other", [(pool("192.0.2.0/28"),)], indirect=True)
def test_an_inside_host_has_one_address_of_a_pool(other: Bench) -> None:
    """RFC 4787, REQ-2: paired; and the hosts spread."""
    used = {}
    for host in range(1, 65):
        src = f"10.0.1.{host}"
        used[src] = {out(other, make(src=src)).src for make in (udp, tcp)}
    assert {len(addresses) for addresses in used.values()} == {1}
    assert len(set.union(*used.values())) > 8


@pytest.mark.parametrize("other", [(pool("192.0.2.0/28"), "pairing: arbitrary")], indirect=True)
def test_an_inside_host_may_use_all_addresses(other: Bench) -> None:
    assert len({out(other, udp(sport=2000 + number)).src for number in range(64)}) > 8


POOLS = (
    "pools:",
    "  - {inside: 10.0.1.10, outside: 192.0.2.5}",
    "  - {inside: [10.0.1.0/28, 10.0.2.0/24], outside: [192.0.2.8/30, 192.0.2.99]}",
)


@pytest.mark.parametrize("other", [POOLS], indirect=True)
def test_the_first_pool_that_fits(other: Bench) -> None:
    assert out(other, udp()).src == "192.0.2.5"
    some = {out(other, udp(src=f"10.0.2.{host}")).src for host in range(1, 60)}
    assert some == {"192.0.2.8", "192.0.2.9", "192.0.2.10", "192.0.2.11", "192.0.2.99"}
    foreign = udp(src="10.0.1.200")
    assert bytes(out(other, foreign)) == bytes(IP(bytes(foreign)))


DETERMINISTIC = (
    "pools: [{inside: 10.0.1.0/24, outside: 192.0.2.0/30, deterministic: true}]",
    "filtering: independent",
)


@pytest.mark.parametrize("other", [DETERMINISTIC], indirect=True)
def test_deterministic_ports(other: Bench) -> None:
    """RFC 7422: address and ports say which inside address it is, without a log."""
    size = 64512 // 64 // 64 * 64
    for host in (0, 1, 7, 100, 255):
        low = 1024 + host // 4 * size
        for sport in (1, 5000, 65535):
            went = out(other, udp(src=f"10.0.1.{host}", sport=sport))
            assert went.src == f"192.0.2.{host % 4}"
            assert low <= went.sport < low + size


def test_a_mapping_ends_when_nothing_went_out_for_long(bench: Bench) -> None:
    out(bench, udp())
    age(bench, 290)
    assert mapped(bench) == 1
    age(bench, 320)
    assert mapped(bench) == 0
    assert out(bench, udp(src=OTHER)).sport == 5000


@pytest.mark.parametrize(
    ("segments", "ends_after"),
    [
        ([], 240),
        ([">A"], 240),
        (["<SA", ">A"], 7440),
        (["<SA", ">A", ">FA"], 7440),
        (["<SA", ">A", ">FA", "<FA"], 240),
        (["<RA"], 240),
        (["<SA", ">A", ">R"], 240),
        (["<SA", ">A", ">FA", "<FA", ">S", "<SA"], 7440),
    ],
)
def test_tcp_mappings_end_by_state(bench: Bench, segments: list[str], ends_after: int) -> None:
    """RFC 5382, REQ-5."""
    went = out(bench, tcp())
    for segment in segments:
        if segment[0] == ">":
            out(bench, tcp(segment[1:]))
        else:
            out(bench, answer(went, segment[1:]), "wan")
    age(bench, ends_after - 5)
    assert mapped(bench) == 1
    age(bench, ends_after + 20)
    assert mapped(bench) == 0


def test_packets_in_do_not_keep_a_mapping(bench: Bench) -> None:
    """RFC 4787, REQ-6: what comes from outside alone keeps nothing open."""
    went = out(bench, udp())
    before = dict(bench.map_of("nat", "outward").items())
    out(bench, answer(went), "wan")
    assert dict(bench.map_of("nat", "outward").items()) == before


@pytest.mark.parametrize("other", [(*SMALL, "hold_down: 120")], indirect=True)
def test_a_port_is_held_down(other: Bench) -> None:
    """RFC 6888, REQ-8: for a while nobody else has it, and nothing comes in by it."""
    went = out(other, udp(sport=1030))
    age(other, 320)
    assert out(other, answer(went), "wan") == "unsolicited"
    assert out(other, udp(sport=1030, src=OTHER)).sport != 1030
    age(other, 420)
    age(other, 440)
    assert out(other, udp(sport=1030, src="10.0.1.12")).sport == 1030


ROUTED = """
name: bench-nat-routed
saps:
  lan: {kind: host, ip: 10.0.1.10/24}
  wan: {kind: host, ip: 192.0.2.254/24}
vnfs:
  fw: {type: firewall, rules: [{name: all, action: accept}]}
  gw:
    type: router
    interfaces: {lan: {ip: 10.0.1.1/24}, wan: {ip: 192.0.2.1/24}}
  nat: {type: nat, masquerade: "gw:wan"}
chains:
  inside: {path: [lan, fw, "gw:lan"]}
  outside: {path: ["gw:wan", nat, wan]}
"""


@pytest.fixture
def routed(bench: Bench) -> Iterator[Bench]:
    with closing(Bench(ROUTED, hook=bench.hook)) as found:
        locate(found, masquerade="192.0.2.1")
        yield found


def test_firewall_nat_and_router_are_one_hit(routed: Bench) -> None:
    """A packet of an established connection is found once, and becomes and counts as if it walked.

    What is counted are the ports, the firewall's rule, the NAT's translation, and the router.
    """
    near = ether(routed, "lan", "gw:lan") / IP(src=INSIDE, dst="192.0.2.254")
    far = ether(routed, "wan", "gw:wan") / IP(src="192.0.2.254", dst="192.0.2.1")
    sides = {"lan": near / TCP(sport=5000, dport=80), "wan": far / TCP(sport=80, dport=5000)}
    for side, flags in (("lan", "S"), ("wan", "SA")):
        sides[side][TCP].flags = flags
        routed.run(side, sides[side])
    assert not routed.known().received
    for side, packet in sides.items():
        packet[TCP].flags = "A"
        walked, known = routed.run(side, packet), routed.run(side, packet)
        assert (known.frame, known.counted) == (walked.frame, walked.counted)
        ends = ("192.0.2.1", "192.0.2.254") if side == "lan" else ("192.0.2.254", INSIDE)
        assert (Ether(known.frame)[IP].src, Ether(known.frame)[IP].dst) == ends
        other, direction = ("wan", "out") if side == "lan" else ("lan", "in")
        assert known.counted.keys() == {
            ("received", side, "forwarded"),
            ("rule", "fw", "all"),
            ("reason", "gw", "forwarded"),
            ("rule", "nat", direction),
            ("sent", other),
        }
        assert {packets for packets, _octets in known.counted.values()} == {1}
    hits = [packets for packets, _octets in routed.known().received.values() if packets]
    assert hits == [1, 1]


def test_masquerade_follows_the_address(routed: Bench) -> None:
    packet = ether(routed, "lan", "gw:lan") / IP(src=INSIDE, dst="192.0.2.254") / UDP(sport=5000)
    assert Ether(routed.run("lan", packet).frame)[IP].src == "192.0.2.1"
    locate(routed, masquerade="192.0.2.77")
    routed.forget_flows()
    assert Ether(routed.run("lan", packet).frame)[IP].src == "192.0.2.77"
    locate(routed)
    routed.forget_flows()
    assert ("reason", "nat", "ports") in routed.run("lan", packet).counted


@pytest.mark.parametrize("other", [(pool("192.0.2.0/28"),)], indirect=True)
def test_arp_for_addresses_that_no_host_has(other: Bench) -> None:
    locate(other, inside=other.mac("lan"))
    asked = arp(other, "wan", "192.0.2.5", REMOTE)
    told = Ether(asked.frame)["ARP"]
    assert asked.egress == "wan"
    assert (told.op, told.psrc, told.hwsrc) == (2, "192.0.2.5", other.mac("lan"))
    assert (told.pdst, told.hwdst) == (REMOTE, other.mac("wan"))
    assert arp(other, "wan", "192.0.2.55", REMOTE).egress == "lan"
    assert Ether(arp(other, "lan", "192.0.2.5", INSIDE).frame)["ARP"].hwsrc == "02:6e:61:74:00:01"
    assert arp(other, "lan", "192.0.2.5", "192.0.2.5").egress == "wan"  # nobody asks for itself
