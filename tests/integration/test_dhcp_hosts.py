"""Hosts that get an address of either IP version from a function of their chain, and its names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfv.dataplane import state
from nfv.dataplane.change import resolving
from nfv.dataplane.resident import clientctl
from tests.integration.helpers.lab import Lab, applied, nfvctl
from tests.integration.test_dhcp import leases, until

pytestmark = pytest.mark.root

TOPOLOGY = """
name: hosts
saps:
  one: {kind: host, dhcp: true, gateway: "fe80::1"}
  two: {kind: host, ip: 192.0.2.1/24}
  far: {kind: host, ip: "2001:db8:9::3/64", gateway: "2001:db8:9::1"}
vnfs:
  dhcp:
    type: dhcp
    ip: [10.0.1.2/24, "2001:db8:1::2/64"]
    register: names
    options: {dns: 10.0.1.53, domain: lab.example}
    subnets: [{network: 10.0.1.0/24, pools: [{range: 10.0.1.100-10.0.1.109}]}]
    ipv6:
      options: {dns: "2001:db8:1::53"}
      subnets:
        - {network: 2001:db8:1::/64, pools: [{range: "2001:db8:1::100-2001:db8:1::1ff"}]}
  names:
    type: dns
    ip: [10.0.1.53/24, "2001:db8:1::53/64"]
    gateway: "2001:db8:1::1"
    zone: lab.example
  gw:
    type: router
    interfaces:
      lan: {ip: [10.0.1.1/24, "2001:db8:1::1/64", "fe80::1/64"]}
      core: {ip: "2001:db8:9::1/64"}
  sw: {type: switch, ports: 3}
chains:
  first: {path: [one, "sw:1"]}
  second: {path: [two, "sw:2"]}
  shared: {path: ["sw:3", dhcp, names, "gw:lan"]}
  outside: {path: ["gw:core", far]}
"""

NETWORKD = "/lib/systemd/systemd-networkd"
NETWORKD_SCRIPT = f"""#!/bin/sh
# Without udev, which a read-only /sys tells it, and with files of its own.
set -eu
mount -o remount,ro,bind /sys
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/network /run/systemd/netif
chown systemd-network /run/systemd/netif
cat > /run/systemd/network/eth0.network <<'END'
[Match]
Name=eth0
[Network]
DHCP=yes
IPv6AcceptRA=no
[DHCPv4]
ClientIdentifier=mac
[DHCPv6]
WithoutRA=solicit
DUIDType=link-layer
END
exec {NETWORKD}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with applied(TOPOLOGY, "hosts") as made:
        until(lambda: len(bound(made, "one")) == 2)
        yield made


def mac(lab: Lab, host: str) -> str:
    (device,) = json.loads(lab.run(host, "ip -j link show dev eth0").stdout)
    return str(device["address"])


def bound(lab: Lab, host: str) -> set[str]:
    """The addresses that a host has a lease of."""
    own = mac(lab, host)
    rows = leases(lab).items()
    return {ip for ip, row in rows if (row["mac"], row["state"]) == (own, "bound")}


def addresses(lab: Lab, host: str) -> set[str]:
    """The addresses that a host has got for some time."""
    shown = json.loads(lab.run(host, "ip -j address show dev eth0 scope global dynamic").stdout)
    return {found["local"] for device in shown for found in device.get("addr_info", ()) if found}


def test_a_host_gets_an_address_of_either_version(lab: Lab) -> None:
    expected = bound(lab, "one")
    until(lambda: addresses(lab, "one") == expected)

    assert expected == {"10.0.1.100", "2001:db8:1::100"}
    assert [leases(lab)[ip]["hostname"] for ip in expected] == ["one", "one"]
    assert lab.lines() == []
    lab.run("one", "ping -c 1 -W 5 2001:db8:9::3")  # by the gateway that is declared


