"""DHCPv6 with real clients, through a real relay agent, and under load."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfv.dataplane.resident import servicectl
from tests.integration.helpers.dhcpload import exchanges
from tests.integration.helpers.lab import Lab, applied, kill, nfvctl
from tests.integration.test_dhcp import leases, until

pytestmark = pytest.mark.root

TOPOLOGY = """
name: six
saps:
  one: {kind: host, ip: 192.0.2.1/24}
  two: {kind: host, ip: 192.0.2.2/24}
  far: {kind: host, ip: "2001:db8:9::3/64", gateway: "2001:db8:9::1"}
vnfs:
  relay:
    type: dhcp
    mode: relay
    ip: "2001:db8:2::2/64"
    gateway: "2001:db8:2::1"
    servers: "2001:db8:9::2"
    ipv6: {remote_id: {enterprise: 32473, value: agent}}
  dhcp:
    type: dhcp
    ip: ["2001:db8:1::2/64", "2001:db8:9::2/64"]
    register: names
    ipv6:
      rapid_commit: true
      options: {dns: "2001:db8:1::53", search: [lab.example, example.org], sol_max_rt: 600}
      subnets:
        - network: 2001:db8:1::/64
          chains: wire
          pools: [{range: "2001:db8:1::1000-2001:db8:1::1fff"}]
          delegate: [{within: "2001:db8:100::/40", length: 56}]
        - network: 2001:db8:2::/64
          reservations: [{interface_id: two, ip: "2001:db8:2::7", hostname: desk}]
        - network: 2001:db8:9::/64
  names: {type: dns, ip: "2001:db8:1::53/64", zone: lab.example}
  gw:
    type: router
    interfaces:
      lan: {ip: "2001:db8:1::1/64"}
      desk: {ip: "2001:db8:2::1/64"}
      core: {ip: "2001:db8:9::1/64"}
chains:
  wire: {path: [one, dhcp, names, "gw:lan"]}
  desk: {path: [two, relay, "gw:desk"]}
  servers: {path: ["gw:core", dhcp, far]}
"""

SCRIPT = """#!/bin/sh
env >> {told}
[ -z "$new_ip6_address" ] || ip -6 address replace $new_ip6_address/128 dev $interface
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with applied(TOPOLOGY, "six") as made:
        yield made


@pytest.fixture
def dhclient(tmp_path: Path) -> str:
    """The command for the client of ISC, whose lease and environment are in files."""
    script = tmp_path / "script"
    script.write_text(SCRIPT.format(told=tmp_path / "told"))
    script.chmod(0o700)
    return (
        f"dhclient -6 -D LL -lf {tmp_path}/leases -pf {tmp_path}/pid -sf {script} "
        "-cf /dev/null eth0"
    )


def bound(lab: Lab, port: str) -> dict[str, dict[str, object]]:
    rows = leases(lab)
    return {ip: row for ip, row in rows.items() if (row["port"], row["state"]) == (port, "bound")}


def test_dhclient(lab: Lab, dhclient: str, tmp_path: Path) -> None:
    lab.run("one", f"{dhclient} -N -P -1")
    text = (tmp_path / "leases").read_text()
    (address,) = re.findall(r"iaaddr (\S+) {", text)
    (prefix,) = re.findall(r"iaprefix (\S+) {", text)
    told = (tmp_path / "told").read_text()
    rows = bound(lab, "one")

    assert address.startswith("2001:db8:1::1")
    assert prefix.endswith("::/56")
    assert set(rows) == {address, prefix}
    assert rows[address]["mac"] == rows[prefix]["mac"]
    assert "new_dhcp6_name_servers=2001:db8:1::53\n" in told
    assert "new_dhcp6_domain_search=lab.example. example.org.\n" in told
    lab.run("one", f"{dhclient} -N -P -r")
    until(lambda: not bound(lab, "one"))
    lab.run("one", f"ip -6 address delete {address}/128 dev eth0")


