"""Changes while packets pass: none is lost, and connections, counters and programs carry over."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nfv.dataplane.change.plan import Symbol
from nfv.dataplane.kernel import netns
from nfv.dataplane.kernel.bpf import Map
from nfv.dataplane.resident import agentctl
from tests.integration.helpers import traffic
from tests.integration.helpers.lab import Lab, applied, example, kill, nfvctl
from tests.integration.helpers.load import Load, load

pytestmark = pytest.mark.root

_RULES = "    rules:\n"
_PING = "      - {name: ping, action: accept, proto: icmp}\n"
_ROUTES = "      - {to: 0.0.0.0/0, via: 192.0.2.254}\n"
_OUTSIDE = '  outside: {path: ["gw:wan", wan]}\n'


_SECOND = """\
vnfs:
  second:
    type: firewall
    default: accept
    rules: [{name: web, action: drop, proto: tcp, dport: 80}]
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with applied(example("quickstart"), "hot") as made:
        yield made


@contextmanager
def lossless(lab: Lab, version: int = 4) -> Iterator[Load]:
    """Load from lan to wan of which nothing may get lost."""
    source, address = {
        4: ("10.0.1.10", "192.0.2.254"),
        6: ("2001:db8:1::10", "2001:db8:2::254"),
    }[version]
    with load(lab.netns("lan"), source, lab.netns("wan"), address, 5201) as running:
        yield running
        counts = running.stop()
    assert counts.lost == 0
    assert counts.tcp_lost == 0


def connections(lab: Lab, vnf: str) -> set[bytes]:
    """The keys of a firewall's connections, IPv4."""
    found = Map.open(lab.pins / "vnf" / vnf / "connections4")
    keys = {key for key, _ in found.items()}
    found.close()
    return keys


@pytest.mark.parametrize("version", [4, 6])
def test_rules_change_without_a_reload(lab: Lab, version: int) -> None:
    programs = lab.programs()
    text = lab.text
    with lossless(lab, version) as running:
        for number in range(5):
            lab.edit(_RULES, f"{_RULES}      - {{action: drop, proto: tcp, dport: {number + 1}}}\n")
            (line,) = lab.apply().lines
            assert (line.kind, line.name, line.mode) == ("vnf", "fw", "live")
            running.go_on()
        lab.text = text
        lab.apply()
        running.go_on()
    assert lab.programs() == programs


def test_a_new_rule_holds_for_the_next_packet(lab: Lab) -> None:
    lan, wan = lab.netns("lan"), lab.netns("wan")
    with traffic.listener(wan, "192.0.2.254", 80):
        assert traffic.outcome(lan, "192.0.2.254", 80) == "accepted"
        lab.edit(_RULES, f"{_RULES}      - {{action: reject, proto: tcp, dport: 80}}\n")
        lab.apply()
        assert traffic.outcome(lan, "192.0.2.254", 80) == "refused"


def test_counters_stay_with_their_rules(lab: Lab) -> None:
    lab.run("lan", "ping -n -c 5 -i 0.01 192.0.2.254")
    before = lab.statistics().vnfs["fw"].matched["ping"]
    assert before.packets == 10
    rules = "".join(f"      - {{action: drop, proto: tcp, dport: {n + 1}}}\n" for n in range(100))
    for text in (rules, ""):  # more than a word of rules, and back
        lab.declare(example("quickstart").replace(_RULES, _RULES + text))
        lab.apply()
        assert lab.statistics().vnfs["fw"].matched["ping"] == before
    lab.run("lan", "ping -n -c 5 -i 0.01 192.0.2.254")
    assert lab.statistics().vnfs["fw"].matched["ping"].packets == 20