def test_a_host_knows_the_name_servers_of_both_versions(lab: Lab) -> None:
    servers = ["nameserver 10.0.1.53", "nameserver 2001:db8:1::53"]
    own = [resolving.mark(lab.name, "one"), "search lab.example", *servers]
    conf = resolving.path(lab.name, "one")
    until(lambda: conf.exists() and conf.read_text().splitlines() == own)


def test_getent_finds_hosts_by_name_and_by_address(lab: Lab) -> None:
    def getent(*words: str) -> list[str]:
        return nfvctl("exec", lab.name, "one", "--", "getent", *words).stdout.split()

    until(lambda: getent("ahostsv6", "one")[:1] == ["2001:db8:1::100"])
    assert getent("ahostsv4", "one")[0] == "10.0.1.100"
    assert getent("hosts", "2001:db8:1::100") == ["2001:db8:1::100", "one.lab.example"]
    assert getent("ahostsv6", "far.lab.example")[0] == "2001:db8:9::3"


def test_drill(lab: Lab) -> None:
    def drill(words: str) -> list[str]:
        lines = lab.run("far", f"drill @2001:db8:1::53 {words}").stdout.splitlines()
        return [line.split("\t", 2)[2] for line in lines if line and not line.startswith(";")]

    assert drill("AAAA one.lab.example") == ["IN\tAAAA\t2001:db8:1::100"]
    assert drill("-t AAAA one.lab.example") == ["IN\tAAAA\t2001:db8:1::100"]  # by TCP
    assert drill("-x 10.0.1.100") == ["IN\tPTR\tone.lab.example."]
    shown = lab.run("far", "drill @2001:db8:1::53 nobody.lab.example").stdout
    assert "rcode: NXDOMAIN" in shown


def test_dnsperf(lab: Lab, tmp_path: Path) -> None:
    questions = tmp_path / "questions"
    names = ["one", "far", "gw", "names", "nobody"]
    questions.write_text("".join(f"{name}.lab.example AAAA\n" for name in names))
    done = lab.run("far", f"dnsperf -s 2001:db8:1::53 -d {questions} -n 200 -Q 500")
    found = dict(re.findall(r"Queries (sent|completed|lost): +(\d+)", done.stdout))

    assert (found["sent"], found["completed"], found["lost"]) == ("1000", "1000", "0")
    assert re.search(r"NOERROR 800 .*NXDOMAIN 200 ", done.stdout)


def test_systemd_networkd(lab: Lab, tmp_path: Path) -> None:
    script = tmp_path / "networkd"
    script.write_text(NETWORKD_SCRIPT)
    words = f"ip netns exec {lab.netns('two')} unshare --mount sh {script}"
    with lab.server("far", words, "DHCPv4 address"):  # in the namespace that the words name
        until(lambda: len(bound(lab, "two")) == 2)
        expected = bound(lab, "two")
        until(lambda: addresses(lab, "two") == expected)


def test_a_client_that_ends_gives_its_addresses_back(lab: Lab) -> None:
    had = bound(lab, "one")
    lab.edit('dhcp: true, gateway: "fe80::1"', 'ip: ["2001:db8:1::9/64", 10.0.1.9/24]')
    lab.apply()

    until(lambda: not bound(lab, "one"))
    assert {leases(lab)[ip]["state"] for ip in had} == {"released"}
    assert addresses(lab, "one") == set()
    assert not any(clientctl.daemon(lab.name, "one", version).is_running() for version in (4, 6))
    assert not resolving.path(lab.name, "one").exists()
    events = (state.data(lab.name) / "dhcp" / "events.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in events]
    assert {line["ip"] for line in told if line["event"] == "released"} >= had


def test_a_host_with_an_address_of_one_version_asks_for_the_other(lab: Lab) -> None:
    lab.edit('ip: ["2001:db8:1::9/64", 10.0.1.9/24]', 'ip: "2001:db8:1::9/64", dhcp: true')
    lab.apply()
    until(lambda: bound(lab, "one"))

    assert [version for _, version in clientctl.started(lab.name)] == [4]
