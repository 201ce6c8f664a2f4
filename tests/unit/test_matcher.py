"""The tables must classify like the patterns read one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfv.chain.pattern import MAC_SHIFT, Direction, Fragment, Pattern
from nfv.ebpf.matcher import MAX_PATTERNS, SIZE_CLASSES, build
from tests.unit.matching import Packet, first_match, lookup

ICMP, TCP, UDP, GRE, ICMPV6, SCTP = 1, 6, 17, 47, 58, 132
SYN, ACK = 0x02, 0x10

NETWORKS: tuple[IPv4Network | IPv6Network, ...] = (
    *map(IPv4Network, ("0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/9", "10.0.1.0/24", "192.0.2.0/23")),
    *map(IPv4Network, ("10.0.1.10/31", "10.0.1.10/32", "10.0.1.11/32")),
    *map(IPv6Network, ("::/0", "2001:db8::/32", "2001:db8::/33", "2001:db8:1::/64")),
    *map(IPv6Network, ("2001:db8:1::10/127", "2001:db8:1::11/128", "fe80::/10")),
)
MACS = tuple(
    IPv6Network((mac << MAC_SHIFT, length))
    for mac, length in ((0, 0), (0x02 << 40, 8), (0x020000 << 24, 24), (0x02_00_00_00_00_01, 48))
)
MAC_EDGES = (0, 0x02_00_00_00_00_01, 0x02_00_00_00_00_02, 0x02_00_01 << 24, (1 << 48) - 1)
PORTS = (0, 1, 22, 80, 255, 256, 1023, 1024, 2048, 8080, 0xFFFE, 0xFFFF)


def edges(version: int) -> list[int]:
    """Return the first and last address of every network of a family, and those just outside."""
    found = set()
    for network in NETWORKS:
        if network.version == version:
            first, last = int(network.network_address), int(network.broadcast_address)
            found |= {
                max(first - 1, 0),
                first,
                last,
                min(last + 1, (1 << network.max_prefixlen) - 1),
            }
    return sorted(found)


def some(values: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.one_of(st.just(()), st.lists(values, min_size=1, max_size=3).map(tuple))


ranges = st.tuples(st.sampled_from(PORTS), st.sampled_from(PORTS)).map(lambda r: (min(r), max(r)))
flag_bytes = st.sampled_from((0, SYN, ACK, SYN | ACK, 0xFF))
networks = some(st.sampled_from(NETWORKS))
patterns = st.builds(
    Pattern,
    src=networks,
    dst=networks,
    protocols=some(st.sampled_from((ICMP, TCP, UDP, GRE, ICMPV6, SCTP, 0, 255))),
    sports=some(ranges),
    dports=some(ranges),
    tcp_flags=st.one_of(st.none(), st.tuples(flag_bytes, flag_bytes)),
    directions=some(st.sampled_from(Direction)),
    families=some(st.sampled_from((4, 6))),
    src_macs=some(st.sampled_from(MACS)),
    dst_macs=some(st.sampled_from(MACS)),
    lengths=some(ranges),
    dscps=some(st.sampled_from((0, 1, 46, 63))),
    fragments=some(st.sampled_from(Fragment)),
)
near_ports = st.builds(
    lambda port, step: min(max(port + step, 0), 0xFFFF),
    st.sampled_from(PORTS),
    st.integers(-1, 1),
)
packets = st.sampled_from((4, 6)).flatmap(
    lambda family: st.builds(
        Packet,
        family=st.just(family),
        src=st.sampled_from(edges(family)),
        dst=st.sampled_from(edges(family)),
        protocol=st.sampled_from((ICMP, TCP, TCP, UDP, GRE, ICMPV6, SCTP, 0, 255)),
        sport=near_ports,
        dport=near_ports,
        tcp_flags=st.one_of(flag_bytes, st.integers(0, 255)),
        has_l4=st.booleans(),
        direction=st.sampled_from(Direction),
        src_mac=st.sampled_from(MAC_EDGES),
        dst_mac=st.sampled_from(MAC_EDGES),
        length=near_ports,
        dscp=st.sampled_from((0, 1, 45, 46, 63)),
        fragment=st.sampled_from(Fragment),
    )
)


def packet(src: str = "10.0.1.10", dst: str = "192.0.2.1", **fields: object) -> Packet:
    """Return a TCP SYN to port 80, going forward, with other fields as given."""
    plain = Packet(
        family=ip_address(src).version,
        src=int(ip_address(src)),
        dst=int(ip_address(dst)),
        protocol=TCP,
        sport=40000,
        dport=80,
        tcp_flags=SYN,
        has_l4=True,
        direction=Direction.FORWARD,
    )
    return replace(plain, **fields)  # type: ignore[arg-type]


def matches(pattern: Pattern, packet: Packet) -> bool:
    """Say whether the tables of this one pattern and its plain reading both accept the packet."""
    from_tables = decided([pattern], packet)
    assert from_tables == first_match([pattern], packet)
    return from_tables == 0


def decided(rules: Sequence[Pattern], packet: Packet) -> int | None:
    """Return what the tables of these rules say of one packet."""
    return lookup(build(rules).at(0), len(rules), packet)


def net(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text)


@settings(deadline=None)
@given(st.lists(patterns, max_size=12), st.lists(packets, min_size=1, max_size=20))
def test_tables_classify_like_the_patterns(rules: list[Pattern], some: list[Packet]) -> None:
    base = 64 * len(some)
    image = build(rules).at(base)
    for one in some:
        assert lookup(image, len(rules), one, base) == first_match(rules, one)


@settings(deadline=None)
@given(patterns, patterns, packets)
def test_each_condition_alone_narrows_a_match(
    first: Pattern, second: Pattern, packet: Packet
) -> None:
    """Take over conditions that hold, so that long conjunctions are seen to match."""
    holding = Pattern()
    for pattern in (first, second):
        for name, condition in vars(pattern).items():
            narrower = replace(holding, **{name: condition})
            if first_match([narrower], packet) == 0:
                holding = narrower
    assert decided([Pattern(families=(10 - packet.family,)), holding], packet) == 1


@pytest.mark.parametrize("count", [62, 64, 256, 1022, 1024, 4097, MAX_PATTERNS - 2])
def test_the_first_of_several_matches_wins_in_each_size_class(count: int) -> None:
    rules = [Pattern(dports=((port, port),)) for port in range(1000, 1000 + count)]
    rules += [Pattern(dports=((1030, 20000),)), Pattern()]
    image = build(rules).at(0)
    last = 999 + count
    for port in (1000, 1029, 1030, last, last + 1, 20000, 20001):
        one = packet(dport=port)
        assert lookup(image, len(rules), one) == first_match(rules, one)


def test_no_more_patterns_than_fit() -> None:
    assert MAX_PATTERNS >= 10_000
    assert SIZE_CLASSES[-1].patterns == MAX_PATTERNS
    with pytest.raises(ValueError, match="the most is"):
        build([Pattern()] * (MAX_PATTERNS + 1))


def test_no_rules_match_nothing() -> None:
    assert decided([], packet()) is None
    assert decided([], packet("fe80::1", "fe80::2")) is None


def test_prefixes_of_one_family_exclude_the_other() -> None:
    ipv4_only = Pattern(src=(net("0.0.0.0/0"),))
    ipv6_only = Pattern(dst=(net("::/0"),))
    both = Pattern(src=(net("10.0.0.0/8"), net("2001:db8::/32")))
    neither = Pattern(src=(net("10.0.0.0/8"),), dst=(net("::/0"),))
    ipv4, ipv6 = packet(), packet("2001:db8::1", "2001:db8::2")
    assert (matches(ipv4_only, ipv4), matches(ipv4_only, ipv6)) == (True, False)
    assert (matches(ipv6_only, ipv4), matches(ipv6_only, ipv6)) == (False, True)
    assert (matches(both, ipv4), matches(both, ipv6)) == (True, True)
    assert (matches(neither, ipv4), matches(neither, ipv6)) == (False, False)


def test_ports_need_a_protocol_that_has_them() -> None:
    any_port = Pattern(dports=((0, 0xFFFF),))
    with_ports = {p for p in range(256) if matches(any_port, packet(protocol=p, sport=0, dport=0))}
    assert with_ports == {ICMP, TCP, UDP, 33, ICMPV6, SCTP, 136}


def test_a_fragment_without_its_header_matches_only_rules_without_ports_and_flags() -> None:
    fragment = packet(sport=0, dport=0, tcp_flags=0, has_l4=False)
    assert matches(Pattern(protocols=(TCP,)), fragment)
    assert not matches(Pattern(sports=((0, 0xFFFF),)), fragment)
    assert not matches(Pattern(dports=((0, 0xFFFF),)), fragment)
    assert not matches(Pattern(tcp_flags=(0, 0)), fragment)


def test_tcp_flags_compare_under_their_mask_and_imply_tcp() -> None:
    opening = Pattern(tcp_flags=(SYN | ACK, SYN))
    assert matches(opening, packet(tcp_flags=SYN))
    assert matches(opening, packet(tcp_flags=SYN | 0x40))
    assert not matches(opening, packet(tcp_flags=SYN | ACK))
    assert not matches(opening, packet(protocol=UDP, tcp_flags=SYN))


def test_icmp_type_and_code_are_a_destination_port() -> None:
    echo_request = Pattern(protocols=(ICMP,), dports=((8 * 256, 8 * 256 + 255),))
    assert matches(echo_request, packet(protocol=ICMP, sport=0, dport=8 * 256))
    assert not matches(echo_request, packet(protocol=ICMP, sport=0, dport=0))


def test_directions_and_families_are_conditions_of_their_own() -> None:
    forward = Pattern(directions=(Direction.FORWARD,))
    assert matches(forward, packet())
    assert not matches(forward, packet(direction=Direction.REVERSE))
    ipv6 = Pattern(families=(6,))
    assert not matches(ipv6, packet())
    assert matches(ipv6, packet("fe80::1", "fe80::2"))


def test_overlapping_and_adjoining_ranges_of_one_rule_are_their_union() -> None:
    pattern = Pattern(dports=((10, 20), (15, 30), (31, 40), (15, 16)))
    image = build([pattern]).at(0)
    found = [port for port in range(100) if lookup(image, 1, packet(dport=port)) == 0]
    assert found == list(range(10, 41))


def test_rules_with_the_same_conditions_share_rows() -> None:
    def rules(count: int) -> list[Pattern]:
        return [Pattern(dst=(net(f"10.0.{i % 4}.0/24"),), dports=((80, 80),)) for i in range(count)]

    assert len(build(rules(1024))) == len(build(rules(1000)))


def test_nested_and_adjoining_prefixes_are_told_apart_at_their_edges() -> None:
    rules = [Pattern(src=(network,), protocols=(i,)) for i, network in enumerate(NETWORKS)]
    image = build(rules).at(0)
    for family in (4, 6):
        for address in edges(family):
            for protocol in range(len(rules)):  # picks the one rule to ask
                one = replace(packet(), family=family, src=address, protocol=protocol)
                assert lookup(image, len(rules), one) == first_match(rules, one)


def test_addresses_are_compared_to_their_last_bit() -> None:
    host = Pattern(src=(net("10.0.1.10/32"), net("2001:db8:1::10/128")))
    for address in (IPv4Address("10.0.1.10"), IPv6Address("2001:db8:1::10")):
        other = str(address + 1)
        assert matches(host, packet(str(address), str(address)))
        assert not matches(host, packet(other, other))
