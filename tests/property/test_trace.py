"""A trace and the real programs never disagree: random packets through both.

Both have tables of their own for what they write, and read the same ones otherwise. So each packet
meets connections that the same packets before it have made.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from random import Random
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from nfv.chain.sap import Hook
from tests.property.bed import Bed, draw, load
from tests.property.counters import Counters
from tests.property.generate.traffic import Input, Traffic
from tests.property.tracing import compare

pytestmark = pytest.mark.root

PACKETS = 1500


def _host(segment: int, host: int, **more: Any) -> dict[str, Any]:
    ip = [f"10.0.{segment}.{host}/24", f"2001:db8:{segment}::{host}/64"]
    return {"ip": ip, "mac": f"02:00:00:00:{segment:02x}:{host:02x}", **more}


SAPS = {name: _host(number, 10, kind="host") for number, name in enumerate(("a", "b", "c"), 1)}
ROUTER: dict[str, Any] = {
    "type": "router",
    "interfaces": {name: _host(number, 1) for number, name in enumerate(SAPS, 1)},
    "routes": [{"to": "0.0.0.0/0", "via": "10.0.2.10"}, {"to": "::/0", "via": "2001:db8:2::10"}],
}
ON_A_SEGMENT = {name: _host(1, number, kind="host") for number, name in enumerate("abc", 10)}
FUNCTIONS: Mapping[str, tuple[Mapping[str, Any], set[str]]] = {
    "nat": (
        {
            "saps": SAPS,
            "vnfs": {
                "gw": ROUTER,
                "nat": {
                    "type": "nat",
                    "masquerade": "gw:b",
                    "pools": [{"inside": "10.0.1.0/24", "outside": "10.0.2.76/30"}],
                    "static": [{"inside": "10.0.3.10", "outside": "10.0.2.80"}],
                    "forwards": [{"proto": "udp", "port": "5000-5009", "inside": "10.0.1.10"}],
                },
            },
            "chains": {"a": ["a", "gw:a"], "b": ["gw:b", "nat", "b"], "c": ["c", "gw:c"]},
        },
        {"forwarded", "unsolicited"},
    ),
    "services": (
        {
            "saps": SAPS,
            "vnfs": {
                "gw": ROUTER,
                "dhcp": {
                    "type": "dhcp",
                    "ip": "10.0.1.2/24",
                    "subnets": [
                        {"network": "10.0.1.0/24", "pools": [{"range": "10.0.1.100-10.0.1.150"}]}
                    ],
                },
                "dns": {"type": "dns", "ip": "10.0.1.3/24", "zone": "lab.example"},
            },
            "chains": {"a": ["a", "dhcp", "dns", "gw:a"], "b": ["gw:b", "b"], "c": ["c", "gw:c"]},
        },
        {"forwarded", "service"},
    ),
    "hub": (
        {
            "saps": ON_A_SEGMENT,
            "vnfs": {"hub": {"type": "hub", "ports": 4}},
            "chains": {name: [name, f"hub:{number}"] for number, name in enumerate("abc", 1)},
        },
        {"flooded"},
    ),
    "switch": (
        {
            "saps": ON_A_SEGMENT,
            "vnfs": {"sw": {"type": "switch", "ports": 4}},
            "chains": {name: [name, f"sw:{number}"] for number, name in enumerate("abc", 1)},
        },
        {"flooded", "forwarded"},
    ),
}


DISCOVER = DHCP(options=[("message-type", "discover"), "end"])
FIRST: Mapping[str, Packet] = {
    "a": Ether(src=SAPS["a"]["mac"], dst="ff:ff:ff:ff:ff:ff")
    / IP(src="0.0.0.0", dst="255.255.255.255")
    / UDP(sport=68, dport=67)
    / BOOTP(chaddr=bytes(6), xid=7)
    / DISCOVER,
    "b": Ether(src=SAPS["b"]["mac"], dst=ROUTER["interfaces"]["b"]["mac"])
    / IP(src="10.0.2.10", dst="10.0.2.77")
    / UDP(sport=9, dport=999),
}
"""What random frames hit too seldom: a client of DHCP, and what a NAT lets nobody in by."""


@pytest.mark.parametrize(
    ("seed", "routers", "hook"), [(3, 0, Hook.TC), (11, 1, Hook.XDP), (42, 2, Hook.XDP)]
)
def test_a_trace_agrees_with_the_programs(seed: int, routers: int, hook: Hook) -> None:
    spec = draw(seed, routers)
    with closing(load(spec, hook)) as bench:
        bed = Bed(seed, spec, bench)
        compare(bench, bed.counters, bed.traffic, PACKETS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_trace_agrees_with_every_function(name: str) -> None:
    drawn, expected = FUNCTIONS[name]
    chains = {chain: {"path": path} for chain, path in drawn["chains"].items()}
    spec = {"name": "traced", **drawn, "chains": chains}
    traffic = Traffic(Random(7), spec)
    for place, frame in FIRST.items():
        traffic.begin(Input(place, bytes(frame)))
    with closing(load(spec, Hook.XDP)) as bench:
        bench.clear()
        seen = compare(bench, Counters(bench), traffic, PACKETS)
    assert expected <= seen
