"""A rule set of nftables and what is imported of it give the same verdicts on the same packets.

`NFV_RULES=200 NFV_PACKETS=5000 scripts/test tests/functions/test_import_nftables.py` is the same
with larger sets.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Raw

from nfv.chain import nftables as importing
from nfv.chain.imported import Imported
from nfv.dataplane.kernel import bpf
from tests.functions import nftables
from tests.functions.bench import Bench
from tests.integration.helpers.waiting import until

pytestmark = pytest.mark.root

RULES = int(os.environ.get("NFV_RULES", "40"))
PACKETS = int(os.environ.get("NFV_PACKETS", "600"))

NETWORKS = {
    4: ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "10.1.2.0-10.1.2.9", "192.0.2.0/24", "@four"),
    6: ("2001:db8::/32", "2001:db8:1::/48", "2001:db8:1::3", "2001:db8:1::1-2001:db8:1::9", "@six"),
}
ADDRESSES = {
    4: ("10.1.2.3", "10.1.2.9", "10.1.9.9", "10.9.9.9", "192.0.2.1", "198.51.100.7", "203.0.113.9"),
    6: ("2001:db8:1::3", "2001:db8:1::9", "2001:db8:2::1", "2001:db9::1", "2001:dba::7"),
}
PORTS = ("22", "53", "1000-2000", "{ 22, 80, 8000-8999 }", "@ports")
FLAGS = ("syn / fin,syn,rst,ack", "& (syn|ack) == syn|ack", "ack", "== syn", "& (fin|rst) == 0")
OTHERS = (
    "ip dscp af11", "ip dscp { cs1, ef }", "ip6 dscp ef", "ip length 40-60", "meta length > 70",
    "ip frag-off & 0x1fff != 0", "ip frag-off & 0x1fff == 0", f"ether saddr {nftables.SENDER}",
    "ether daddr 02:00:00:00:00:77", "meta nfproto ipv6", "meta l4proto != tcp", "ip protocol gre",
    "meta l4proto { tcp, udp }", "icmp type echo-request", "icmpv6 type { echo-request }",
    "icmp type destination-unreachable icmp code { frag-needed, 1 }", "ether type ip",
)  # fmt: skip

RULE_SET = f"""
table inet t {{
    set four {{ type ipv4_addr; flags interval; elements = {{ 198.51.100.0/24, 10.9.9.9 }}; }}
    set six {{ type ipv6_addr; elements = {{ 2001:dba::7, 2001:db8:2::1 }}; }}
    set ports {{ type inet_service; elements = {{ 22, 443 }}; }}
    set passed4 {{ typeof ip id; flags dynamic; size 65535; }}
    set passed6 {{ typeof ip6 flowlabel; flags dynamic; size 65535; }}
    chain arrived {{
        type filter hook prerouting priority -301;
        ether saddr {nftables.SENDER} counter
    }}
    chain inner {{
        INNER
        return
    }}
    chain forward {{
        type filter hook prerouting priority -300; policy drop;
        RULES
    }}
    chain passed {{
        type filter hook prerouting priority -200;
        ether saddr {nftables.SENDER} meta nfproto ipv4 add @passed4 {{ ip id }}
        ether saddr {nftables.SENDER} meta nfproto ipv6 add @passed6 {{ ip6 flowlabel }}
    }}
}}
"""


def rule(source: random.Random, verdicts: tuple[str, ...]) -> str:
    """Some conditions, and a verdict."""
    version = source.choice((4, 6))
    ip = "ip" if version == 4 else "ip6"
    parts = []
    for field in ("saddr", "daddr"):
        if source.random() < 0.7:
            parts.append(f"{ip} {field} {source.choice(('', '', '!= '))}")
            parts.append(source.choice(NETWORKS[version]))
    if source.random() < 0.4:
        protocol = source.choice(("tcp", "udp"))
        field = source.choice(("sport", "dport"))
        parts.append(f"{protocol} {field} {source.choice(('', '', '!= '))}{source.choice(PORTS)}")
    elif source.random() < 0.4:
        parts.append(f"tcp flags {source.choice(FLAGS)}")
    elif source.random() < 0.8 or not parts:
        strange = {4: ("ip6 ", "icmpv6", "meta nfproto"), 6: ("ip ", "icmp ", "ether type")}[
            version
        ]
        parts.append(source.choice([one for one in OTHERS if not one.startswith(strange)]))
    return " ".join([*parts, source.choice(("", "counter ")) + source.choice(verdicts)])


def rule_set(seed: int) -> str:
    """Rules, and a chain that some jump to, which ends by returning."""
    source = random.Random(seed)
    verdicts = ("accept", "drop", "accept", "drop", "jump inner")
    rules = [rule(source, verdicts) for _ in range(RULES)]
    rules.insert(RULES // 2, rule(source, ("continue",)))
    rules.append("tcp dport vmap { 22 : accept, 80 : drop, 8080 : jump inner }")
    inner = [rule(source, verdicts[:2]) for _ in range(RULES // 4)]
    whole = RULE_SET.replace("INNER", "\n".join(inner))
    return whole.replace("RULES", "\n".join(rules))


def frame(source: random.Random, number: int) -> bytes:
    """A packet that has its number as identification, or as flow label.

    Fragments are of GRE alone: in later ones of TCP or UDP, nftables takes data for ports.
    """
    version = source.choice((4, 6))
    src, dst = (source.choice(ADDRESSES[version]) for _ in range(2))
    traffic_class = source.choice((0, 0, 8, 10, 46)) << 2
    sport, dport = (source.choice((22, 53, 80, 443, 1500, 8080)) for _ in range(2))
    payload = Raw(b"x" * source.choice((0, 8, 40)))
    above: Any = source.choice(
        (
            TCP(sport=sport, dport=dport, flags=source.choice(("S", "SA", "A", "FA", "R")))
            / payload,
            UDP(sport=sport, dport=dport) / payload,
            GRE() / payload,
            None,
        )
    )
    if version == 4:
        offset = source.choice((0, 5)) if isinstance(above, GRE) else 0
        above = above or ICMP(type=source.choice((0, 8))) / payload
        header: Any = IP(src=src, dst=dst, tos=traffic_class, id=number, frag=offset)
    else:
        above = above or source.choice((ICMPv6EchoRequest(), ICMPv6EchoReply())) / payload
        header = IPv6(src=src, dst=dst, tc=traffic_class, fl=number)
    return bytes(Ether(src=nftables.SENDER, dst=nftables.RECEIVER) / header / above)


@pytest.fixture
def place() -> Iterator[str]:
    with nftables.beside() as name:
        yield name


def passed(place: str) -> set[int]:
    """The numbers of packets that nftables has accepted."""
    found: Any = json.loads(nftables.listed(place, "sets"))["nftables"]
    named = [one["set"] for one in found if "set" in one and one["set"]["name"][:-1] == "passed"]
    return {element for one in named for element in one.get("elem", ())}


def accepted(imported: Imported, frames: list[bytes]) -> set[int]:
    """The same of a firewall that has been imported."""
    saps = {name: {"kind": "host", "ip": f"10.0.{name[1]}.1/16"} for name in ("a1", "a2")}
    chains = {"wire": {"path": ["a1", "fw", "a2"]}}
    whole = {"name": "imported", "saps": saps, "vnfs": {"fw": imported.keys}, "chains": chains}
    with closing(Bench(json.dumps(whole))) as bench:
        verdicts = [bench.execute("a1", each)[0] for each in frames]
    return {number for number, verdict in enumerate(verdicts, 1) if verdict == bpf.XDP_REDIRECT}


@pytest.mark.parametrize("seed", range(3))
def test_what_is_imported_decides_the_same(place: str, seed: int) -> None:
    nftables.load(place, rule_set(seed))
    imported = importing.read(nftables.listed(place, "ruleset"), "forward")
    assert imported.missing == []
    assert imported.stateless
    source = random.Random(seed)
    frames = [frame(source, number) for number in range(1, PACKETS + 1)]
    wanted = accepted(imported, frames)
    assert PACKETS / 50 < len(wanted) < PACKETS
    nftables.send(place, frames, "arrived")
    until(lambda: passed(place) >= wanted, nftables.PATIENCE)
    assert passed(place) == wanted
