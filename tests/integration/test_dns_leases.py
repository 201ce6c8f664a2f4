"""Clients of the DHCP function have names: `register: dns`."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from nfv.chain.topology import loads
from nfv.dataplane.resident import servicectl
from nfv.errors import TopologyError
from tests.integration.helpers.lab import Lab, applied, kill

pytestmark = pytest.mark.root

PATIENCE = 20.0  # seconds

TOPOLOGY = """
name: leases
saps:
  guest: {kind: host, dhcp: true}
  other: {kind: host, ip: 10.0.1.10/24}
vnfs:
  dhcp:
    type: dhcp
    ip: 10.0.1.2/24
    register: dns
    subnets: [{network: 10.0.1.0/24, pools: [{range: 10.0.1.100-10.0.1.109}]}]
  dns: {type: dns, ip: 10.0.1.53/24, zone: lab.test}
chains:
  only: {path: [guest, dhcp, dns, other]}
"""


@pytest.fixture(scope="module")
def net() -> Iterator[Lab]:
    with applied(TOPOLOGY, "leases") as made:
        yield made


def _wait_for(net: Lab, question: str, answer: list[str]) -> None:
    """Ask until the answer is there; who is to be told has no way to say that it was."""
    deadline = time.monotonic() + PATIENCE
    while (found := _dig(net, question)) != answer:
        assert time.monotonic() < deadline, f"{question}: {found}"
        time.sleep(0.05)


def _dig(net: Lab, question: str) -> list[str]:
    command = f"dig +time=3 +tries=1 +short @10.0.1.53 {question}"
    return net.run("other", command, check=False).stdout.split()


def test_a_lease_has_a_name_until_it_is_released(net: Lab) -> None:
    _wait_for(net, "guest.lab.test", ["10.0.1.100"])
    _wait_for(net, "-x 10.0.1.100", ["guest.lab.test."])
    assert _dig(net, "other.lab.test") == ["10.0.1.10"]
    process = servicectl.ask(net.name, "dns", "status")["pid"]
    assert isinstance(process, int)
    kill(process)
    _wait_for(net, "guest.lab.test", ["10.0.1.100"])
    servicectl.ask(net.name, "dhcp", "release", ip="10.0.1.100")
    _wait_for(net, "guest.lab.test", [])
    assert _dig(net, "-x 10.0.1.100") == []


def test_nobody_takes_a_name_or_an_address_of_the_topology(net: Lab) -> None:
    there = [
        ("other", "10.0.1.66"),
        ("thief", "10.0.1.10"),
        ("a b", "10.0.1.67"),
        ("x", "10.0.1.68"),
    ]
    hosts = {"source": "test", "all": True, "there": there, "gone": []}
    servicectl.ask(net.name, "dns", "hosts", **hosts)
    _wait_for(net, "x.lab.test", ["10.0.1.68"])
    assert _dig(net, "other.lab.test") == ["10.0.1.10"]
    assert _dig(net, "-x 10.0.1.10") == ["other.lab.test."]
    assert _dig(net, "thief.lab.test") == []
    servicectl.ask(net.name, "dns", "hosts", **{**hosts, "there": []})
    _wait_for(net, "x.lab.test", [])


@pytest.mark.parametrize("name", ["nobody", "dhcp"])
def test_the_name_server_must_be_one(name: str) -> None:
    with pytest.raises(TopologyError) as caught:
        loads(TOPOLOGY.replace("register: dns", f"register: {name}"))
    (problem,) = caught.value.problems
    assert (problem.path, problem.message) == (
        "vnfs.dhcp.register",
        f"no name server '{name}'",
    )
