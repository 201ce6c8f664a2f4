"""Apply is idempotent, and mends whatever was taken away by hand without touching the rest."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest

from nfv.dataplane.change.plan import Symbol
from nfv.dataplane.kernel import netns
from nfv.dataplane.resident import agentctl
from tests.integration.helpers import traffic
from tests.integration.helpers.lab import EXAMPLES, Lab, applied, example, kill, lab, run_in
from tests.integration.helpers.load import load

pytestmark = pytest.mark.root

# Two routers side by side: the test damages `left` and what hangs on it, and watches `right`.
_TWO = """\
name: two
saps:
  a: {kind: host, ip: [10.0.1.10/24, "2001:db8:1::10/64"], gateway: [10.0.1.1, "2001:db8:1::1"]}
  b: {kind: host, ip: [10.0.2.10/24, "2001:db8:2::10/64"], gateway: [10.0.2.1, "2001:db8:2::1"]}
  c: {kind: host, ip: [10.0.3.10/24, "2001:db8:3::10/64"], gateway: [10.0.3.1, "2001:db8:3::1"]}
  d: {kind: host, ip: [10.0.4.10/24, "2001:db8:4::10/64"], gateway: [10.0.4.1, "2001:db8:4::1"]}
vnfs:
  fw: {type: firewall, rules: [{name: all, action: accept, proto: [tcp, udp, icmp, icmpv6]}]}
  left:
    type: router
    interfaces:
      a: {ip: [10.0.1.1/24, "2001:db8:1::1/64"]}
      b: {ip: [10.0.2.1/24, "2001:db8:2::1/64"]}
    routes:
      - {to: 10.9.0.0/16, via: 10.0.2.10}
      - {to: 10.8.0.0/16, type: blackhole}
      - {to: "2001:db8:9::/48", via: "2001:db8:2::10"}
  guard: {type: firewall, rules: [{name: all, action: accept, proto: [tcp, udp, icmp]}]}
  right:
    type: router
    interfaces:
      c: {ip: [10.0.3.1/24, "2001:db8:3::1/64"]}
      d: {ip: [10.0.4.1/24, "2001:db8:4::1/64"]}
chains:
  a: {path: [a, fw, "left:a"]}
  b: {path: ["left:b", b]}
  c: {path: [c, guard, "right:c"]}
  d: {path: ["right:d", d]}
