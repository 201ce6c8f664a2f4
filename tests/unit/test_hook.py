"""Which hook a port has, and for which hooks its walks are needed."""

from __future__ import annotations

import pytest

from nfv.chain.hook import hooks, slots
from nfv.chain.topology import loads
from nfv.errors import TopologyError

TEXT = """\
name: hooks
saps:
  lan: {kind: host, ip: 10.0.1.10/24}
  wan: {kind: host, ip: 10.0.2.10/24}
  vm: {kind: tap}
  left: {kind: host, ip: 10.9.0.1/24}
  right: {kind: host, ip: 10.9.0.2/24}
vnfs:
  fw: {type: firewall}
  gw:
    type: router
    interfaces:
      lan: {ip: 10.0.1.1/24}
      wan: {ip: 10.0.2.1/24}
      vm: {ip: 10.0.3.1/24}
chains:
  inside: {path: [lan, "gw:lan"]}
  outside: {path: ["gw:wan", fw, wan]}
  machine: {path: ["gw:vm", vm]}
  wire: {path: [left, right]}
"""
AT = "kind: host, ip: 10.0.1.10/24"
WITHOUT_TAP = TEXT.replace("  vm: {kind: tap}\n", "").replace(
    '  machine: {path: ["gw:vm", vm]}\n', ""
)


def by_name(text: str) -> dict[str, str]:
    return {str(place): hook.value for place, hook in hooks(loads(text)).items()}


def test_what_can_reach_a_tap_is_at_xdp() -> None:
    found = by_name(TEXT)
    assert {name for name, hook in found.items() if hook == "tc"} == {"left", "right"}


def test_what_leads_from_veth_to_veth_is_at_tc() -> None:
    assert set(by_name(WITHOUT_TAP).values()) == {"tc"}


def test_walks_are_needed_for_each_hook_that_leads_there() -> None:
    """But for interfaces behind which a packet goes straight to a SAP."""
    topology = loads(WITHOUT_TAP.replace(AT, f"{AT}, hook: xdp"))
    twice = list(slots(topology, hooks(topology)))[len(hooks(topology)) :]
    assert {(str(place), hook.value) for place, hook in twice} == {
        ("gw:wan", "xdp"),
        ("gw:vm", "xdp"),
    }


def test_tc_is_refused_where_a_tap_can_be_reached() -> None:
    with pytest.raises(TopologyError) as caught:
        loads(TEXT.replace(AT, f"{AT}, hook: tc"))
    (problem,) = caught.value.problems
    assert "cannot send to vm" in problem.message