def test_tables_grow_under_load(lab: Lab) -> None:
    """More rules than the maps hold: others take their place, and the programs that know them."""
    text = lab.text
    more = "".join(
        f"      - {{action: drop, proto: udp, src: 10.{n}.0.0/16, dport: {n}}}\n"
        for n in range(2, 202)
    )
    with lossless(lab) as running:
        for _ in range(2):
            lab.edit(_RULES, _RULES + more)
            assert any(line.mode == "reload" for line in lab.apply().lines)
            running.go_on()
            assert lab.plan().empty
            lab.text = text
            lab.apply()
            running.go_on()


def test_a_smaller_connection_table_keeps_connections(lab: Lab) -> None:
    with lossless(lab) as running:
        before = connections(lab, "fw")
        lab.edit("    default: drop ", "    connections: 1000\n    default: drop ")
        lab.apply()
        assert connections(lab, "fw") >= before
        running.go_on()
        lab.edit("    connections: 1000\n", "    connections: 100000\n")
        lab.apply()
        assert connections(lab, "fw") >= before
        running.go_on()


@pytest.mark.parametrize("default", ["accept", "reject"])
def test_the_default_policy_changes(lab: Lab, default: str) -> None:
    lan, wan = lab.netns("lan"), lab.netns("wan")
    with lossless(lab) as running:
        lab.edit("default: drop ", f"default: {default} ")
        (line,) = lab.apply().lines
        assert line.mode == "live"
        running.go_on()
    with traffic.listener(wan, "192.0.2.254", 9999):
        expected = {"accept": "accepted", "reject": "refused"}[default]
        assert traffic.outcome(lan, "192.0.2.254", 9999) == expected


def test_established_connections_outlive_their_rule(lab: Lab) -> None:
    with lossless(lab) as running:
        lab.edit("      - {name: iperf3, action: accept, proto: [tcp, udp], dport: 5201}\n", "")
        lab.apply()
        running.go_on()
    lan, wan = lab.netns("lan"), lab.netns("wan")
    with traffic.listener(wan, "192.0.2.254", 5201):
        assert traffic.outcome(lan, "192.0.2.254", 5201) == "silence"


def test_routes_change_without_a_reload(lab: Lab) -> None:
    """The default route is replaced in one step; another one comes and goes."""
    lab.edit("192.0.2.254/24, 2001", "192.0.2.254/24, 192.0.2.253/24, 2001")
    lab.apply()
    programs = lab.programs()
    lab.run("wan", "ip address add 203.0.113.1/32 dev lo")
    with load(lab.netns("lan"), "10.0.1.10", lab.netns("wan"), "203.0.113.1", 5201) as running:
        for old, via in (("254", "253"), ("253", "254")):
            lab.edit(f"0.0.0.0/0, via: 192.0.2.{old}", f"0.0.0.0/0, via: 192.0.2.{via}")
            (line,) = lab.apply().lines
            assert (line.name, line.mode) == ("gw", "live")
            running.go_on()
        lab.edit(_ROUTES, f"{_ROUTES}      - {{to: 203.0.113.0/24, via: 192.0.2.253}}\n")
        lab.apply()
        running.go_on()
        lab.edit("      - {to: 203.0.113.0/24, via: 192.0.2.253}\n", "")
        lab.apply()
        running.go_on()
        counts = running.stop()
    assert (counts.lost, counts.tcp_lost) == (0, 0)
    assert lab.programs() == programs


def test_a_host_is_added_and_removed(lab: Lab) -> None:
    text = lab.text
    programs = lab.programs()
    with lossless(lab) as running:
        for _ in range(2):
            lab.edit("saps:\n", "saps:\n  dmz: {kind: host, ip: 10.0.3.10/24, gateway: 10.0.3.1}\n")
            # First in the file: the interfaces of the router are numbered otherwise then.
            lab.edit("      lan: {ip:", "      dmz: {ip: 10.0.3.1/24}\n      lan: {ip:")
            lab.edit("chains:\n", 'chains:\n  third: {path: [dmz, "gw:dmz"]}\n')
            symbols = {(line.kind, line.name): line.symbol for line in lab.apply().lines}
            assert symbols["sap", "dmz"] == symbols["chain", "third"] == Symbol.ADD
            assert ("sap", "wan") in symbols or lab.programs()["wan"] == programs["wan"]
            running.go_on()
            lab.run("dmz", "ping -n -c 2 -i 0.01 -W 2 192.0.2.254")
            lab.text = text
            lab.apply()
            running.go_on()
            assert not netns.exists(lab.netns("dmz"))
            assert lab.plan().empty
    assert set(lab.programs()) == set(programs)


