"""The observed programs of a bench, and what they say of a frame beside what became of it."""

from __future__ import annotations

import os
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from scapy.layers.l2 import Ether

from nfv.chain.path import Attachment
from nfv.dataplane.change.fastpath import FastPath
from nfv.dataplane.kernel import bpf, headers
from nfv.dataplane.kernel.bpf import Map
from nfv.dataplane.observe.tracing import Tracer
from nfv.dataplane.state import State
from nfv.ebpf.compiler import Compiler
from nfv.ebpf.observed import Moment, compose_observed
from nfv.ebpf.sources import reasons, verdicts
from tests.functions.bench import Bench
from tests.property.counters import Counters
from tests.property.generate.traffic import Input, Traffic
from tests.property.model.verdicts import Key

_SENT = {verdicts()[name] for name in ("NEXT", "FORWARD", "PUNT", "SERVE")}
_ANSWERED = {verdicts()[name] for name in ("REJECT", "ANSWER")}
_FLOODED = verdicts()["FLOOD"]
_MAPPINGS = ("outward", "inward", "permits")


@dataclass(frozen=True)
class Real:
    """What the programs did with a frame."""

    verdict: int
    egress: str | None
    frame: bytes
    counted: Set[Key]


def compare(bench: Bench, counters: Counters, traffic: Traffic, packets: int) -> set[str]:
    """Let frames into the programs and their observed like; the reasons that there were."""
    seen: set[str] = set()
    tracer = beside(bench)
    try:
        for _ in range(packets):
            if tracer.path.names.root / "rejects" in tracer.path.maps:
                allow_answers(bench.shared("rejects"), tracer)
            sent = traffic.next()
            if not bench.takes(sent.frame):
                continue
            verdict, frame = bench.execute(sent.place, sent.frame)
            counted = counters.changes()
            follow(bench, tracer)
            left = [key[1] for key in counted if key[0] == "sent"]
            check(bench, tracer, sent, Real(verdict, (*left, None)[0], frame, set(counted)))
            seen.update(key[-1] for key in counted if key[0] in ("received", "reason"))
            if left:
                traffic.delivered(left[0], frame)
    finally:
        tracer.close()
    return seen


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


def follow(bench: Bench, tracer: Tracer) -> None:
    """Let the tracer know the mappings of NATs, whose ports are chosen at random."""
    for name, function in bench.topology.vnfs.items():
        for table in _MAPPINGS if function.type == "nat" else ():
            theirs = tracer.path.maps[tracer.path.names.vnf(name) / table]
            known = dict(theirs.items())
            for key, value in bench.map_of(name, table).items():
                if known.pop(key, None) != value:
                    theirs.update(key, value)
            for key in known:
                theirs.delete(key)


def check(bench: Bench, tracer: Tracer, sent: Input, real: Real) -> None:
    """Compare verdict, reason, egress and bytes of one frame."""
    run = tracer.run(Attachment.parse(sent.place), sent.frame)
    ends = [one for one in run.records if tracer.notes[one.number].moment is Moment.END]
    told = f"in by {sent.place}: {Ether(sent.frame)!r}"
    places = {port.number: str(where) for where, port in bench.wiring.ports.items()}
    last = ends[-1]
    if last.verdict != _FLOODED:  # copies are counted where they leave
        egress = places[last.egress] if last.verdict in _SENT else None
        assert egress == real.egress, f"{egress} not {real.egress}: {told}"
        assert (egress is not None) == (real.verdict == bpf.XDP_REDIRECT), told
    else:
        egress = None
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
