"""Switches and hubs in a topology file: ports, loops, and which ports have devices."""

from __future__ import annotations

import pytest

from nfv.chain.graph import ports
from nfv.chain.hook import hooks
from nfv.chain.topology import Topology, loads
from nfv.errors import TopologyError
from nfv.functions.switch import Switch

HOSTS = "abcdef"


def text(vnfs: str, *paths: str, saps: str = "") -> str:
    """Some hosts, functions, and chains by the paths."""
    hosts = "".join(
        f"  {host}: {{kind: host, ip: 10.9.0.{number}/24}}\n"
        for number, host in enumerate(HOSTS, 1)
    )
    chains = "".join(f"  c{number}: {{path: [{path}]}}\n" for number, path in enumerate(paths))
    return f"name: lan\nsaps:\n{hosts}{saps}vnfs:\n{vnfs}\nchains:\n{chains}"


def lan(ports: str, *, more: str = "") -> Topology:
    return loads(text(f"  sw: {{type: switch, ports: {ports}{more}}}", 'a, "sw:1"', 'b, "sw:2"'))


def switch(ports: str, **more: object) -> Switch:
    found = lan(ports, more="".join(f", {key}: {value}" for key, value in more.items())).vnfs["sw"]
    assert isinstance(found, Switch)
    return found


def refused(written: str) -> list[str]:
    with pytest.raises(TopologyError) as caught:
        loads(written)
    return [problem.message for problem in caught.value.problems]


def test_ports_by_number_and_by_name() -> None:
    assert list(switch("3").interfaces) == ["1", "2", "3"]
    assert list(switch("{1: {}, 2: {}, uplink: {}}").interfaces) == ["1", "2", "uplink"]


def test_vlans_of_a_port() -> None:
    ports = "{1: {vlan: 10}, 2: {trunk: [5, 6], native: 7}, 3: {trunk: all}, 4: {}}"
    found = [(port.untagged, {*port.members}) for port in switch(ports).ports.values()]
    assert found[0] == (10, {10})
    assert found[1] == (7, {5, 6, 7})
    assert found[2] == (0, set(range(1, 4095)))
    assert found[3] == (1, {1})


@pytest.mark.parametrize(
    ("ports", "more", "message"),
    [
        ("1", "", "1 is too small, the least is 2"),
        ("257", "", "257 is too large, the most is 256"),
        ("{1: {}}", "", "a switch has 2 to 256 ports"),
        ("{1: {vlan: 4095}, 2: {}}", "", "4095 is too large, the most is 4094"),
        ("{1: {vlan: 1, trunk: all}, 2: {}}", "", "vlan and trunk exclude each other"),
        ("{1: {native: 1}, 2: {}}", "", "only a trunk has a native VLAN"),
        ("2", ", mtu: 9000", "9000 is too large, the most is 3400"),
        ("2", ", static: [{mac: 02:00:00:00:00:01, port: 3}]", "no port '3'"),
        ("2", ", static: [{mac: 02:00:00:00:00:01, port: 1, vlan: 2}]", "the switch has no VLANs"),
        (
            "{1: {vlan: 2}, 2: {}}",
            ", static: [{mac: 02:00:00:00:00:01, port: 1, vlan: 3}]",
            "port '1' is no member of VLAN 3",
        ),
        (
            "{1: {trunk: all}, 2: {}}",
            ", static: [{mac: 02:00:00:00:00:01, port: 1}]",
            "in which VLAN is it? port '1' is a trunk",
        ),
        (
            "2",
            ", static: [{mac: 02:00:00:00:00:01, port: 1}, {mac: 02:00:00:00:00:01, port: 2}]",
            "static[0] is the same station",
        ),
    ],
)
def test_what_is_refused(ports: str, more: str, message: str) -> None:
    chains = ('a, "sw:1"', 'b, "sw:2"') if "{1: {}}" not in ports else ('a, "sw:1"',)
    written = text(f"  sw: {{type: switch, ports: {ports}{more}}}", *chains)
    assert message in refused(written)


SWITCHES = "".join(f"  s{number}: {{type: switch, ports: 4}}\n" for number in (1, 2, 3))
LINE = ('"s1:4", "s2:1"', '"s2:4", "s3:1"')
GATEWAY = "  gw: {type: router, interfaces: {x: {ip: 10.1.0.1/24}, y: {ip: 10.2.0.1/24}}}\n"


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ((*LINE, '"s3:4", "s1:1"'), "from s3:4 to s1:1 there is chain 'c1', chain 'c0' already"),
        (('"s1:1", "s2:1"', '"s1:2", fw, "s2:2"'), "from s1:2 to s2:2 there is chain 'c0' already"),
        (('"s1:1", "s1:2"',), "both ends are ports of 's1'"),
        (
            (*LINE, '"s1:1", "gw:x"', '"s3:2", fw, "gw:x"'),
            "from s3:2 to gw:x there is chain 'c1', chain 'c0', chain 'c2' already",
        ),
    ],
)
def test_loops_are_refused(paths: tuple[str, ...], message: str) -> None:
    functions = SWITCHES + GATEWAY + "  fw: {type: firewall}\n"
    found = refused(text(functions, *paths))
    assert f"closes a loop: {message}" in found


def test_a_router_between_segments_is_no_loop() -> None:
    paths = ('"s1:1", "gw:x"', '"s2:1", "gw:y"', 'a, "s1:2"', 'b, "s2:2"')
    assert loads(text(SWITCHES + GATEWAY, *paths)).chains


def test_chains_with_classifiers_to_one_port_are_no_loop() -> None:
    written = text(SWITCHES + "  fw: {type: firewall}\n", 'a, fw, "s1:1"', 'a, "s1:1"')
    assert loads(written.replace('fw, "s1:1"]', 'fw, "s1:1"], match: {proto: tcp}')).chains


def with_device(topology: Topology) -> set[str]:
    return {str(place) for place in ports(topology) if place.node not in topology.saps}


def test_a_port_has_a_device_if_a_program_is_behind_it() -> None:
    assert with_device(lan("8")) == set()
    assert with_device(lan("{1: {vlan: 1}, 2: {}, 3: {}}")) == {"sw:1", "sw:2"}
    assert with_device(lan("{1: {isolated: true}, 2: {}}")) == set()
    assert with_device(lan("{1: {isolated: true}, 2: {isolated: true}}")) == {"sw:1", "sw:2"}
    functions = "  sw: {type: switch, ports: 4}\n  fw: {type: firewall}\n"
    assert with_device(loads(text(functions, 'a, "sw:1"', 'b, fw, "sw:2"'))) == {"sw:2"}


def test_a_switch_has_one_hook() -> None:
    written = text("  sw: {type: switch, ports: 4}", 'a, "sw:1"', 'b, "sw:2"', "c, d")
    assert {hook.value for hook in hooks(loads(written)).values()} == {"tc"}
    mixed = written.replace("a: {kind: host", "a: {kind: host, hook: xdp")
    found = {place.node: hook.value for place, hook in hooks(loads(mixed)).items()}
    assert (found["a"], found["b"], found["c"]) == ("xdp", "xdp", "tc")
    both = mixed.replace("b: {kind: host", "b: {kind: host, hook: tc")
    assert refused(both) == ["a has xdp, and a switch sends from both hooks"]
