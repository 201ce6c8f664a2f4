"""How many flows are remembered is the topology's to say, as far as the machine goes."""

from __future__ import annotations

from contextlib import closing

import pytest
from scapy.layers.inet import UDP

from nfv.dataplane.change.mapstore import flow_limit
from nfv.errors import NfvError
from tests.functions.bench import Bench
from tests.functions.frames import ether, ip

pytestmark = pytest.mark.root

TOPOLOGY = """
name: bench-size
flow_cache: %d
saps:
  lan: {kind: host, ip: [10.0.1.10/24]}
  wan: {kind: host, ip: [10.0.1.20/24]}
vnfs:
  fw: {type: firewall, rules: [{action: accept}]}
chains:
  wire: {path: [lan, fw, wan]}
"""


@pytest.mark.parametrize("size", [1024, 1025, 65536])
def test_so_many_flows_are_known_at_once(size: int) -> None:
    with closing(Bench(TOPOLOGY % size)) as bench:
        count = size // 4
        frames = [
            bytes(ether(bench, "lan", "wan") / ip(4, dst="10.0.1.20") / UDP(sport=port, dport=53))
            for port in range(1024, 1024 + min(count, 2048))
        ]

        def known() -> int:
            return sum(packets for packets, _ in bench.known().received.values())

        for frame in frames:
            bench.execute("lan", frame)
        before = known()
        for frame in frames:
            bench.execute("lan", frame)
        # Two places for each flow, a quarter in use: of a set, three want two in 1 of 70.
        assert known() - before >= 0.95 * len(frames)


def test_more_than_the_machine_can_address_is_refused() -> None:
    with pytest.raises(NfvError) as caught:
        Bench(TOPOLOGY % (1 << 23) if flow_limit() < 1 << 23 else TOPOLOGY % (1 << 24))
    assert "flow_cache" in str(caught.value)
