"""The stages of services: where a frame that a service sends goes on."""

from __future__ import annotations

import dataclasses

import pytest

from nfv.chain.graph import entries, stage
from nfv.chain.path import Attachment
from nfv.chain.pattern import Direction
from nfv.chain.topology import Topology, loads
from nfv.functions.firewall import Firewall
from nfv.services.frames import answers_at

TEXT = """
name: served
saps:
  lan: {kind: tap}
  video: {kind: tap}
  wan: {kind: tap}
vnfs:
  near: {type: firewall}
  middle: {type: firewall}
  far: {type: firewall}
chains:
  first: {path: [lan, near, middle, far, wan], match: {proto: udp}}
  second: {path: [video, middle, wan]}
"""


class Served(Firewall):
    """A firewall that has a service."""

    service = "nfv.services"


@pytest.fixture
def topology() -> Topology:
    read = loads(TEXT)
    served = Served("middle", read.vnfs["middle"].config)
    return dataclasses.replace(read, vnfs={**read.vnfs, "middle": served})


def test_each_chain_has_a_stage_for_each_direction(topology: Topology) -> None:
    entry = entries(topology)[Attachment("middle", "service")]

    assert entry.resumes
    assert [
        (walk.chain, walk.direction.name, walk.functions, str(walk.end)) for walk in entry.walks
    ] == [
        ("first", "FORWARD", ("far",), "wan"),
        ("first", "REVERSE", ("near",), "lan"),
        ("second", "FORWARD", (), "wan"),
        ("second", "REVERSE", (), "video"),
    ]
    assert all(walk.match is None for walk in entry.walks)


def test_an_answer_goes_the_other_way_of_the_same_chain(topology: Topology) -> None:
    graph = entries(topology)
    entry = graph[Attachment("middle", "service")]
    for place in ("lan", "video", "wan"):
        for walk in graph[Attachment(place)].walks:
            number = stage(entry, walk)
            answer = entry.walks[answers_at(number)]
            assert answer.chain == walk.chain
            assert answer.direction is Direction(1 - walk.direction)
            assert str(answer.end) == place


def test_functions_without_a_service_have_no_tap(topology: Topology) -> None:
    served = [str(place) for place, entry in entries(topology).items() if entry.resumes]

    assert served == ["middle:service"]
