"""A table as a routing daemon fills it, and keeps changing it, against the kernel's own lookup.

NFV_ROUTES=1000000 scripts/test tests/integration/test_many_routes.py has a million routes.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

import pytest

from nfv.ebpf.tableshape import Shape
from tests.integration.agentbed import Bed, running_bed

pytestmark = pytest.mark.root

ROUTES = int(os.environ.get("NFV_ROUTES", "20000"))
SHAPE = Shape(16, 18) if ROUTES <= 20_000 else Shape(24, 18)
PROBES = 300
LENGTHS = {
    4: [16, 19, 20, 21, 22, 22, 23, 23, *[24] * 12, 28, 32],
    6: [29, 32, 32, 36, 40, 40, 44, 44, *[48] * 8, 56, 64],
}
HOPS = {4: "192.0.2.{}", 6: "2001:db8:2::{:x}"}

Prefixes = list[tuple[int, int]]


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with running_bed("many", shape=SHAPE) as bed:
        for version, pattern in HOPS.items():
            for number in range(10, 20):
                mac = f"02:00:00:00:0{version}:{number:02x}"
                bed.ip(f"neigh add {pattern.format(number)} lladdr {mac} dev wan")
        yield bed


def prefixes(version: int, rng: random.Random) -> Prefixes:
    """Different ones; those of IPv6 within few allocations."""
    width = 32 if version == 4 else 128
    found: dict[tuple[int, int], None] = {}
    blocks = [0x2A00_0000 | rng.getrandbits(20) << 3 for _ in range(ROUTES // 50)]
    while len(found) < (ROUTES if version == 4 else ROUTES // 5):
        length = rng.choice(LENGTHS[version])
        if version == 4:
            key = rng.randrange(0x10000000, 0x70000000)
        else:
            key = rng.choice(blocks) << 96 | rng.getrandbits(96)
        found[key >> width - length << width - length, length] = None
    return list(found)


def text(version: int, key: int) -> str:
    return str(IPv4Address(key) if version == 4 else IPv6Address(key))


def lines(version: int, verb: str, some: Prefixes, rng: random.Random) -> list[str]:
    return [
        f"route {verb} {text(version, key)}/{length} via "
        f"{HOPS[version].format(rng.randrange(10, 20))}"
        for key, length in some
    ]


def by_kernel(bed: Bed, addresses: list[str]) -> list[str | None]:
    """The next hops that Linux finds."""
    done = subprocess.run(
        ["ip", "-n", bed.netns, "-force", "-batch", "-"],
        input="\n".join(f"route get {address}" for address in addresses),
        capture_output=True,
        text=True,
        check=False,
    )
    found = dict(re.findall(r"^(\S+) (?:from \S+ )?via (\S+) dev", done.stdout, re.MULTILINE))
    return [found.get(address) for address in addresses]


def check(bed: Bed, version: int, some: Prefixes, rng: random.Random) -> None:
    width = 32 if version == 4 else 128
    chosen = rng.sample(some, PROBES)
    addresses = [text(version, key | rng.getrandbits(width - length)) for key, length in chosen]
    for address, hop in zip(addresses, by_kernel(bed, addresses), strict=True):
        expected = "00:00:00:00:00:00"
        if hop is not None:
            number = int(
                hop.rpartition(":" if version == 6 else ".")[2], 16 if version == 6 else 10
            )
            expected = f"02:00:00:00:0{version}:{number:02x}"
        assert bed.lookup(address).dst_mac == expected, address


@pytest.mark.parametrize("version", [4, 6])
def test_many_routes_and_changes_lead_where_the_kernel_leads(bed: Bed, version: int) -> None:
    rng = random.Random(version)
    some = prefixes(version, rng)
    bed.batch(lines(version, "add", some, rng))
    bed.sync()
    assert bed.router()["mode"] == "fast"
    check(bed, version, some, rng)

    for _ in range(3):
        changed = rng.sample(some, len(some) // 20)
        gone = [line.partition(" via ")[0] for line in lines(version, "del", changed, rng)]
        bed.batch(gone)
        bed.batch(lines(version, "add", changed, rng))
        bed.batch(lines(version, "replace", changed[::2], rng))
        bed.sync()
        check(bed, version, some, rng)