"""


@pytest.fixture(scope="module")
def two() -> Iterator[Lab]:
    with applied(_TWO, "apply") as made:
        yield made


@pytest.mark.parametrize("stem", sorted(path.stem for path in EXAMPLES.glob("*.yaml")))
def test_a_second_apply_changes_nothing(stem: str) -> None:
    with lab(example(stem), "apply") as made:
        first = made.apply()
        assert {line.symbol for line in first.lines} == {Symbol.ADD}
        named = {(line.kind, line.name) for line in first.lines}
        topology = made.topology
        assert named == {
            ("topology", made.name),
            *(("sap", name) for name in topology.saps),
            *(("vnf", name) for name in topology.vnfs),
            *(("chain", name) for name in topology.chains),
        }
        assert made.plan().empty
        assert made.apply().empty


def test_a_comment_is_no_change(two: Lab) -> None:
    before = two.agent()["generation"]
    two.text += "# a comment\n"
    assert two.apply().empty
    assert two.agent()["generation"] == before


def test_traffic_does_not_make_changes(two: Lab) -> None:
    two.run("a", "ping -c 1 10.0.2.10")
    two.run("a", "ping -c 1 2001:db8:2::10")
    assert two.plan().empty


def ip_in(node: str, command: str) -> Callable[[Lab], None]:
    def damage(lab: Lab) -> None:
        run_in(lab.netns(node), f"ip {command}")

    return damage


def delete_namespace(node: str) -> Callable[[Lab], None]:
    return lambda lab: netns.delete(lab.netns(node))


def set_sysctl(node: str, path: str, value: int) -> Callable[[Lab], None]:
    def damage(lab: Lab) -> None:
        with netns.entered(lab.netns(node)):
            netns.write_sysctl(path, value)

    return damage


def unpin(*names: str) -> Callable[[Lab], None]:
    def damage(lab: Lab) -> None:
        for name in names:
            path = lab.pins / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def kill_agent(lab: Lab) -> None:
    """Kill the supervisor, which has no time to end its agent, and the agent."""
    supervisor = int((lab.directory / "supervisor.lock").read_text())
    agent = lab.agent()["pid"]
    assert isinstance(agent, int)
    for process in (supervisor, agent):
        kill(process)


_DAMAGES = {
    "namespace of a host": (delete_namespace("a"), {("sap", "a")}),
    "namespace of a router": (delete_namespace("left"), {("vnf", "left")}),
    "device of a host": (ip_in("a", "link delete eth0"), {("sap", "a")}),
    "device of a router": (ip_in("left", "link delete dev a"), {("vnf", "left")}),
    "outer device of a host": (ip_in("", "link delete dev b"), {("sap", "b")}),
    "device renamed": (ip_in("a", "link set eth0 down name other"), {("sap", "a")}),
    "outer device down": (ip_in("", "link set dev a down"), {("sap", "a")}),
    "inner device down": (ip_in("a", "link set eth0 down"), {("sap", "a")}),
    "MTU": (ip_in("left", "link set dev a mtu 1400"), {("vnf", "left")}),
    "MAC address": (ip_in("left", "link set dev a address 02:00:00:00:00:77"), {("vnf", "left")}),
    "GRO off": (lambda lab: _gro_off(lab), {("sap", "b")}),
    "IPv4 address": (ip_in("left", "address del 10.0.1.1/24 dev a"), {("vnf", "left")}),
    "IPv6 address": (ip_in("a", "address del 2001:db8:1::10/64 dev eth0"), {("sap", "a")}),
    "surplus address": (ip_in("left", "address add 10.7.7.7/24 dev a"), {("vnf", "left")}),
    "route": (ip_in("left", "route del 10.9.0.0/16"), {("vnf", "left")}),
    "blackhole": (ip_in("left", "route del blackhole 10.8.0.0/16"), {("vnf", "left")}),
    "IPv6 route": (ip_in("left", "-6 route del 2001:db8:9::/48"), {("vnf", "left")}),
    "default route of a host": (ip_in("a", "route del default"), {("sap", "a")}),
    "forwarding off": (set_sysctl("left", "net/ipv4/ip_forward", 0), {("vnf", "left")}),
    "program detached": (unpin("port/a/link"), {("sap", "a")}),
    "program of a router detached": (unpin("port/left:b/link"), {("vnf", "left")}),
    "map of a firewall": (unpin("vnf/fw/matcher"), {("vnf", "fw")}),
    "all maps of a firewall": (unpin("vnf/fw"), {("vnf", "fw")}),
    "maps of a router": (unpin("vnf/left"), {("vnf", "left")}),
    "everything of a port": (unpin("port/left:a"), {("vnf", "left")}),
    "agent and supervisor": (kill_agent, set()),
}


def _gro_off(lab: Lab) -> None:
    run_in(lab.netns("b"), "ethtool -K eth0 gro off")


@pytest.mark.parametrize("damage", _DAMAGES)
def test_damage_is_planned_and_mended(two: Lab, damage: str) -> None:
    do, expected = _DAMAGES[damage]
    two.run("c", "ping -c 1 10.0.4.10")
    with load(two.netns("c"), "10.0.3.10", two.netns("d"), "10.0.4.10", 5201) as running:
        do(two)
        lines = two.lines()
        named = {(line.kind, line.name) for line in lines if line.kind != "topology"}
        assert named >= expected
        if not damage.startswith(("map", "all maps")):  # whose programs are all those that use it
            assert all(name not in ("c", "d", "right", "guard") for _, name in named)
        assert all(line.reason for line in lines if line.kind != "topology"), lines
        two.apply()
        assert two.plan().empty
        running.go_on()
        counts = running.stop()
    assert (counts.lost, counts.tcp_lost) == (0, 0)
    for address in ("10.0.2.10", "2001:db8:2::10"):
        two.run("a", f"ping -n -c 2 -i 0.01 -W 2 {address}")
    assert traffic.checksum_errors(two.netns("b")) == 0


def test_everything_unpinned(two: Lab) -> None:
    shutil.rmtree(two.pins)
    assert not two.plan().empty
    two.apply()
    assert two.plan().empty
    two.run("a", "ping -n -c 2 -i 0.01 -W 2 10.0.2.10")


def test_all_namespaces_deleted(two: Lab) -> None:
    for name in netns.names(two.netns()):
        netns.delete(name)
    two.apply()
    assert two.plan().empty
    two.run("a", "ping -n -c 2 -i 0.01 -W 2 10.0.2.10")


def test_state_lost(two: Lab) -> None:
    """Everything runs, only the record of it is gone."""
    agentctl.stop(two.name)
    shutil.rmtree(two.directory)
    two.apply()
    assert two.plan().empty
    two.run("a", "ping -n -c 2 -i 0.01 -W 2 10.0.2.10")
