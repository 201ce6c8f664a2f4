"""What of a chain's packets the function dhcp takes, and how its service's frames go on."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import DHCP6_Solicit
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import ARP, Ether

from nfv.services.dhcp.repeats import Repeats, Said
from tests.functions.bench import Bench

TOPOLOGY = """
name: dhcp
saps:
  lan: {kind: host, ip: 10.0.1.10/24}
  far: {kind: host, ip: 10.0.1.11/24}
  other: {kind: host, ip: 10.0.2.10/24}
  end: {kind: host, ip: 10.0.2.11/24}
vnfs:
  fw: {type: firewall, stateless: true, default: accept, rules: [{action: drop, dst: 10.0.1.66}]}
  dhcp:
    type: dhcp
    ip: [10.0.1.2/24, 10.0.2.2/24, 2001:db8:1::2/64]
    subnets: [{network: 10.0.1.0/24}]
    ipv6: {options: {dns: 2001:db8:1::53}}
chains:
  inside: {path: [lan, fw, dhcp, far]}
  second: {path: [other, dhcp, end]}
"""

SERVICE = "dhcp:service"
CLIENT = "02:00:00:00:00:99"
INSIDE, BACK, SECOND, SECOND_BACK = range(4)
REASON = 23


def message(kind: str = "discover", dst: str = "255.255.255.255") -> Any:
    asked = BOOTP(chaddr=bytes.fromhex(CLIENT.replace(":", ""))) / DHCP(
        options=[("message-type", kind), "end"]
    )
    frame = Ether(src=CLIENT, dst="ff:ff:ff:ff:ff:ff")
    return frame / IP(src="0.0.0.0", dst=dst) / UDP(sport=68, dport=67) / asked


def header(bench: Bench, stage: int, place: str = "", reason: int = 0) -> bytes:
    ports = {str(name): port.number for name, port in bench.wiring.ports.items()}
    return struct.pack("=IIII", stage, ports.get(place, 0), reason, 0)


@pytest.mark.parametrize(
    ("place", "stage"), [("lan", INSIDE), ("far", BACK), ("other", SECOND), ("end", SECOND_BACK)]
)
def test_a_clients_message_goes_to_the_service(bench: Bench, place: str, stage: int) -> None:
    frame = bytes(message())
    outcome = bench.run(place, frame)

    assert outcome.egress == SERVICE
    assert outcome.frame == header(bench, stage, place, REASON) + frame
    assert outcome.reason == "service"
    assert outcome.counted[("reason", "dhcp", "service")] == (1, len(frame))


@pytest.mark.parametrize(
    ("stage", "egress"), [(INSIDE, "far"), (BACK, "lan"), (SECOND, "end"), (SECOND_BACK, "other")]
)
def test_the_services_frames_resume_where_they_say(bench: Bench, stage: int, egress: str) -> None:
    frame = bytes(Ether(src="02:00:00:00:00:01") / IP(src="10.0.1.2") / UDP() / b"an answer")
    outcome = bench.run(SERVICE, header(bench, stage) + frame)

    assert (outcome.egress, outcome.frame, outcome.reason) == (egress, frame, "forwarded")


def test_answers_pass_the_functions_on_their_way(bench: Bench) -> None:
    frame = Ether() / IP(src="10.0.1.2", dst="10.0.1.66") / UDP()

    assert bench.run(SERVICE, header(bench, BACK) + bytes(frame)).reason == "rule"
    assert bench.run(SERVICE, header(bench, INSIDE) + bytes(frame)).egress == "far"


@pytest.mark.parametrize("stage", [4, 0xFFFF, 0x10000, 0xFFFFFFFF])
def test_a_stage_that_is_none_is_dropped(bench: Bench, stage: int) -> None:
    outcome = bench.run(SERVICE, header(bench, stage) + bytes(message()))

    assert (outcome.egress, outcome.reason) == (None, "no_chain")


def test_frames_too_short_for_the_header_are_dropped(bench: Bench) -> None:
    assert bench.run(SERVICE, bytes(14)).egress is None


@pytest.mark.parametrize("address", ["10.0.1.2", "10.0.2.2"])
def test_own_addresses_are_the_services(bench: Bench, address: str) -> None:
    asked = [
        Ether(src=CLIENT, dst="ff:ff:ff:ff:ff:ff") / ARP(pdst=address, hwsrc=CLIENT),
        Ether(src=CLIENT) / IP(src="10.0.1.9", dst=address) / ICMP(),
        Ether(src=CLIENT) / IP(src="10.0.1.9", dst=address) / UDP(sport=68, dport=67) / bytes(300),
    ]
    assert [bench.run("lan", frame).egress for frame in asked] == [SERVICE] * 3


@pytest.mark.parametrize(
    "frame",
    [
        Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(pdst="10.0.1.3"),
        Ether() / IP(dst="10.0.1.3") / ICMP(),
        Ether() / IP(dst="10.0.1.2") / UDP(dport=53),
        Ether() / IP(dst="10.0.1.3") / UDP(sport=68, dport=67),
    ],
    ids=["ARP", "ping", "UDP", "another server"],
)
def test_what_is_for_others_passes(bench: Bench, frame: Any) -> None:
    outcome = bench.run("lan", bytes(frame))

    assert (outcome.egress, outcome.frame) == ("far", bytes(frame))


def test_other_servers_do_not_reach_clients(bench: Bench) -> None:
    answer = Ether() / IP(src="10.0.1.66", dst="255.255.255.255") / UDP(sport=67, dport=68)

    assert bench.run("far", bytes(answer / bytes(300))).reason == "rogue"


def test_messages_in_fragments_are_dropped(bench: Bench) -> None:
    first = Ether() / IP(dst="255.255.255.255", flags="MF") / UDP(sport=68, dport=67)

    assert bench.run("lan", bytes(first / bytes(300))).reason == "fragment"


# DHCPv6 ------------------------------------------------------------------------------------------


def solicit(dst: str = "ff02::1:2", sport: int = 546, dport: int = 547) -> Any:
    frame = Ether(src=CLIENT, dst="33:33:00:01:00:02") / IPv6(src="fe80::99", dst=dst)
    return frame / UDP(sport=sport, dport=dport) / DHCP6_Solicit()


@pytest.mark.parametrize("dst", ["ff02::1:2", "ff05::1:3", "2001:db8:1::2"])
def test_a_dhcpv6_message_goes_to_the_service(bench: Bench, dst: str) -> None:
    frame = bytes(solicit(dst))
    outcome = bench.run("lan", frame)

    assert outcome.egress == SERVICE
    assert outcome.frame == header(bench, INSIDE, "lan", REASON) + frame


@pytest.mark.parametrize("dst", ["ff02::1:3", "ff05::1:2", "ff02::1", "2001:db8:1::3"])
def test_what_is_for_another_dhcpv6_server_passes(bench: Bench, dst: str) -> None:
    assert bench.run("lan", bytes(solicit(dst))).egress == "far"


def test_other_dhcpv6_servers_do_not_reach_clients(bench: Bench) -> None:
    answer = bytes(solicit("fe80::99", 547, 546))

    assert bench.run("far", answer).reason == "rogue"
    assert bench.run("far", bytes(solicit("fe80::99", 547, 547))).egress == "lan"


def test_dhcpv6_messages_in_fragments_are_dropped(bench: Bench) -> None:
    whole: Any = Ether() / IPv6(dst="ff02::1:2") / IPv6ExtHdrFragment(m=1)
    first = whole / UDP(sport=546, dport=547, len=600) / bytes(560)

    assert bench.run("lan", bytes(first)).reason == "fragment"


def test_own_ipv6_addresses_are_the_services(bench: Bench) -> None:
    near = Ether(src=CLIENT) / IPv6(src="2001:db8:1::9", dst="2001:db8:1::2", hlim=255)
    asked = [
        near / ICMPv6ND_NS(tgt="2001:db8:1::2"),
        near / ICMPv6ND_NA(tgt="2001:db8:1::9"),
        near / ICMPv6EchoRequest(),
    ]
    assert [bench.run("lan", bytes(frame)).egress for frame in asked] == [SERVICE] * 3
    passing = Ether(src=CLIENT) / IPv6(src="2001:db8:1::9", dst="2001:db8:1::3", hlim=255)
    assert bench.run("lan", bytes(passing / ICMPv6ND_NS(tgt="2001:db8:1::3"))).egress == "far"
    assert bench.run("lan", bytes(passing / ICMPv6EchoRequest())).egress == "far"


def test_a_function_without_dhcpv6_leaves_it_alone() -> None:
    bench = Bench(TOPOLOGY.replace("    ipv6: {options: {dns: 2001:db8:1::53}}\n", ""))
    outcomes = [
        bench.run("lan", bytes(solicit())).egress,
        bench.run("far", bytes(solicit("fe80::99", 547, 546))).egress,
    ]
    bench.close()

    assert outcomes == ["far", "lan"]


def test_the_guard_can_be_left_out() -> None:
    bench = Bench(TOPOLOGY.replace("type: dhcp\n", "type: dhcp\n    guard: false\n"))
    answer = Ether() / IP(src="10.0.1.66", dst="255.255.255.255") / UDP(sport=67, dport=68)
    outcome = bench.run("far", bytes(answer / bytes(300)))
    bench.close()

    assert outcome.egress == "lan"


# Answers that are given again --------------------------------------------------------------------

ADDRESS = IPv4Address("10.0.1.77")
SECONDS = 600
MAC = bytes.fromhex(CLIENT.replace(":", ""))


@pytest.fixture
def repeats(bench: Bench) -> Iterator[Repeats]:
    leases = bench.map_of("dhcp", "leases")
    found = Repeats(bench.map_of("dhcp", "repeats"), leases)
    yield found
    found.revoke(ADDRESS)


def now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def renewal(xid: int = 7, padding: int = 0, **fields: Any) -> Any:
    options = [("message-type", "request"), ("param_req_list", [1, 3, 6]), "end"]
    asked = BOOTP(chaddr=MAC, xid=xid, ciaddr=str(ADDRESS), **fields) / DHCP(options=options)
    frame = Ether(src=CLIENT, dst="02:00:00:00:00:01") / IP(src=str(ADDRESS), dst="10.0.1.2")
    return frame / UDP(sport=68, dport=67) / (bytes(asked).ljust(300, b"\0") + bytes(padding))


def ack(size: int, xid: int = 0) -> bytes:
    """The frame of an answer, a whole number of times eight bytes long."""
    options = [("message-type", "ack"), ("lease_time", SECONDS), "end"]
    told = bytes(BOOTP(op=2, chaddr=MAC, xid=xid, yiaddr=str(ADDRESS)) / DHCP(options=options))
    frame = Ether(src="02:00:00:00:00:01", dst=CLIENT) / IP(src="10.0.1.2", dst=str(ADDRESS))
    return bytes(frame / UDP(sport=67, dport=68) / told.ljust(size - 42, b"\0"))


def said(frame: Any, answer: bytes, extends: bool = True) -> Said:
    message = bytes(frame[UDP].payload)
    return Said(INSIDE, MAC, message, answer, ADDRESS, SECONDS, extends)


@pytest.mark.parametrize("size", [336, 344, 352, 536])
@pytest.mark.parametrize("padding", [0, 4, 248])
def test_a_client_that_asks_again_is_told_again(
    bench: Bench, repeats: Repeats, size: int, padding: int
) -> None:
    repeats.hold(ADDRESS, now() + 2 * SECONDS * 10**9, SECONDS)
    repeats.remember(said(renewal(padding=padding), ack(size)))
    before = now()
    outcome = bench.run("lan", bytes(renewal(xid=0xDEADBEEF, padding=padding, secs=9)))

    assert outcome.egress == "lan"
    assert outcome.frame == ack(size, xid=0xDEADBEEF)
    assert outcome.counted[("reason", "dhcp", "answered")][0] == 1
    ((address, seen, seconds),) = repeats.renewed()
    assert (address, seconds) == (ADDRESS, SECONDS)
    assert before <= seen <= now()
    assert list(repeats.renewed()) == []


def test_answers_that_promise_nothing_extend_nothing(bench: Bench, repeats: Repeats) -> None:
    repeats.hold(ADDRESS, now() + 2 * SECONDS * 10**9, SECONDS)
    repeats.remember(said(renewal(), ack(352), extends=False))

    assert bench.run("lan", bytes(renewal())).egress == "lan"
    assert list(repeats.renewed()) == []


@pytest.mark.parametrize("held", [0, SECONDS - 1])
def test_nothing_is_promised_beyond_what_is_on_the_disk(
    bench: Bench, repeats: Repeats, held: int
) -> None:
    repeats.hold(ADDRESS, now() + held * 10**9, SECONDS)
    repeats.remember(said(renewal(), ack(352)))

    assert bench.run("lan", bytes(renewal())).egress == SERVICE
    assert list(repeats.renewed()) == []


def test_an_address_that_was_given_back_is_not_promised(bench: Bench, repeats: Repeats) -> None:
    repeats.hold(ADDRESS, now() + 2 * SECONDS * 10**9, SECONDS)
    repeats.remember(said(renewal(), ack(352)))
    assert repeats.revoke(ADDRESS) == (0, SECONDS)
    repeats.hold(IPv4Address("10.0.1.78"), now() + 2 * SECONDS * 10**9, SECONDS)

    assert bench.run("lan", bytes(renewal())).egress == SERVICE
    repeats.revoke(IPv4Address("10.0.1.78"))


@pytest.mark.parametrize(
    ("frame", "place"),
    [
        (renewal(flags="B"), "lan"),
        (renewal(hops=1), "lan"),
        (renewal(giaddr="10.0.1.1"), "lan"),
        (renewal(padding=4), "lan"),
        (renewal(padding=1), "lan"),
        (renewal(padding=400), "lan"),
        (renewal(), "other"),
        (renewal(), "far"),
    ],
    ids=["flags", "hops", "relay", "longer", "odd", "too long", "another chain", "other side"],
)
def test_another_question_goes_to_the_service(
    bench: Bench, repeats: Repeats, frame: Any, place: str
) -> None:
    repeats.hold(ADDRESS, now() + 2 * SECONDS * 10**9, SECONDS)
    repeats.remember(said(renewal(), ack(352)))

    assert bench.run(place, bytes(frame)).egress == SERVICE


def test_another_station_is_not_told_what_the_client_was(bench: Bench, repeats: Repeats) -> None:
    repeats.hold(ADDRESS, now() + 2 * SECONDS * 10**9, SECONDS)
    repeats.remember(said(renewal(), ack(352)))
    frame = renewal()
    frame.src = "02:00:00:00:00:98"

    assert bench.run("lan", bytes(frame)).egress == SERVICE


def test_what_was_promised_is_known_to_the_next_process(bench: Bench, repeats: Repeats) -> None:
    repeats.hold(ADDRESS, now() + 2 * SECONDS * 10**9, SECONDS)
    repeats.remember(said(renewal(), ack(352)))
    bench.run("lan", bytes(renewal()))
    later = Repeats(bench.map_of("dhcp", "repeats"), bench.map_of("dhcp", "leases"))

    assert [address for address, *_ in later.renewed()] == [ADDRESS]
    assert bench.run("lan", bytes(renewal())).egress == SERVICE  # it may be out of date