def test_dhclient_asks_for_information_only(lab: Lab, dhclient: str, tmp_path: Path) -> None:
    lab.run("one", f"{dhclient} -S -1")
    told = (tmp_path / "told").read_text()

    assert "new_dhcp6_name_servers=2001:db8:1::53\n" in told
    assert not bound(lab, "one")


def test_dhcpcd(lab: Lab, tmp_path: Path) -> None:
    """With an address and a prefix, and finds nobody else at its address."""
    (tmp_path / "conf").write_text(
        "ipv6only\nnoipv6rs\nduid ll\noption rapid_commit\ninterface eth0\nia_na 1\nia_pd 2 -\n"
    )
    lab.run("one", f"dhcpcd -6 -1 -B -d -f {tmp_path}/conf -c /bin/true -t 15 eth0")
    rows = bound(lab, "one")

    assert len(rows) == 2
    (address,) = [ip for ip in rows if "/" not in ip]
    shown = lab.run("one", "ip -j -6 address show dev eth0 scope global").stdout
    assert address in [
        found.get("local") for device in json.loads(shown) for found in device["addr_info"]
    ]
    lab.run("one", "ip -6 route replace default via 2001:db8:1::1 onlink dev eth0")
    lab.run("one", "ping -c 1 -W 5 2001:db8:9::3")


def test_a_client_behind_a_relay_agent(lab: Lab, dhclient: str, tmp_path: Path) -> None:
    lab.run("two", f"{dhclient} -N -1")
    (row,) = bound(lab, "2001:db8:2::2").values()
    status = servicectl.ask(lab.name, "relay", "status")["service"]

    assert (row["ip"], row["agent"]) == ("2001:db8:2::7", b"two".hex())
    assert row["hostname"] == "desk"
    mac = json.loads(lab.run("two", "ip -j link show dev eth0").stdout)[0]["address"]
    assert row["mac"] == mac
    assert isinstance(status, dict)
    assert status["ipv6"]["answers"] >= 2
    answer = lab.run("far", "dig +short @2001:db8:1::53 AAAA desk.lab.example").stdout
    assert answer == "2001:db8:2::7\n"
    lab.run("two", f"{dhclient} -N -r")
    until(lambda: not bound(lab, "2001:db8:2::2"))


def test_perfdhcp_gets_all_that_it_asks_for(lab: Lab) -> None:
    done = lab.run(
        "one",
        "perfdhcp -6 -l eth0 -e address-and-prefix -r 100 -R 200 -f 20 -F 10 -n 200 -W 1000000",
        check=False,
    )
    counts = exchanges(done.stdout)
    assert counts["SOLICIT-ADVERTISE"] == (200, 200)
    assert counts["REQUEST-REPLY"] == (200, 200)
    for exchange in ("RENEW-REPLY", "RELEASE-REPLY"):
        sent, received = counts[exchange]
        assert sent == received > 0
    released = counts["RELEASE-REPLY"][0]
    given = [row for row in leases(lab).values() if "000c0102" in str(row["client_id"])]
    states = [row["state"] for row in given]
    assert states.count("bound") + states.count("released") == 400
    assert states.count("released") == 2 * released


def test_leases_survive_the_service(lab: Lab) -> None:
    before = leases(lab)
    status = servicectl.ask(lab.name, "dhcp", "status")
    assert isinstance(status["pid"], int)
    kill(status["pid"])

    assert leases(lab) == before


def test_a_prefix_is_released_by_hand(lab: Lab) -> None:
    prefix = next(ip for ip in bound(lab, "one") if "/" in ip)
    done = nfvctl("tell", lab.name, "dhcp", "release", f"ip={prefix}")

    assert done.returncode == 0
    assert leases(lab)[prefix]["state"] == "released"


def test_own_addresses_answer(lab: Lab) -> None:
    lab.run("one", "ip -6 address replace 2001:db8:1::9/64 dev eth0 nodad")
    lab.run("one", "ping -c 1 -W 5 2001:db8:1::2")
    lab.run("far", "ping -c 1 -W 5 2001:db8:9::2")
