"""Rules that no packet reaches: what covers them, and what `nfvctl validate` says."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfv.chain import cover, topology
from nfv.chain.pattern import NEVER, Direction, Pattern
from tests.unit.matching import Packet, first_match
from tests.unit.test_matcher import NETWORKS, edges

FLAGS = (None, (0x02, 0x02), (0x12, 0x02), (0x10, 0x00))
FEW_PORTS = (0, 80, 1023, 1024, 0xFFFF)

ADDRESSES = tuple((version, address) for version in (4, 6) for address in edges(version))
LATER = tuple(
    Packet(family, address, 0, 6, 0, 0, 0, False, direction)
    for (family, address), direction in product(ADDRESSES, Direction)
)
PACKETS = LATER + tuple(
    Packet(family, address, 0, 6, 0, port, flags, True, direction)
    for (family, address), port, flags, direction in product(
        ADDRESSES, sorted({*FEW_PORTS, 79, 81, 1022, 1025}), (0x00, 0x02, 0x10, 0x12), Direction
    )
)


def some(values: object, most: int) -> st.SearchStrategy[tuple[object, ...]]:
    """Tuples of up to so many of the values."""
    return st.lists(st.sampled_from(values), max_size=most, unique=True).map(tuple)  # type: ignore[call-overload]


RANGES = [(low, high) for low, high in product(FEW_PORTS, FEW_PORTS) if low <= high]
PATTERNS = st.builds(
    Pattern,
    src=some(NETWORKS, 3),
    dports=some(RANGES, 2),
    tcp_flags=st.sampled_from(FLAGS),
    directions=some(list(Direction), 2),
    families=some((4, 6), 1),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(PATTERNS, min_size=2, max_size=4), st.lists(st.booleans(), min_size=4, max_size=4))
def test_covered_is_what_all_packets_say(patterns: list[Pattern], deciding: list[bool]) -> None:
    matched = [
        {i for i, packet in enumerate(PACKETS) if first_match([pattern], packet) is not None}
        for pattern in patterns
    ]
    expected = [
        next((j for j in range(i) if deciding[j] and own and own <= matched[j]), None)
        for i, own in enumerate(matched)
    ]
    assert cover.first_covering(patterns, deciding[: len(patterns)]) == expected


def test_what_matches_nothing_covers_nothing() -> None:
    assert cover.first_covering([NEVER, Pattern(), NEVER], [True] * 3) == [None, None, None]


TOPOLOGY = """\
name: covered
saps:
  a: {kind: host, ip: 10.0.1.10/24}
  b: {kind: host, ip: 10.0.1.11/24}
vnfs:
  fw:
    type: firewall
    rules:
      - {action: count, proto: tcp}
      - {action: accept, proto: tcp, limit: {rate: 9/second}}
      - {action: accept, proto: tcp, dport: 80-90}
      - {action: drop, proto: tcp, dport: [80, 85-88], src: 10.0.0.0/8}
      - {action: accept, src: [10.0.0.0/25, 10.0.0.128/25]}
      - {action: accept, src: 10.0.0.0/24, proto: udp}
      - {action: jump, to: inner, proto: icmp}
      - {action: jump, to: inner, proto: gre}
    groups:
      inner:
        - {action: drop, proto: udp}
        - {action: drop, proto: icmp, src: 10.0.0.7}
        - {action: drop, proto: [icmp, gre]}
        - {action: accept, src: 192.0.2.1}
chains:
  c: {path: [a, fw, b]}
"""


def test_warnings_name_both_lines(tmp_path: Path) -> None:
    file = tmp_path / "covered.yaml"
    file.write_text(TOPOLOGY)
    found = topology.load(file).warnings()
    assert [(one.position.line, one.path, one.message) for one in found] == [
        (12, "vnfs.fw.rules[3]", f"shadowed: rules[2] ({file}:11) takes all its packets"),
        (14, "vnfs.fw.rules[5]", f"redundant: rules[4] ({file}:13) takes all its packets"),
        (19, "vnfs.fw.groups.inner[0]", "no packet that a jump lets through matches it"),
        (20, "vnfs.fw.groups.inner[1]", f"shadowed: rules[4] ({file}:13) takes all its packets"),
        (
            22,
            "vnfs.fw.groups.inner[3]",
            f"shadowed: groups.inner[2] ({file}:21) takes all its packets",
        ),
    ]


@pytest.mark.parametrize("example", sorted(Path("topologies").glob("*.yaml")), ids=str)
def test_examples_have_no_warnings(example: Path) -> None:
    assert topology.load(example).warnings() == []
