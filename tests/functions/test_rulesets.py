"""The compiled matcher, alone, on rule sets as large as they may be."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import closing
from ipaddress import ip_network

import pytest

from benchmarks import rulesets
from benchmarks.matching import NONE, Matcher
from nfv.chain.pattern import Direction, Pattern
from nfv.ebpf.vectors import PORT_PROTOCOLS
from tests.unit.matching import Linear, Packet

pytestmark = pytest.mark.root


def packet(header: rulesets.Header) -> Packet:
    has_l4 = header.protocol in PORT_PROTOCOLS
    return Packet(**vars(header), has_l4=has_l4, direction=Direction.FORWARD)


@pytest.mark.parametrize("kind", rulesets.KINDS)
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("count", [200, 1000, 10_000])
def test_decides_like_the_rules_in_order(count: int, family: int, kind: str) -> None:
    rules = rulesets.rules(kind, count, family)
    headers = rulesets.headers(rules, 200, family)
    with closing(Matcher(rules)) as matcher:
        matcher.publish(rules)
        found = matcher.found(headers)
    order = Linear(rules)
    wanted = [order.first_match(packet(header)) for header in headers]
    assert found == [NONE if place is None else place for place in wanted]
    assert len(set(found)) > 1


def test_a_packet_sees_the_rules_of_before_or_after_a_change() -> None:
    """Every table differs between the two; a mixture would have a third outcome, or none."""
    web = Pattern(dst=(ip_network("10.0.0.0/8"),), protocols=(6,), dports=((80, 80),))
    never = Pattern(dst=(ip_network("192.0.2.0/24"),), protocols=(17,), dports=((53, 53),))
    first = [never] * 7 + [web] + [never] * 1500
    second = [web] + [never] * 1100 + [web]
    header = rulesets.Header(4, 1, 10 << 24 | 5, 6, 1000, 80, 2)
    enough = threading.Event()
    with closing(Matcher(first)) as matcher:
        matcher.publish(first)
        matcher.set_packets([header])

        def change() -> None:
            while not enough.is_set():
                matcher.publish(second)
                matcher.publish(first)

        seen: Counter[int] = Counter()
        changing = threading.Thread(target=change)
        changing.start()
        try:
            while set(seen) <= {0, 7} and min(seen[0], seen[7]) < 1000:
                seen.update(matcher.run())
        finally:
            enough.set()
            changing.join()
    assert set(seen) == {0, 7}


def test_tables_grow_with_conditions_not_with_their_combinations() -> None:
    """Every source with every destination: a table of pairs would have 25 million entries."""
    sources = [Pattern(src=(ip_network(f"10.{i >> 8}.{i & 255}.0/24"),)) for i in range(5000)]
    targets = [
        Pattern(dst=(ip_network(f"11.{i >> 8}.{i & 255}.0/24"),), protocols=(6,), dports=((i, i),))
        for i in range(5000)
    ]
    rules = targets + sources
    header = rulesets.Header(4, 10 << 24 | 4999 << 8, 11 << 24 | 77 << 8, 6, 9, 0, 0)
    with closing(Matcher(rules)) as matcher:
        matcher.publish(rules)
        headers = [header] * 2
        assert matcher.found(headers) == [9999] * 2
        assert len(matcher.memory("m0_matcher")) <= 64 << 20
