"""Router advertisements as a file declares them, and as BIRD is told of them."""

from __future__ import annotations

import pytest

from nfv.chain.topology import loads
from nfv.errors import TopologyError
from nfv.services.bird.text import text

POOL = "network: 2001:db8:1::/64, pools: [{range: 2001:db8:1::10-2001:db8:1::20}]"
BASE = """\
name: base
saps:
  one: {kind: host, ip: "2001:db8:1::1:1/64"}
  two: {kind: host, ip: "2001:db8:1::1:2/64"}
  far: {kind: host, ip: 192.0.2.1/24}
vnfs:
  dhcp: {type: dhcp, ip: "2001:db8:1::2/64", ipv6: {SUBNETS}}
  sw: {type: switch, ports: 3}
  gw:
    type: router
    interfaces:
      lan: {ip: "2001:db8:1::1/64", advertise: {ADVERTISE}}
      far: {ip: 192.0.2.2/24}
chains:
  one: {path: [one, dhcp, "sw:1"]}
  two: {path: [two, "sw:2"]}
  up: {path: ["sw:3", "gw:lan"]}
  far: {path: ["gw:far", far]}
"""


def declared(advertise: str = "", subnets: str = f"subnets: [{{{POOL}}}]") -> str:
    return BASE.replace("ADVERTISE", advertise).replace("SUBNETS", subnets)


def told(file: str) -> str:
    found = text(loads(file), "gw")
    assert found is not None
    return found


def refused(file: str, message: str) -> int:
    """The line of the error that says so."""
    with pytest.raises(TopologyError) as caught:
        loads(file)
    problems = [problem for problem in caught.value.problems if message in problem.message]
    assert len(problems) == 1
    return problems[0].position.line


@pytest.mark.parametrize(
    ("subnets", "managed", "other", "autonomous"),
    [
        (f"subnets: [{{{POOL}}}]", "yes", "yes", "no"),
        ("subnets: [{network: 2001:db8:1::/64}]", "no", "yes", "yes"),
        ('options: {dns: "2001:db8:1::53"}', "no", "yes", "yes"),
    ],
)
def test_the_flags_follow_from_dhcp_behind_a_switch(
    subnets: str, managed: str, other: str, autonomous: str
) -> None:
    found = told(declared("", subnets))

    assert f"managed {managed};" in found
    assert f"other config {other};" in found
    assert f"prefix 2001:db8:1::/64 {{ onlink yes; autonomous {autonomous};" in found


def test_a_relay_agent_leads_to_a_server_of_addresses() -> None:
    file = declared().replace(
        f"ipv6: {{subnets: [{{{POOL}}}]}}",
        'mode: relay, gateway: "2001:db8:1::1", servers: "2001:db8:9::9"',
    )
    found = told(file)

    assert "managed yes;" in found
    assert "other config yes;" in found


def test_without_dhcp_hosts_configure_themselves() -> None:
    found = told(declared().replace("[one, dhcp, ", "[one, "))

    assert "managed no;" in found
    assert "other config no;" in found
    assert "autonomous yes;" in found


def test_a_router_that_advertises_nothing_has_no_daemon() -> None:
    assert text(loads(declared().replace(", advertise: {}", "")), "gw") is None


@pytest.mark.parametrize(
    ("advertise", "subnets", "message"),
    [
        ("managed: false", f"subnets: [{{{POOL}}}]", "dhcp gives addresses by DHCPv6 here"),
        ("managed: true", "options: {sol_max_rt: 600}", "dhcp gives no addresses by DHCPv6 here"),
        ("other: false", "options: {sol_max_rt: 600}", "dhcp gives options by DHCPv6 here"),
        ("prefixes: [{prefix: 2001:db8:2::/64}]", "", "is no prefix of the interface"),
        ("mtu: 1600", "", "larger than the interface's 1500"),
        ("interval: 100, lifetime: 99", "", "forgotten after 99 seconds"),
        (
            "prefixes: [{prefix: 2001:db8:1::/64, valid: 5, preferred: 6}]",
            "",
            "valid for 5 only",
        ),
        (
            "prefixes: [{prefix: 2001:db8:1::/64}, {prefix: 2001:db8:1::/64}]",
            "",
            "stands here twice",
        ),
        ("prefixes: [{prefix: 2001:db8::/62, autonomous: true}]", "", "of /64 only"),
    ],
)
def test_what_contradicts_is_an_error(advertise: str, subnets: str, message: str) -> None:
    assert refused(declared(advertise, subnets), message) == 12


def test_dhcp_for_another_prefix_is_an_error() -> None:
    other = POOL.replace("2001:db8:1:", "2001:db8:5:")
    file = declared("", f"subnets: [{{{other}, chains: one}}]")

    assert refused(file, "which is not on this link") == 12


def test_an_interface_without_ipv6_advertises_nothing() -> None:
    file = declared().replace("ip: 192.0.2.2/24}", "ip: 192.0.2.2/24, advertise: {}}")

    assert refused(file, "without IPv6") == 13
