"""Named sets of a firewall: what rules make of them while they change."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing

import pytest
from scapy.layers.inet import UDP

from nfv.chain.sap import Hook
from nfv.ebpf import setverbs
from nfv.ebpf.sets import Sets, key_of
from nfv.errors import InputError
from tests.functions.bench import Bench
from tests.functions.firewalling import SIDES, cross, firewall
from tests.functions.frames import ip

pytestmark = pytest.mark.root

SETS = '{bad: {addresses: [10.0.1.66, "2001:db8:1::66"]}, good: {addresses: 10.0.2.77}, none: {}}'
RULES = (
    "action: drop, src_set: bad",
    "action: accept, dst_set: [good, none], src: 10.0.0.0/8",
    "action: jump, to: inner, src_set: none",
)
GROUPS = "{inner: [{action: accept, src_set: good, dst_set: none}]}"


@pytest.fixture(
    scope="module",
    params=[(0, Hook.XDP), (0, Hook.TC), (1025, Hook.XDP)],
    ids=["one word", "one word, TC", "groups"],
)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    count, hook = request.param
    with closing(Bench(text(count=count), hook=hook)) as made:
        yield made


@pytest.fixture(autouse=True)
def fresh(bench: Bench) -> None:
    for bit in range(8):
        bench.map_of("fw", "sets")[bit] = bytes(48)
    bench.clear()
    configure(bench)


def configure(bench: Bench, sets: str = SETS) -> None:
    """Have the firewall's tables filled with these sets, in the size class that it has."""
    count = len(bench.topology.vnfs["fw"].config.rules) - len(RULES) + 1
    bench.configure("fw", text(sets, count))


def text(sets: str = SETS, count: int = 0) -> str:
    filling = [f"action: drop, proto: tcp, sport: 9, dport: {port}" for port in range(1, count)]
    return firewall(*RULES, *filling, sets=sets, groups=GROUPS, stateless="true")


def tell(bench: Bench, request: str, **values: str) -> Mapping[str, object]:
    """Tell the firewall; as with the agent, no known flow goes on."""
    done = setverbs.do(sets_of(bench), request, values)
    bench.forget_flows()
    return done


def sets_of(bench: Bench) -> Sets:
    return Sets(bench.map_of("fw", "members"), bench.map_of("fw", "sets"))


def seen(bench: Bench, src: str, dst: str, side: str = "left") -> str:
    """What becomes of a packet, the first time and the second."""
    packet = ip(6 if ":" in src else 4, src=src, dst=dst) / UDP(sport=7, dport=53)
    first, second = cross(bench, packet, side), cross(bench, packet, side)
    assert first == second
    return first


@pytest.mark.parametrize("side", SIDES)
def test_sets_of_the_file(bench: Bench, side: str) -> None:
    assert seen(bench, "10.0.1.1", "10.0.2.77", side) == "pass"
    assert seen(bench, "10.0.1.66", "10.0.2.77", side) == "rule"
    assert seen(bench, "10.0.1.1", "10.0.2.78", side) == "rule"
    assert seen(bench, "192.0.2.1", "10.0.2.77", side) == "rule"


def test_a_change_takes_effect_at_once(bench: Bench) -> None:
    assert seen(bench, "10.0.1.2", "10.0.2.77") == "pass"
    assert tell(bench, "add", set="bad", address="10.0.1.2,10.0.1.3")["added"] == 2
    assert seen(bench, "10.0.1.2", "10.0.2.77") == "rule"
    assert tell(bench, "remove", set="bad", address="10.0.1.2,10.0.1.9")["removed"] == 1
    assert seen(bench, "10.0.1.2", "10.0.2.77") == "pass"
    assert seen(bench, "10.0.1.3", "10.0.2.77") == "rule"
    assert tell(bench, "empty", set="bad")["removed"] == 3
    assert seen(bench, "10.0.1.66", "10.0.2.77") == "pass"


def test_both_addresses_in_a_group(bench: Bench) -> None:
    src, dst = "2001:db8:1::5", "2001:db8:2::6"
    verdicts = []
    for one, address in (("none", src), ("good", src), ("none", dst)):
        tell(bench, "add", set=one, address=address)
        verdicts.append(seen(bench, src, dst))
    assert verdicts == ["rule", "rule", "pass"]


