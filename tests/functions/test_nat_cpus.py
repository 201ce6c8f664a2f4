"""Two CPUs at once: no outside endpoint is ever that of two inside ones."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import pytest

from nfv.chain.sap import Hook
from tests.functions.bench import Bench
from tests.functions.frames import ether
from tests.functions.natting import nat, pool, udp

pytestmark = pytest.mark.root

FEW = "1024-1535"
HOSTS, PORTS = 8, 100  # more endpoints than there are ports
LIMIT = 70


@pytest.fixture(params=["preserve", "random"])
def scarce(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """A NAT with fewer ports than there are inside endpoints."""
    keys = (pool(ports=FEW), f"port_choice: {request.param}", "filtering: independent")
    with closing(Bench(nat(*keys), hook=Hook.XDP)) as bench:
        yield bench


def frames(bench: Bench, seed: int) -> list[bytes]:
    """A packet of every inside endpoint, twice over, in an order of their own."""
    base = bytes(ether(bench, "lan", "wan") / udp(sport=0, dport=53))
    made = []
    for host in range(HOSTS):
        for port in range(PORTS):
            frame = bytearray(base)
            frame[29] = host + 1  # the last byte of the source address
            frame[34:36] = (1024 + port).to_bytes(2, "big")
            made.append(bytes(frame))
    made *= 2
    random.Random(seed).shuffle(made)
    return made


def flood(bench: Bench, cpu: int, seed: int, start: threading.Barrier) -> None:
    os.sched_setaffinity(0, {cpu})
    wanted = frames(bench, seed)
    start.wait()
    for frame in wanted:
        bench.execute("lan", frame)


def run_on_two(bench: Bench) -> None:
    """Send all frames from two CPUs at once."""
    cpus = sorted(os.sched_getaffinity(0))[:2]
    start = threading.Barrier(2)
    threads = [
        threading.Thread(target=flood, args=(bench, cpus[number % len(cpus)], number, start))
        for number in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_no_endpoint_is_given_twice(scarce: Bench) -> None:
    """RFC 4787, REQ-3: no overloading. Both tables agree, and every port is in use."""
    run_on_two(scarce)
    inside = {
        key[:4] + key[8:10]: value[:6] for key, value in scarce.map_of("nat", "outward").items()
    }
    outside = {
        key[:6]: value[:4] + value[8:10] for key, value in scarce.map_of("nat", "inward").items()
    }
    assert {there: here for here, there in inside.items()} == outside
    assert len(inside) == len(outside) == 512


@pytest.fixture
def blocks() -> Iterator[Bench]:
    """A NAT with fewer blocks than inside hosts would take, and fewer mappings than they want."""
    keys = (pool(ports=FEW, block=128, blocks=1), "filtering: independent", f"limit: {LIMIT}")
    with closing(Bench(nat(*keys), hook=Hook.XDP)) as bench:
        yield bench


def test_no_block_is_given_twice(blocks: Bench) -> None:
    """And nobody has more of them, or more mappings, than it may."""
    run_on_two(blocks)
    given = {key: value[:8] for key, value in blocks.map_of("nat", "blocks").items()}
    held = {key: value[:8] for key, value in blocks.map_of("nat", "holdings").items()}
    assert {block: holding for holding, block in held.items()} == given
    assert len(given) == 4
    owners = {
        (key[:4], int.from_bytes(key[4:6], "little")): value[:4] for key, value in given.items()
    }
    mappings = dict(blocks.map_of("nat", "outward").items())
    for inner, mapping in mappings.items():
        port = int.from_bytes(mapping[4:6], "big")
        assert owners[mapping[:4], port // 128 * 2] == inner[:4]
    each = Counter(inner[:4] for inner in mappings)
    assert max(each.values()) <= LIMIT
    assert len({mapping[:6] for mapping in mappings.values()}) == len(mappings)
