"""The function dhcp as a relay agent: a real client on one side, a server behind a router."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nfv.dataplane.resident import servicectl
from tests.integration.helpers.lab import Lab, applied
from tests.integration.test_dhcp import addresses, until

pytestmark = pytest.mark.root

TOPOLOGY = """
name: relay
saps:
  guest: {kind: host, dhcp: true}
  desk: {kind: host, dhcp: true}
  far: {kind: host, ip: 10.0.9.3/24, gateway: 10.0.9.1}
vnfs:
  relay:
    type: dhcp
    mode: relay
    ip: [10.0.1.2/24, 10.0.2.2/24]
    gateway: 10.0.1.1
    servers: 10.0.9.2
  server:
    type: dhcp
    ip: 10.0.9.2/24
    subnets:
      - {network: 10.0.9.0/24}
      - network: 10.0.1.0/24
        pools: [{range: 10.0.1.100-10.0.1.109}]
        options: {routers: 10.0.1.1}
      - network: 10.0.2.0/24
        reservations: [{circuit_id: desk, ip: 10.0.2.7}]
  gw:
    type: router
    interfaces:
      lan: {ip: 10.0.1.1/24}
      desk: {ip: 10.0.2.1/24}
      core: {ip: 10.0.9.1/24}
chains:
  inside: {path: [guest, relay, "gw:lan"]}
  desk: {path: [desk, relay, "gw:desk"]}
  servers: {path: ["gw:core", server, far]}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with applied(TOPOLOGY, "relay") as made:
        until(lambda: addresses(made, "guest") and addresses(made, "desk"))
        yield made


def test_clients_get_addresses_of_their_own_links(lab: Lab) -> None:
    (guest,) = addresses(lab, "guest")

    assert guest.startswith("10.0.1.10")
    assert addresses(lab, "desk") == ["10.0.2.7/24"]  # reserved by what the relay agent says
    lab.run("guest", "ping -c 1 -W 5 10.0.9.3")


def test_the_server_knows_where_they_are(lab: Lab) -> None:
    rows = servicectl.rows(lab.name, "server", "list")

    known = {(row["port"], bytes.fromhex(str(row["agent"]))) for row in rows}
    assert known == {("10.0.1.2", b"\1\5guest"), ("10.0.2.2", b"\1\4desk")}


def test_a_relay_agent_answers_for_its_addresses(lab: Lab) -> None:
    lab.run("guest", "ping -c 1 -W 5 10.0.1.2")
    status = servicectl.ask(lab.name, "relay", "status")["service"]
    assert isinstance(status, dict)
    assert status["answers"] >= 4
    assert status["requests"] >= status["answers"]