def test_interfaces_change_places(lab: Lab) -> None:
    """The programs know interfaces by their ordinals, and so do the tables."""
    lan = "      lan: {ip: [10.0.1.1/24, 2001:db8:1::1/64]}\n"
    wan = "      wan: {ip: [192.0.2.1/24, 2001:db8:2::1/64]}\n"
    with lossless(lab) as running:
        lab.edit(lan + wan, wan + lan)
        lab.apply()
        running.go_on()
        assert lab.plan().empty
        lab.edit(wan + lan, lan + wan)
        lab.apply()
        running.go_on()


def test_a_chain_beside_the_loaded_ones_changes_nothing_there() -> None:
    """A pair of hosts comes and goes: the programs of the others stay."""
    with applied(example("quickstart"), "hot") as lab:
        text, programs = lab.text, lab.programs()
        with lossless(lab) as running:
            lab.edit(
                "saps:\n",
                "saps:\n  x: {kind: host, ip: 10.9.0.1/24}\n  y: {kind: host, ip: 10.9.0.2/24}\n",
            )
            lab.edit("vnfs:\n", "vnfs:\n  bump: {type: firewall, default: accept}\n")
            lab.edit("chains:\n", "chains:\n  aside: {path: [x, bump, y]}\n")
            lab.apply()
            running.go_on()
            lab.run("x", "ping -n -c 2 -i 0.01 -W 2 10.9.0.2")
            assert programs.items() <= lab.programs().items()
            lab.text = text
            lab.apply()
            running.go_on()
        assert lab.programs() == programs


def test_a_firewall_enters_and_leaves_a_chain(lab: Lab) -> None:
    text = lab.text
    with lossless(lab) as running:
        for _ in range(2):
            lab.edit(
                "vnfs:\n",
                _SECOND,
            )
            lab.edit(_OUTSIDE, '  outside: {path: ["gw:wan", second, wan]}\n')
            lines = {(line.kind, line.name): line for line in lab.apply().lines}
            assert lines["vnf", "second"].symbol is Symbol.ADD
            assert lines["chain", "outside"].mode == "reload"
            running.go_on()
            with traffic.listener(lab.netns("wan"), "192.0.2.254", 80):
                assert traffic.outcome(lab.netns("lan"), "192.0.2.254", 80) == "silence"
            lab.text = text
            lab.apply()
            running.go_on()
            with traffic.listener(lab.netns("wan"), "192.0.2.254", 80):
                assert traffic.outcome(lab.netns("lan"), "192.0.2.254", 80) == "accepted"


def test_the_mtu_grows_and_shrinks(lab: Lab) -> None:
    """Beyond a page, frames come in several parts, for which veths need their programs anew."""
    text = lab.text
    lan, wan = lab.netns("lan"), lab.netns("wan")
    with load(lan, "10.0.1.10", wan, "192.0.2.254", 5201) as running:
        for sap in ("lan", "wan"):
            lab.edit(f"  {sap}:\n    kind: host\n", f"  {sap}:\n    kind: host\n    mtu: 9000\n")
        lab.edit("lan: {ip: [10.0.1.1/24", "lan: {mtu: 9000, ip: [10.0.1.1/24")
        lab.edit("wan: {ip: [192.0.2.1/24", "wan: {mtu: 9000, ip: [192.0.2.1/24")
        lab.apply()
        assert lab.plan().empty
        running.go_on()
        lab.run("lan", "ping -n -M do -c 2 -i 0.01 -W 2 -s 8972 192.0.2.254")
        lab.text = text
        lab.apply()
        assert lab.plan().empty
        running.go_on()


