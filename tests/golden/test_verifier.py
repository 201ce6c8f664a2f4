"""What the programs of the example topologies cost the kernel's verifier.

verifier.json has, for every program of every distinct text: its instructions, how many the verifier
looked at before it was sure (the kernel's limit is a million), and the bytes of its stack (512).
Growth beyond the tolerance has to be reviewed, as a new verifier.json.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from nfv.chain.hook import Slot
from nfv.chain.sap import Hook
from nfv.chain.topology import Topology
from nfv.ebpf.render import render
from tests.functions.bench import Bench, every_port

pytestmark = pytest.mark.root

RECORD = Path(__file__).with_name("verifier.json")
UPDATE = "if it is meant, run: scripts/test tests/golden --update-golden"
TOLERANCE = 0.05

_STATISTICS = {
    "verified": re.compile(r"^processed (\d+) insns", re.MULTILINE),
    "stack": re.compile(r"^stack depth ([0-9+]+)", re.MULTILINE),
    "microseconds": re.compile(r"^verification time (\d+) usec", re.MULTILINE),
}

Cost = dict[str, int]


def kernel() -> str:
    """Major and minor version: verifiers differ."""
    return ".".join(platform.release().split(".")[:2])


def costs(topology: Topology) -> Iterator[tuple[str, Cost]]:
    """The cost of every program of every text at each hook, by the first entry that it is for."""
    for hook in Hook:
        with closing(Bench(topology.source.text, hook=hook)) as bench:
            for found in render(topology, every_port(topology, hook)):
                place, unit = next(iter(found.bindings.items()))
                slot = Slot(place, unit.hook)
                for program in found.programs:
                    instructions, log = bench.verify(slot, program)
                    cost = {name: number(what, log) for name, what in _STATISTICS.items()}
                    title = f"{place} {unit.hook.value} {program}"
                    yield title, {"instructions": instructions, **cost}


def number(what: re.Pattern[str], log: str) -> int:
    """A figure of the verifier's log; stacks of nested functions are added up."""
    found = what.search(log)
    assert found, f"no '{what.pattern}' in the verifier's log: {log}"
    return sum(int(part) for part in found[1].split("+"))


def test_programs_cost_no_more_than_recorded(topology: Topology, update: bool) -> None:
    measured = dict(costs(topology))
    for program, cost in measured.items():
        print(f"{topology.name} {program}: {cost}")
        del cost["microseconds"]  # said, not compared
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if update:
        if record.get("kernel") != kernel():
            record = {"kernel": kernel(), "programs": {}}
        record["programs"][topology.name] = measured
        RECORD.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
    if record["kernel"] != kernel():
        pytest.skip(f"verifier.json is of kernel {record['kernel']}, this is {kernel()}")
    known = record["programs"][topology.name]
    assert known.keys() == measured.keys(), UPDATE
    grown = {
        f"{program} {name}": f"{known[program][name]} -> {value}"
        for program, cost in measured.items()
        for name, value in cost.items()
        if value > known[program][name] * (1 + TOLERANCE)
    }
    assert not grown, UPDATE
