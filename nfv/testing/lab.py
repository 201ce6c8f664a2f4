"""Chains under test from Python: apply, replay, expect; what was applied ends with the test."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nfv.chain import source, topology
from nfv.chain.fields import Model
from nfv.chain.report import Report, format_problem
from nfv.chain.validate import read
from nfv.dataplane.isolation import Place
from nfv.errors import TopologyError
from nfv.testing import counting, run
from nfv.testing.case import Expected, Replayed
from nfv.testing.report import lines
from nfv.testing.stage import Done, Stage
from nfv.testing.values import parse_duration

if TYPE_CHECKING:
    from nfv.chain.topology import Topology

ModelT = TypeVar("ModelT", bound=Model)


class Labs:
    """The fixture `nfv`: applies topologies, each in namespaces of its own, for one test."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._open = ExitStack()

    def apply(self, declared: str | Path | Topology, *, answering: bool = False) -> Lab:
        """Apply a topology: a file, from the directory of the test, or one that was read.

        Linux on its hosts is silent, and the bench answers ARP and neighbour discovery, unless
        hosts are `answering`. Raises `TopologyError`, and `NfvError` if it cannot be applied.
        """
        if isinstance(declared, (str, Path)):
            declared = topology.load(self._home / declared)
        found = declared
        place = self._open.enter_context(Place(lambda: Stage(found, silent=not answering)))
        return Lab(place, self._home)

    def close(self) -> None:
        """End all of them."""
        self._open.close()


class Lab:
    """One topology that is applied. Words are those of case files, as in `Replayed`."""

    def __init__(self, place: Place[Stage], home: Path) -> None:
        self._place = place
        self._home = home

    def replay(self, at: str, **words: Any) -> None:
        """Send frames into a SAP: `replay("lan", pcap="in.pcap", timing="asap")`."""
        self.replay_all([{"at": at, **words}])

    def replay_all(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Send frames into several SAPs, on one clock. What had arrived before is forgotten."""
        self._place.call(Stage.replay, [_model(Replayed, one) for one in entries], self._home)

    def expect(self, at: str, *, settle: str = "200ms", **words: Any) -> None:
        """Raise `AssertionError` unless what arrived at a SAP since the last replay is this.

        `expect("wan", pcap="out.pcap", ignore=["IP.id"])`; `from` is written `from_`.
        """
        named = {key.rstrip("_"): value for key, value in words.items()}
        entry = _model(Expected, {"at": at, **named})
        problems, _ = self._place.call(run.expect, [entry], self._home, parse_duration(settle))
        if problems:
            raise AssertionError("\n".join(lines(problems)))

    def frames(self, at: str) -> list[bytes]:
        """What has arrived at a SAP since the last replay, whatever it is."""
        return self._place.call(_frames, at)

    def counters(self) -> dict[str, int]:
        """All counters, by their path in the JSON of `nfvctl stats`, from the beginning."""
        return self._place.call(_counters)

    def drops(self, place: str) -> dict[str, int]:
        """Packets dropped in a function or at a SAP, by reason."""
        return self._place.call(_drops, place)

    def execute(self, name: str, *command: str) -> Done:
        """Run a command on a host or router. Hosts have to be `answering` for traffic."""
        return self._place.call(Stage.execute, name, command)


def _frames(stage: Stage, at: str) -> list[bytes]:
    return [frame.data for frame in stage.arrived(at)]


def _counters(stage: Stage) -> dict[str, int]:
    return counting.by_name(stage.counted())


def _drops(stage: Stage, place: str) -> dict[str, int]:
    return counting.drops_of(place, stage.counted())


def _model(model: type[ModelT], data: Mapping[str, Any]) -> ModelT:
    """The part of a case that arguments are. Raises `ValueError` with all problems."""
    report = Report(source.parse(json.dumps(data), model.__name__))
    found = read(model, dict(data), report)
    try:
        report.raise_if_any()
    except TopologyError as error:
        raise ValueError("\n".join(map(format_problem, error.problems))) from None
    assert found is not None  # otherwise there was a problem
    return found
