"""The log of a firewall between real hosts: from programs through the agent to the file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nfv.dataplane import state
from tests.functions.firewalling import firewall
from tests.integration.helpers.lab import Lab, applied
from tests.integration.test_dhcp import until

pytestmark = pytest.mark.root

LEFT, RIGHT = "10.0.1.10", "10.0.2.10"


def lines(lab: Lab) -> list[dict[str, Any]]:
    """The log as it is."""
    path = state.data(lab.name) / "fw" / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_rules_log_is_in_the_file_across_a_change() -> None:
    rule = "name: echo, action: accept, proto: icmp, log: 1"
    with applied(firewall(rule, stateless="true"), "firewall") as lab:
        lab.run("left", f"ping -c 3 -i 0.2 -W 20 {RIGHT}")
        until(lambda: len(lines(lab)) >= 6)
        found = [(row["rule"], row["action"], row["src"], row["icmp_type"]) for row in lines(lab)]
        assert (
            found
            == [
                ("echo", "accept", LEFT, "8/0"),
                ("echo", "accept", RIGHT, "0/0"),
            ]
            * 3
        )
        lab.edit("name: echo", "name: ping")
        lab.apply()
        lab.run("right", f"ping -c 1 -W 20 {LEFT}")
        until(lambda: len(lines(lab)) >= 8)
        assert [row["rule"] for row in lines(lab)[6:]] == ["ping", "ping"]