def test_families_are_apart(bench: Bench) -> None:
    """The first bytes of an IPv6 address may be those of an IPv4 address that is in a set."""
    tell(bench, "add", set="none", address="10.0.1.5")
    tell(bench, "add", set="good", address="10.0.1.5")
    assert seen(bench, "a00:105::", "a00:105::") == "rule"
    assert seen(bench, "::ffff:10.0.1.5", "::ffff:10.0.1.5") == "rule"
    assert seen(bench, "10.0.1.5", "10.0.1.5") == "pass"


def test_addresses_with_a_time(bench: Bench) -> None:
    sets, key = sets_of(bench), key_of(bytes([10, 0, 1, 2]))
    bit = sets.bits["bad"]
    tell(bench, "add", set="bad", address="10.0.1.2", timeout="1000s")
    assert seen(bench, "10.0.1.2", "10.0.2.77") == "rule"
    now = int(time.monotonic())
    sets.add(bit, key, until=now)
    bench.forget_flows()
    assert seen(bench, "10.0.1.2", "10.0.2.77") == "pass"
    assert sets.sizes()[bit] == 3
    assert _expire(sets, now - 1) is False
    assert _expire(sets, now) is True
    assert sets.sizes()[bit] == 2
    assert _expire(sets, now + (1 << 20)) is False  # those of the file have no time
    sets.add(bit, key, until=now)
    sets.add(bit, key)
    bench.forget_flows()
    assert seen(bench, "10.0.1.2", "10.0.2.77") == "rule"


def _expire(sets: Sets, now: int) -> bool:
    steps = sets.expire(now)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return bool(end.value)


def test_what_was_changed_outlives_an_apply(bench: Bench) -> None:
    tell(bench, "add", set="bad", address="10.0.1.2")
    tell(bench, "remove", set="bad", address="10.0.1.66")
    moved = "{first: {addresses: 10.0.1.9}, good: {addresses: 10.0.2.77}, none: {}, bad: "
    for sets in (SETS, moved + '{addresses: ["2001:db8:1::66", 10.0.1.66]}}'):
        configure(bench, sets)
        bench.forget_flows()
        assert seen(bench, "10.0.1.2", "10.0.2.77") == "rule"
        assert seen(bench, "10.0.1.66", "10.0.2.77") == "pass"
    configure(bench, moved + "{addresses: 10.0.1.66}}")
    bench.forget_flows()
    assert seen(bench, "10.0.1.2", "10.0.2.77") == "pass"
    assert seen(bench, "10.0.1.66", "10.0.2.77") == "rule"
    assert set(sets_of(bench).bits) == {"first", "good", "none", "bad"}
    configure(bench)
    assert set(sets_of(bench).bits) == {"good", "none", "bad"}
    assert sum(sets_of(bench).sizes()) == 3


def test_eight_sets_in_place_of_eight_others(bench: Bench) -> None:
    names = [f"s{number}" for number in range(5)]
    for start in (0, 1):
        others = "".join(f", {name}-{start}: {{addresses: 10.9.9.9}}" for name in names)
        configure(bench, SETS[:-1] + others + "}")
        sets = sets_of(bench)
        assert sorted(sets.bits.values()) == list(range(8))
        assert [sets.sizes()[sets.bits[f"{name}-{start}"]] for name in names] == [1] * 5
        assert seen(bench, "10.0.1.66", "10.0.2.77") == "rule"


@pytest.mark.parametrize(
    ("request_", "values", "words"),
    [
        ("add", {"set": "bat", "address": "10.0.0.1"}, "there is no set 'bat'"),
        ("add", {"set": "bad"}, "add needs address="),
        ("add", {"set": "bad", "address": "10.0.0.0/8"}, "is not an IPv4 or IPv6 address"),
        ("add", {"set": "bad", "address": "10.0.0.1", "timeout": "0"}, "is not a time"),
        ("remove", {"set": "bad", "address": "10.0.0.1", "timeout": "1"}, "has no 'timeout'"),
    ],
)
def test_what_is_refused(
    bench: Bench, request_: str, values: Mapping[str, str], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        tell(bench, request_, **values)
    assert sum(sets_of(bench).sizes()) == 3
