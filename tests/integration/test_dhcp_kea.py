"""The relay agent with Kea behind a router, for both versions, and real clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from nfv.dataplane.resident import servicectl
from tests.integration.helpers.dhcpload import exchanges
from tests.integration.helpers.lab import Lab, applied
from tests.integration.test_dhcp import addresses, until

pytestmark = pytest.mark.root

TOPOLOGY = """
name: kea
saps:
  guest: {kind: host, dhcp: true}
  desk: {kind: host, ip: 10.0.2.10/24, gateway: 10.0.2.1}
  far: {kind: host, ip: [10.0.9.2/24, "2001:db8:9::2/64"], gateway: [10.0.9.1, "2001:db8:9::1"]}
vnfs:
  relay:
    type: dhcp
    mode: relay
    ip: [10.0.1.2/24, "2001:db8:1::2/64", 10.0.2.2/24, "2001:db8:2::2/64"]
    gateway: [10.0.1.1, "2001:db8:1::1"]
    servers: [10.0.9.2, "2001:db8:9::2"]
  gw:
    type: router
    interfaces:
      lan: {ip: [10.0.1.1/24, "2001:db8:1::1/64"]}
      desk: {ip: [10.0.2.1/24, "2001:db8:2::1/64"]}
      core: {ip: [10.0.9.1/24, "2001:db8:9::1/64"]}
chains:
  inside: {path: [guest, relay, "gw:lan"]}
  second: {path: [desk, relay, "gw:desk"]}
  servers: {path: ["gw:core", far]}
"""

SUBNETS4 = [
    {
        "subnet": f"10.0.{number}.0/24",
        "id": number,
        "pools": [{"pool": f"10.0.{number}.100 - 10.0.{number}.250"}],
        "option-data": [{"name": "routers", "data": f"10.0.{number}.1"}],
    }
    for number in (1, 2)
]
SUBNETS6 = [
    {
        "subnet": f"2001:db8:{number}::/64",
        "id": number,
        "pools": [{"pool": f"2001:db8:{number}::100 - 2001:db8:{number}::fff"}],
        "pd-pools": [
            {"prefix": f"2001:db8:{number}00::", "prefix-len": 40, "delegated-len": 56},
        ],
        "interface-id": name,
    }
    for number, name in ((1, "guest"), (2, "desk"))
]


def kea(directory: Path, version: int, **config: Any) -> str:
    """The command for a Kea server whose files are in a directory."""
    directory.mkdir()
    leases = {"type": "memfile", "name": str(directory / "leases.csv")}
    # The start is to be seen, and no lease: nobody reads on.
    loggers = [
        {"name": name, "severity": severity, "output_options": [{"output": "stdout"}]}
        for name, severity in (
            (f"kea-dhcp{version}", "WARN"),
            (f"kea-dhcp{version}.dhcp{version}", "INFO"),
        )
    ]
    common = {"lease-database": leases, "loggers": loggers, "valid-lifetime": 3600}
    path = directory / "kea.conf"
    path.write_text(json.dumps({f"Dhcp{version}": {**common, **config}}))
    place = f"KEA_PIDFILE_DIR={directory} KEA_LOCKFILE_DIR={directory}"
    return f"env {place} kea-dhcp{version} -c {path}"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("kea")
    four = kea(
        directory / "four",
        4,
        subnet4=SUBNETS4,
        **{"interfaces-config": {"interfaces": ["eth0"], "dhcp-socket-type": "udp"}},
    )
    six = kea(
        directory / "six",
        6,
        subnet6=SUBNETS6,
        **{
            "interfaces-config": {"interfaces": ["eth0/2001:db8:9::2"]},
            "server-id": {
                "type": "EN",
                "enterprise-id": 32473,
                "identifier": "01",
                "persist": False,
            },
        },
    )
    with applied(TOPOLOGY, "kea") as made, ExitStack() as servers:
        servers.enter_context(made.server("far", four, "DHCP4_STARTED"))
        servers.enter_context(made.server("far", six, "DHCP6_STARTED"))
        yield made


def test_a_host_gets_an_address_of_its_own_link(lab: Lab) -> None:
    until(lambda: addresses(lab, "guest"))
    (address,) = addresses(lab, "guest")

    assert address.startswith("10.0.1.1")
    lab.run("guest", "ping -c 1 -W 5 10.0.9.2")


def test_perfdhcp_gets_all_that_it_asks_for(lab: Lab) -> None:
    """It says that it is a relay agent itself: its messages are handed on by another."""
    done = lab.run("desk", "perfdhcp -4 -l eth0 -r 50 -R 100 -n 100 -W 1000000", check=False)

    assert exchanges(done.stdout) == {"DISCOVER-OFFER": (100, 100), "REQUEST-ACK": (100, 100)}


def test_perfdhcp_gets_addresses_and_prefixes(lab: Lab) -> None:
    done = lab.run(
        "desk",
        "perfdhcp -6 -l eth0 -e address-and-prefix -r 50 -R 100 -n 100 -W 1000000",
        check=False,
    )
    status = servicectl.ask(lab.name, "relay", "status")["service"]

    assert exchanges(done.stdout) == {"SOLICIT-ADVERTISE": (100, 100), "REQUEST-REPLY": (100, 100)}
    assert isinstance(status, dict)
    assert min(status["ipv6"]["requests"], status["ipv6"]["answers"]) >= 200  # guest asks, too
