"""A trace and the real programs never disagree: random packets through both.

Both have tables of their own for what they write, and read the same ones otherwise. So each packet
meets connections that the same packets before it have made.
"""

from __future__ import annotations

import os
from collections.abc import Set
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from scapy.layers.l2 import Ether

from nfv.chain.path import Attachment
from nfv.chain.sap import Hook
from nfv.dataplane.change.fastpath import FastPath
from nfv.dataplane.kernel import bpf, headers
from nfv.dataplane.kernel.bpf import Map
from nfv.dataplane.observe.tracing import Tracer
from nfv.dataplane.state import State
from nfv.ebpf.compiler import Compiler
from nfv.ebpf.observed import Moment, compose_observed
from nfv.ebpf.sources import reasons, verdicts
from tests.functions.bench import Bench
from tests.property.bed import Bed, draw, load
from tests.property.generate.traffic import Input
from tests.property.model.verdicts import Key

pytestmark = pytest.mark.root

PACKETS = 1500

_SENT = {verdicts()[name] for name in ("NEXT", "FORWARD", "PUNT")}
_ANSWERED = {verdicts()[name] for name in ("REJECT", "ANSWER")}


@dataclass(frozen=True)
class Real:
    """What the programs did with a frame."""

    egress: str | None
    frame: bytes
    counted: Set[Key]


@pytest.mark.parametrize(
    ("seed", "routers", "hook"), [(3, 0, Hook.TC), (11, 1, Hook.XDP), (42, 2, Hook.XDP)]
)
def test_a_trace_agrees_with_the_programs(seed: int, routers: int, hook: Hook) -> None:
    spec = draw(seed, routers)
    with closing(load(spec, hook)) as bench:
        bed = Bed(seed, spec, bench)
        with closing(beside(bench)) as tracer:
            for _ in range(PACKETS):
                allow_answers(bench.shared("rejects"), tracer)
                sent = bed.traffic.next()
                if not bench.takes(sent.frame):
                    continue
                verdict, frame = bench.execute(sent.place, sent.frame)
                counted = bed.counters.changes()
                left = [key[1] for key in counted if key[0] == "sent"]
                assert len(left) == (verdict == bpf.XDP_REDIRECT)
                check(bench, tracer, sent, Real((*left, None)[0], frame, set(counted)))
                if left:
                    bed.traffic.delivered(left[0], frame)


def beside(bench: Bench) -> Tracer:
    """A tracer on the tables of a bench."""
    path = bench._fastpath
    ports = {str(place): port.number for place, port in bench.wiring.ports.items()}
    text = bench.topology.source.text
    known = State(bench.topology.name, "", text, ports, bench.counters, bench.numbers)
    compiler = Compiler(headers.find())
    observed = FastPath(
        bench.topology, bench.wiring, compiler, None, known, composer=compose_observed
    )

    def live(pin: Path) -> Map | None:
        if (found := path.maps.get(pin)) is None:
            return None
        sizes = found.key_size, found.value_size, found.max_entries
        return Map(os.dup(found.fd), found.type, *sizes, found.flags)

    return Tracer(observed, live)


def allow_answers(rejects: Map, tracer: Tracer) -> None:
    """Begin the limit on answers again: it is a matter of time."""
    for found in (rejects, tracer.path.maps[tracer.path.names.root / "rejects"]):
        found[0] = bytes(found.entry_size)


def check(bench: Bench, tracer: Tracer, sent: Input, real: Real) -> None:
    """Compare verdict, reason, egress and bytes of one frame."""
    run = tracer.run(Attachment.parse(sent.place), sent.frame)
    ends = [one for one in run.records if tracer.notes[one.number].moment is Moment.END]
    told = f"in by {sent.place}: {Ether(sent.frame)!r}"
    places = {port.number: str(where) for where, port in bench.wiring.ports.items()}
    last = ends[-1]
    egress = places[last.egress] if last.verdict in _SENT else None
    assert egress == real.egress, told
    if egress:
        assert run.frame == real.frame, told
        assert last.frame == real.frame, told
    for end in ends:
        place, reason = tracer.notes[end.number].entry, reasons()[end.reason][0]
        if reason == "loop":  # how many routers it passes depends on what is known of its flow
            assert any(key[0] == "received" and key[-1] == "loop" for key in real.counted), told
        else:
            assert ("received", str(place), reason) in real.counted, told
    assert (ends[0].verdict in _ANSWERED) == (len(ends) > 1), told
