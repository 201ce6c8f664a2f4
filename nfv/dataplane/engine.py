"""Plan, apply, destroy: from a topology to a running one and back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nfv.chain.fields import NAME
from nfv.chain.topology import Topology
from nfv.dataplane import agentctl, devices, headers, removal, state
from nfv.dataplane.fastpath import FastPath
from nfv.dataplane.observation import observe
from nfv.dataplane.plan import Change, Element, Phase, Plan, Symbol, assemble
from nfv.dataplane.state import State
from nfv.dataplane.transaction import Step, Transaction
from nfv.dataplane.wiring import give_numbers, number_ports, wire
from nfv.ebpf.compiler import Compiler
from nfv.errors import InputError, LeftoverError, NfvError

Progress = Callable[[str, int, int], None]
"""Told the title of each step, its number from 1, and how many there are."""


@dataclass(frozen=True)
class _Prepared:
    plan: Plan
    after: State
    before: State | None


def plan(topology: Topology) -> Plan:
    """What apply would do. Touches nothing.

    Raises `InputError` if it cannot be done here, `CompileError` if a program does not compile.
    """
    check_machine()
    return _prepare(topology).plan


def apply(topology: Topology, progress: Progress | None, waiting: Callable[[str], None]) -> Plan:
    """Make what runs what the topology declares; return the plan that was carried out.

    `waiting` is told who holds the topology if somebody else is changing it. Whatever fails, or a
    signal, rolls everything back and is raised; `LeftoverError` if something could not be undone.
    """
    check_machine()
    with state.locked(topology.name, waiting):
        prepared = _prepare(topology)
        if prepared.plan.empty:
            if prepared.before != prepared.after:
                state.store(prepared.after)  # the text differs in what nothing depends on
            return prepared.plan
        _run(prepared.plan, progress)
        return prepared.plan


def destroy(name: str, progress: Progress | None, waiting: Callable[[str], None]) -> Plan:
    """Remove everything that belongs to a topology, also what a crash left of it.

    Goes on past what cannot be removed; `LeftoverError` lists that. `InputError` if there is
    nothing.
    """
    check_machine()
    if not NAME.fullmatch(name):
        raise InputError(f"'{name}' is not the name of a topology", _applied_hint())
    with state.locked(name, waiting):
        before = state.load(name)
        steps = list(removal.steps(name, before))
        if not steps:
            raise InputError(f"topology '{name}' is not applied", _applied_hint())
        found = before.topology() if before else None
        changes = [
            Change(Element(kind, part), Symbol.REMOVE)
            for kind, parts in _parts(found)
            for part in parts
        ]
        plan_ = Plan(name, assemble(None, found, changes).lines if found else (), tuple(steps))
        _remove(steps, progress, 0, len(steps), f"topology '{name}' is not removed completely")
        return plan_


def check_machine() -> None:
    """Root and bpffs, without which nothing can be done."""
    if os.geteuid() != 0:
        raise InputError("this needs root", "run it with sudo")
    if not state.BPFFS.is_dir() or not os.path.ismount(state.BPFFS):
        raise InputError(
            f"no BPF file system at {state.BPFFS}", f"mount it: mount -t bpf bpf {state.BPFFS}"
        )


def _applied_hint() -> str:
    applied = state.names()
    return f"applied are {', '.join(applied)}" if applied else "nothing is applied"


def _parts(topology: Topology | None) -> Iterator[tuple[str, list[str]]]:
    if topology is not None:
        yield "sap", list(topology.saps)
        yield "vnf", list(topology.vnfs)
        yield "chain", list(topology.chains)


def _command(step: Step) -> str:
    return step.leftover[1] if step.leftover else "nfvctl doctor"


def _prepare(topology: Topology) -> _Prepared:
    before = state.load(topology.name)
    ports = number_ports(topology, before.ports if before else {})
    wiring = wire(topology, ports)
    former = before.topology() if before else None
    old_wiring = wire(former, before.ports) if before and former else None
    counters = {
        name: function.counters(before.counters.get(name, {}) if before else {})
        for name, function in topology.vnfs.items()
    }
    functions = give_numbers(topology.vnfs, before.functions if before else {})
    source = topology.source
    after = State(topology.name, source.file, source.text, ports, counters, functions)
    compiler = Compiler(headers.find())
    fastpath = FastPath(topology, wiring, compiler, before, after)
    seen = observe([wiring] if old_wiring is None else [wiring, old_wiring])
    changes = [
        *devices.changes(topology, wiring, old_wiring, seen),
        *fastpath.changes(seen),
        *_chain_changes(topology, former),
    ]
    if former is not None and old_wiring is not None:
        changes += removal.changes(former, old_wiring, wiring, topology, seen)
    changes += _finish(topology, before, after, changes)
    return _Prepared(assemble(topology, former, changes), after, before)


def _chain_changes(topology: Topology, former: Topology | None) -> Iterator[Change]:
    """Chains have nothing of their own in the kernel: their lines go with the programs' steps."""
    old = former.chains if former else {}
    for name, chain in topology.chains.items():
        if name not in old:
            yield Change(Element("chain", name), Symbol.ADD)
        elif old[name] != chain:
            yield Change(Element("chain", name), Symbol.CHANGE, "path or match", reload=True)
    for name in old:
        if name not in topology.chains:
            yield Change(Element("chain", name), Symbol.REMOVE)


def _finish(
    topology: Topology, before: State | None, after: State, changes: list[Change]
) -> Iterator[Change]:
    """Record the state and tell the agent, if anything changed or the agent is not there."""
    element = Element("topology", topology.name)
    running = before is not None and agentctl.status(topology.name) is not None
    if running and not changes:
        return

    def record() -> None:
        state.store(after)

    def forget() -> None:
        if before is not None:
            state.store(before)
        else:
            state.remove(topology.name)

    def restore() -> None:
        if before is None:
            agentctl.stop(topology.name)
        else:
            state.store(before)
            agentctl.reload(topology.name)

    start = agentctl.reload if running else agentctl.start
    steps = [
        (Phase.STATE, Step("record the topology", record, forget)),
        (Phase.AGENT, Step("start the agent", lambda: start(topology.name), restore)),
    ]
    symbol = Symbol.CHANGE if before else Symbol.ADD
    reason = "agent is not running" if before and not running else ""
    yield Change(element, symbol, reason, steps=steps)


def _run(found: Plan, progress: Progress | None) -> None:
    """Carry out the steps, which can all be undone; then remove what is no longer wanted."""
    total = len(found.steps) + len(found.purge)

    def tell(title: str, number: int) -> None:
        if progress:
            progress(title, number, total)

    with Transaction(tell) as transaction:
        for step in found.steps:
            transaction.run(step)
    message = "applied, but something that is no longer wanted remains"
    _remove(found.purge, progress, len(found.steps), total, message)


def _remove(
    steps: Sequence[Step], progress: Progress | None, done: int, total: int, message: str
) -> None:
    """Go on past what fails, and raise `LeftoverError` with all of it at the end."""
    leftovers = []
    for at, step in enumerate(steps, done + 1):
        if progress:
            progress(step.title, at, total)
        try:
            step.do()
        except (NfvError, OSError) as error:
            leftovers.append((f"{step.title}: {error}", _command(step)))
    if leftovers:
        raise LeftoverError(message, leftovers)