def blackholed(lab: Lab) -> int:
    """Packets that the router's program dropped by a blackhole route."""
    ended = lab.statistics().vnfs["gw"].ended
    return ended["blackhole"].packets if "blackhole" in ended else 0


def test_routes_by_hand_are_in_the_fast_path_at_once(lab: Lab) -> None:
    """Counted by XDP: the kernel, which has the route at once, would count nothing there."""
    lan = lab.netns("lan")
    delays = []
    with traffic.datagrams(lan, "10.0.1.10", 0) as sender:
        for number in range(5):
            target = f"198.51.{number}.1"
            before = blackholed(lab)
            began = time.monotonic()
            lab.run("gw", f"ip route add blackhole {target}/32")
            while blackholed(lab) == before:
                sender.sendto(b"", (target, 5201))
                assert time.monotonic() - began < traffic.PATIENCE
            delays.append(time.monotonic() - began)
    assert min(delays) < 1  # seconds; without events, the agent would look every five


def test_routes_by_hand_are_no_change(lab: Lab) -> None:
    lab.run("gw", "ip route add 10.77.0.0/16 via 192.0.2.254")
    assert lab.plan().empty


def test_a_host_with_another_mac_is_followed(lab: Lab) -> None:
    lab.run("lan", "ping -n -c 1 -W 2 192.0.2.254")
    with netns.entered(lab.netns("wan")):
        netns.write_sysctl("net/ipv4/conf/eth0/arp_notify", 1)
    lab.run("wan", "ip link set dev eth0 address 02:00:00:00:00:99")  # announced by ARP
    lab.settle()
    deadline = time.monotonic() + 3 * traffic.PATIENCE  # a neighbour is believed for 1 s at least
    while lab.run("lan", "ping -n -c 1 -W 1 192.0.2.254", check=False).returncode:
        lab.run("wan", "ip link set dev eth0 address 02:00:00:00:00:99")
        assert time.monotonic() < deadline
    lab.settle()
    before = lab.statistics()
    lab.run("lan", "ping -n -c 10 -i 0.01 -W 2 192.0.2.254")
    assert lab.statistics().since(before).vnfs["gw"].ended["forwarded"].packets == 20


def agent_pid(lab: Lab) -> int:
    found = lab.agent()["pid"]
    assert isinstance(found, int)
    return found


def test_the_agent_may_be_killed(lab: Lab) -> None:
    programs, maps = lab.programs(), lab.maps()
    with lossless(lab) as running:
        for _ in range(3):
            before = agent_pid(lab)
            kill(before)
            running.go_on()
            assert agent_pid(lab) != before  # asked once the supervisor has started another
            running.go_on()
    assert (lab.programs(), lab.maps()) == (programs, maps)
    assert lab.plan().empty
    counted = blackholed(lab)
    lab.run("gw", "ip route add blackhole 198.51.100.0/24")
    lab.settle()
    with traffic.datagrams(lab.netns("lan"), "10.0.1.10", 0) as sender:
        sender.sendto(b"", ("198.51.100.1", 5201))
    assert blackholed(lab) == counted + 1


def test_any_command_starts_a_killed_agent_again(lab: Lab) -> None:
    with lossless(lab) as running:
        supervisor = int((lab.directory / "supervisor.lock").read_text())
        before = agent_pid(lab)
        for process in (supervisor, before):
            kill(process)
        assert not agentctl.is_running(lab.name)
        running.go_on()
        done = nfvctl("stats", lab.name)
        assert done.returncode == 0, done.stderr
        assert agent_pid(lab) != before
        running.go_on()
