"""TCP connections of a bench, compared with the firewall's own table."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from nfv.bench.connections import HANDSHAKE, Step
from nfv.dataplane import state
from nfv.dataplane.kernel.bpf import Map
from nfv.dataplane.load.fitting import Setup
from nfv.dataplane.load.handshake import Handshakes
from nfv.ebpf.connections import State
from nfv.errors import KernelError
from nfv.traffic.profile import Profile
from tests.integration.helpers.lab import Lab, applied, nfvctl

pytestmark = pytest.mark.root

ROOM = 1000
TEXT = f"""\
name: connections
saps:
  lan: {{kind: host, ip: 10.0.1.10/24, gateway: 10.0.1.1}}
  wan: {{kind: host, ip: 192.0.2.254/24, gateway: 192.0.2.1}}
vnfs:
  fw:
    type: firewall
    default: drop
    connections: {ROOM}
    rules: [{{action: accept, proto: tcp, src: 10.0.1.0/24, dport: 5201}}]
  gw:
    type: router
    interfaces: {{lan: {{ip: 10.0.1.1/24}}, wan: {{ip: 192.0.2.1/24}}}}
chains:
  inside: {{path: [lan, fw, "gw:lan"]}}
  outside: {{path: ["gw:wan", wan]}}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with applied(TEXT, "connections") as made:
        yield made


def setup(count: int, **values: object) -> Setup:
    return Setup("lan", "wan", Profile.model_validate({"flows": count, **values}), 0.5, 0.1)


def handshakes(lab: Lab, count: int, **values: object) -> Handshakes:
    found = state.load(lab.name)
    assert found is not None
    return Handshakes(found, setup(count, **values))


def states(lab: Lab) -> list[State]:
    """Those of the connections that the firewall knows."""
    table = Map.open(lab.pins / "vnf" / "fw" / "connections4")
    try:
        return [State(value[8]) for _, value in table.items()]
    finally:
        table.close()


def test_every_step_is_seen_by_the_firewall(lab: Lab) -> None:
    with handshakes(lab, 500) as made:
        before = lab.statistics()
        for step, expected in zip(
            HANDSHAKE, (State.NEW, State.REPLIED, State.ESTABLISHED), strict=True
        ):
            trial = made.take(step)
            assert (trial.sent, trial.received) == (500, 500)
            assert states(lab).count(expected) == 500
        answers = made.take(Step.ANSWER)
        assert (answers.sent, answers.received) == (500, 500)
        assert made.take(Step.RESET).received == 500
        counted = lab.statistics().since(before)
    assert states(lab).count(State.ESTABLISHED) == 0
    assert 1500 <= counted.ports["lan"].entered.packets <= 1505
    assert 1000 <= counted.ports["wan"].entered.packets <= 1005
    assert made.size == "76"


def test_as_many_are_open_as_the_table_has_room_for(lab: Lab) -> None:
    before = states(lab).count(State.ESTABLISHED)
    with handshakes(lab, 3 * ROOM, sport="30000-39999") as made:
        for step in HANDSHAKE:
            made.take(step)
        answers = made.take(Step.ANSWER)
        known = states(lab).count(State.ESTABLISHED) - before
        made.take(Step.RESET)
    assert answers.sent == 3 * ROOM
    assert answers.received == known
    assert 0 < known <= ROOM
    assert any(hop.place == "fw" for hop in answers.hops)


def test_connections_that_no_rule_admits_are_an_error(lab: Lab) -> None:
    made = handshakes(lab, 100, dport=[23])
    with pytest.raises(KernelError, match="none of 16 frames from lan arrived at wan"), made:
        pass


def test_the_command_counts_connections(lab: Lab) -> None:
    words = ["--test", "connections", "--connections", "600", "--seconds", "0.2"]
    done = nfvctl("bench", lab.name, "lan", "wan", *words, "--format", "json")
    assert done.returncode == 0, done.stderr
    (outcome,) = json.loads(done.stdout)["outcomes"]
    assert (outcome["test"], outcome["size"]) == ("connections", "76")
    assert 0 < outcome["figures"]["connections"] <= 600
    seconds = sum(trial["seconds"] for trial in outcome["trials"][:3])
    figures = outcome["figures"]
    assert figures["cps"] == pytest.approx(figures["connections"] / seconds)
