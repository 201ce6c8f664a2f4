"""Rule sets like ClassBench's beside nftables: the same packets match the same rules of both.

`NFV_RULES=10000 NFV_PACKETS=20000 scripts/test tests/functions/test_rulesets_nftables.py` is the
same with larger sets.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether

from benchmarks import rulesets
from nfv.chain.match import TCP_FLAGS
from nfv.chain.pattern import Pattern, Range
from tests.functions import nftables
from tests.functions.bench import Bench

pytestmark = pytest.mark.root

RULES = int(os.environ.get("NFV_RULES", "300"))
PACKETS = int(os.environ.get("NFV_PACKETS", "800"))
ICMP_OF = {4: 1, 6: 58}
VERDICTS = ("accept", "drop")


def protocol(pattern: Pattern) -> int | None:
    """The protocol that a rule asks for: of ICMP the one that the family has."""
    (family,) = pattern.families
    return next((ICMP_OF[family] if one == 1 else one for one in pattern.protocols), None)


def written(index: int, pattern: Pattern) -> dict[str, Any]:
    """A rule as the topology has it."""
    found: dict[str, Any] = {"name": f"r{index}", "action": VERDICTS[index % 3 == 0]}
    found["family"] = f"ipv{pattern.families[0]}"
    for key, prefixes in (("src", pattern.src), ("dst", pattern.dst)):
        if prefixes:
            found[key] = str(prefixes[0])
    for key, ports in (("sport", pattern.sports), ("dport", pattern.dports)):
        if ports:
            found[key] = span(ports[0])
    if (number := protocol(pattern)) is not None:
        found["proto"] = number
    if pattern.tcp_flags:
        mask, value = (names(bits) for bits in pattern.tcp_flags)
        found["tcp_flags"] = f"{value}/{mask}"
    return found


def names(bits: int) -> str:
    return ",".join(name for name, bit in TCP_FLAGS.items() if bits & bit)


def span(ports: Range) -> str:
    return f"{ports[0]}-{ports[1]}"


def nft(index: int, pattern: Pattern) -> str:
    """The same rule for nftables."""
    (family,) = pattern.families
    ip = "ip" if family == 4 else "ip6"
    parts = [f"meta nfproto ipv{family}"]
    parts += [f"{ip} saddr {prefix}" for prefix in pattern.src]
    parts += [f"{ip} daddr {prefix}" for prefix in pattern.dst]
    if (number := protocol(pattern)) is not None:
        parts.append(f"meta l4proto {number}")
    parts += [f"th sport {span(ports)}" for ports in pattern.sports]
    parts += [f"th dport {span(ports)}" for ports in pattern.dports]
    if pattern.tcp_flags:
        mask, value = pattern.tcp_flags
        parts.append(f"tcp flags & {mask} == {value}")
    return " ".join([*parts, "counter", VERDICTS[index % 3 == 0]])


def topology(patterns: Sequence[Pattern]) -> str:
    rules = [written(index, pattern) for index, pattern in enumerate(patterns)]
    saps = {
        "left": {"kind": "host", "ip": "10.0.1.10/16"},
        "right": {"kind": "host", "ip": "10.0.2.10/16"},
    }
    fw = {"type": "firewall", "stateless": True, "default": "drop", "rules": rules}
    chains = {"wire": {"path": ["left", "fw", "right"]}}
    whole = {"name": "beside-nftables", "saps": saps, "vnfs": {"fw": fw}, "chains": chains}
    return json.dumps(whole, indent=0)


def ruleset(patterns: Sequence[Pattern]) -> str:
    rules = [nft(index, pattern) for index, pattern in enumerate(patterns)]
    return "\n".join(
        [
            "table inet t {",
            "chain c {",
            "type filter hook prerouting priority -300; policy drop;",
            f"ether saddr != {nftables.SENDER} accept",
            *rules,
            "counter drop",
            "}",
            "}",
        ]
    )


def frame(header: rulesets.Header) -> bytes:
    address = IPv4Address if header.family == 4 else IPv6Address
    src, dst = str(address(header.src)), str(address(header.dst))
    packet: Any = IP(src=src, dst=dst) if header.family == 4 else IPv6(src=src, dst=dst)
    if header.protocol == rulesets.TCP:
        packet /= TCP(sport=header.sport, dport=header.dport, flags=header.tcp_flags)
    elif header.protocol == rulesets.UDP:
        packet /= UDP(sport=header.sport, dport=header.dport)
    else:
        packet /= ICMPv6EchoRequest() if header.family == 6 else ICMP()
    return bytes(Ether(src=nftables.SENDER, dst=nftables.RECEIVER) / packet)


def reaches_rules(header: rulesets.Header) -> bool:
    """Whether Linux shows nftables the packet: it drops some addresses before."""
    if header.family == 4:
        return True
    return not any(address >> 120 in (0, 0xFF) for address in (header.src, header.dst))


@pytest.fixture
def place() -> Iterator[str]:
    with nftables.beside() as name:
        yield name


def hits_of_nftables(place: str, rules: str, frames: Sequence[bytes]) -> list[int]:
    """How many of the packets each rule matched, the default last."""
    nftables.load(place, rules)
    nftables.send(place, frames, "c")
    return nftables.counters(place, "c")


def hits_of_ours(rules: str, frames: Sequence[bytes]) -> Mapping[str, int]:
    with closing(Bench(rules)) as bench:
        before = bench.matched("fw")
        for each in frames:
            bench.execute("left", each)
        after = bench.matched("fw")
    return {name: count - before[name] for name, count in after.items()}


@pytest.mark.parametrize("kind", rulesets.KINDS)
@pytest.mark.parametrize("family", [4, 6])
def test_the_same_rules_match(place: str, family: int, kind: str) -> None:
    patterns = rulesets.rules(kind, RULES, family, seed=7)
    headers = rulesets.headers(patterns, PACKETS, family, seed=7)
    frames = [frame(header) for header in headers if reaches_rules(header)]
    found = hits_of_ours(topology(patterns), frames)
    *wanted, default = hits_of_nftables(place, ruleset(patterns), frames)
    assert len(frames) > PACKETS / 2
    assert sum(count > 0 for count in wanted) > 3
    assert [found[f"r{index}"] for index in range(RULES)] == wanted
    assert found["default"] == default
