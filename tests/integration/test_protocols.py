"""Routers that speak BGP and OSPF, with each other and with a BIRD that is not ours."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nfv.dataplane.kernel import netns
from nfv.services.bird import cli
from tests.integration.helpers import traffic
from tests.integration.helpers.lab import Lab, applied, example, nfvctl
from tests.integration.test_advertise import until

pytestmark = pytest.mark.root

ROUTES = 2000
FIRST = int(ipaddress.IPv4Address("100.64.0.0"))
BEHIND = "100.64.0.1"  # an address of the neighbour, in the first of its routes

PEER = """
log stderr all;
router id 192.0.2.2;
protocol device {{ }}
protocol kernel {{ ipv4 {{ export where source = RTS_BGP; }}; }}
protocol static outside {{ ipv4; route 203.0.113.0/24 blackhole; }}
protocol static many {{
  ipv4;
{routes}
}}
protocol bgp r1 {{
  local 192.0.2.2 as 65099;
  neighbor 192.0.2.1 as 65001;
  password "secret";
  hold time 9;
  connect delay time 1;
  connect retry time 1;
  ipv4 {{ import all; export where source = RTS_STATIC; next hop self; }};
}}
"""


class Peer:
    """The neighbour's BIRD."""

    def __init__(self, control: Path) -> None:
        self._control = control

    def tell(self, command: str) -> list[str]:
        return cli.ask(self._control, command, 30)

    def session(self) -> str:
        """How it stands, and since when."""
        (line,) = [one for one in self.tell("show protocols r1") if one.startswith("r1")]
        return line


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with applied(example("protocols"), "protocols") as made:
        yield made


@pytest.fixture(scope="module")
def peer(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    place = tmp_path_factory.mktemp("peer")
    numbers = range(FIRST, FIRST + 16 * ROUTES, 16)
    routes = "\n".join(f"  route {ipaddress.IPv4Address(one)}/28 blackhole;" for one in numbers)
    (place / "bird.conf").write_text(PEER.format(routes=routes))
    lab.run("peer", f"ip address add {BEHIND}/32 dev lo")
    command = f"bird -f -c {place}/bird.conf -s {place}/control"
    with netns.entered(lab.netns("peer")):
        process = subprocess.Popen(command.split(), stderr=subprocess.DEVNULL)
    try:
        until(lambda: (place / "control").exists())
        yield Peer(place / "control")
    finally:
        process.terminate()
        process.wait(30)


def learnt(lab: Lab, node: str) -> dict[str, str]:
    """The IPv4 routes that BIRD has given to the kernel of a router, and their next hops."""
    shown = lab.run(node, "ip -j route show proto bird").stdout
    found: list[dict[str, Any]] = json.loads(shown)
    return {route["dst"]: route.get("gateway", "") for route in found}


def fast(lab: Lab, node: str) -> int:
    """The IPv4 routes that the fast path has."""
    lab.settle()
    routers = lab.agent()["routers"]
    assert isinstance(routers, dict)
    assert routers[node]["mode"] == "fast"
    return int(routers[node]["ipv4_routes"])


def sessions(lab: Lab) -> dict[tuple[str, str], tuple[str, str]]:
    found = json.loads(nfvctl("inspect", lab.name, "--format", "json").stdout)["sessions"]
    return {(one["router"], one["name"]): (one["state"], one["info"]) for one in found}


def test_routes_of_the_neighbour_reach_the_fast_path_of_both_routers(lab: Lab, peer: Peer) -> None:
    """BGP with a password to the first, OSPF with one to the second; what is filtered does not."""
    prefixes = [f"{ipaddress.IPv4Address(FIRST + 16 * one)}/28" for one in range(ROUTES)]
    first = {**dict.fromkeys(prefixes, "192.0.2.2"), "10.2.0.0/24": "10.12.0.2"}
    second = dict.fromkeys([*prefixes, "10.1.0.0/24"], "10.12.0.1")

    until(lambda: learnt(lab, "r1") == first)
    until(lambda: learnt(lab, "r2") == second)
    assert fast(lab, "r1") >= ROUTES
    assert fast(lab, "r2") >= ROUTES


def test_traffic_follows(lab: Lab, peer: Peer) -> None:
    """Both ways, and by the fast path: Linux forwards none of it."""
    until(lambda: lab.run("h2", f"ping -c 1 -W 2 {BEHIND}", check=False).returncode == 0)
    lab.settle()
    before = traffic.kernel_counters(lab.netns("r2"))["IpForwDatagrams"]
    lab.run("h2", f"ping -c 5 -i 0.01 -W 30 {BEHIND}")
    assert traffic.kernel_counters(lab.netns("r2"))["IpForwDatagrams"] == before
    until(lambda: lab.run("h1", "ping -c 1 -W 2 2001:db8:2::10", check=False).returncode == 0)


def test_inspect_shows_the_sessions(lab: Lab, peer: Peer) -> None:
    shown = nfvctl("inspect", lab.name).stdout

    assert sessions(lab) == {
        ("r1", "bgp-192.0.2.2"): ("up", "Established"),
        ("r1", "ospf-v2"): ("up", "Running"),
        ("r1", "ospf-v3"): ("up", "Running"),
        ("r2", "ospf-v2"): ("up", "Running"),
        ("r2", "ospf-v3"): ("up", "Running"),
    }
    assert "bgp-192.0.2.2" in shown


def test_a_link_that_is_lost_is_gone_around(lab: Lab, peer: Peer) -> None:
    """Nobody tells the other end: it does not hear hellos any more."""
    lab.run("r1", "ip link set near down")
    until(lambda: [*learnt(lab, "r2").values()] == ["10.13.0.1"] * (ROUTES + 1))
    until(lambda: learnt(lab, "r1").get("10.2.0.0/24") == "10.13.0.2")
    lab.settle()

    lab.run("h2", f"ping -c 1 -W 30 {BEHIND}")
    lab.run("r1", "ip link set near up")
    until(lambda: [*learnt(lab, "r2").values()] == ["10.12.0.1"] * (ROUTES + 1))


def test_a_filter_changes_without_a_new_session(lab: Lab, peer: Peer) -> None:
    before = peer.session()
    lab.edit("import: [100.64.0.0/10]", "import: [100.64.0.0/20]")
    (line,) = lab.lines()
    assert (line.name, line.mode) == ("r1", "live")
    lab.apply()
    inside = 256 + 1  # of 16 addresses each, and the other router's subnet

    until(lambda: len(learnt(lab, "r2")) == inside)
    until(lambda: len(learnt(lab, "r1")) == inside)
    assert peer.session() == before


def test_routes_that_are_withdrawn_go(lab: Lab, peer: Peer) -> None:
    peer.tell("disable many")
    until(lambda: set(learnt(lab, "r2")) == {"10.1.0.0/24"})
    until(lambda: set(learnt(lab, "r1")) == {"10.2.0.0/24"})
    lab.settle()

    done = lab.run("h2", f"ping -c 1 -W 5 {BEHIND}", check=False)
    assert "Destination Net Unreachable" in done.stdout


def test_a_neighbour_with_another_password_gets_no_session(lab: Lab, peer: Peer) -> None:
    lab.edit("password: secret", "password: another")
    lab.apply()

    until(lambda: sessions(lab)[("r1", "bgp-192.0.2.2")][0] != "up")
