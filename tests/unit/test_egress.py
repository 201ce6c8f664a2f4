"""Where the interfaces of a router lead."""

from __future__ import annotations

import pytest

from nfv.chain.topology import loads
from nfv.dataplane.routing.egress import JUMP, Egress, egresses
from nfv.dataplane.wiring import MAX_PROGRAMS, wire

TEXT = """\
name: lab
saps:
  a: {{kind: host, ip: 10.0.0.10/24, gateway: 10.0.0.1}}
  b: {{kind: host, ip: 10.0.1.10/24, gateway: 10.0.1.1}}
vnfs:
  fw: {{type: firewall}}
  gw: {{type: router, interfaces: {{x: {{ip: 10.0.0.1/24}}, y: {{ip: 10.0.1.1/24}}}}}}
  up: {{type: router, interfaces: {{z: {{ip: 10.0.0.2/24}}}}}}
chains:
{chains}
"""
NUMBERS = {"a": 1, "b": 2, "gw:x": 3, "gw:y": 4, "up:z": 5}


@pytest.mark.parametrize(
    ("chains", "tx"),
    [
        ('  one: {path: ["gw:x", a]}', 1),
        ('  one: {path: [a, "gw:x"]}', 1),
        ('  one: {path: [a, fw, "gw:x"]}', JUMP | 3 * MAX_PROGRAMS),
        ('  one: {path: ["gw:x", "up:z"]}', JUMP | 3 * MAX_PROGRAMS),
        ('  one: {path: ["gw:x", a], match: {proto: udp}}', JUMP | 3 * MAX_PROGRAMS),
        (
            '  one: {path: ["gw:x", a], match: {proto: udp}}\n  two: {path: ["gw:x", b]}',
            JUMP | 3 * MAX_PROGRAMS,
        ),
        ('  one: {path: [a, "up:z"]}', JUMP | 3 * MAX_PROGRAMS),
    ],
)
def test_only_a_lone_empty_chain_to_a_sap_is_short_cut(chains: str, tx: int) -> None:
    topology = loads(TEXT.format(chains=chains))

    found = egresses(topology, wire(topology, NUMBERS), "gw")

    assert found[0] == Egress("x", 3, tx)
    assert [egress.device for egress in found] == ["x", "y"]
