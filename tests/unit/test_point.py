"""Points of capture: what each way of writing them means, and what is said of a wrong one."""

from __future__ import annotations

import pytest

from nfv.chain.path import Attachment
from nfv.chain.pattern import Direction
from nfv.chain.point import Segment, find, names
from nfv.chain.topology import Topology, loads
from nfv.errors import InputError

FORWARD, REVERSE = Direction
TEXT = """
name: points
saps:
  lan: {kind: tap}
  wan: {kind: tap}
vnfs:
  shaper: {type: firewall}
  fw: {type: firewall}
  gw:
    type: router
    interfaces:
      lan: {ip: 10.0.1.1/24}
      wan: {ip: 192.0.2.1/24}
chains:
  video: {path: [lan, shaper, fw, "gw:lan"], match: {proto: udp}}
  inside: {path: ["gw:lan", fw, lan]}
  outside: {path: ["gw:wan", wan]}
"""


@pytest.fixture(scope="module")
def topology() -> Topology:
    return loads(TEXT)


def test_packets_go_in_at_a_sap_where_they_leave_it(topology: Topology) -> None:
    point = find(topology, "lan")
    assert point.place == Attachment("lan")
    assert point.segments == (Segment("video", 0, FORWARD), Segment("inside", 1, REVERSE))


def test_packets_go_in_at_an_interface_where_they_come_to_it(topology: Topology) -> None:
    point = find(topology, "gw:lan")
    assert point.place == Attachment("gw", "lan")
    assert point.segments == (Segment("video", 2, FORWARD), Segment("inside", 0, REVERSE))
    assert find(topology, "gw:wan").segments == (Segment("outside", 0, REVERSE),)


@pytest.mark.parametrize("text", ["fw..gw", "fw..gw:lan"])
def test_between_neighbours_packets_go_in_as_it_is_written(topology: Topology, text: str) -> None:
    point = find(topology, text)
    assert point.place is None
    assert point.segments == (Segment("video", 2, FORWARD), Segment("inside", 0, REVERSE))
    first, second = text.split("..")
    turned = find(topology, f"{second}..{first}")
    assert turned.segments == (Segment("video", 2, REVERSE), Segment("inside", 0, FORWARD))


def test_a_chain_may_be_chosen(topology: Topology) -> None:
    assert find(topology, "inside/fw..gw").segments == (Segment("inside", 0, REVERSE),)


def test_all_points_are_listed_and_found(topology: Topology) -> None:
    listed = names(topology)
    assert listed == [
        *("lan", "wan", "gw:lan", "gw:wan"),
        *("lan..shaper", "shaper..fw", "fw..gw:lan"),
        *("gw:lan..fw", "fw..lan", "gw:wan..wan"),
    ]
    assert [find(topology, name).text for name in listed] == listed


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("lam", "has no 'lam'", "did you mean 'lan'?"),
        ("fw", "has no 'fw'", "at fw there are shaper..fw, fw..gw:lan, gw:lan..fw, fw..lan"),
        ("gw", "has no 'gw'", "at gw there are gw:lan, gw:wan, "),
        ("gw:dmz", "has no 'gw:dmz'", "at gw there are gw:lan, gw:wan, "),
        ("x", "has no 'x'", "it has lan, wan, gw:lan, "),
        ("fw..x", "has no 'x'", "it has lan, wan, gw:lan, "),
        ("lan..gw", "'lan' and 'gw' are not neighbours", "neighbours are lan..shaper, "),
        ("outside/fw..gw", "are not neighbours", "neighbours are gw:wan..wan"),
        ("outsid/gw..wan", "has no chain 'outsid'", "did you mean 'outside'?"),
        ("..", "has no ''", "it has lan, "),
    ],
)
def test_a_wrong_point_is_told_with_those_there_are(
    topology: Topology, text: str, message: str, hint: str
) -> None:
    with pytest.raises(InputError) as failure:
        find(topology, text)
    assert message in failure.value.message
    assert hint in (failure.value.hint or "")
