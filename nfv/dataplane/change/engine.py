"""Plan, apply, destroy: from a topology to a running one and back."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from nfv.chain.fields import NAME
from nfv.chain.topology import Topology
from nfv.dataplane import state
from nfv.dataplane.change import devices, pathchanges, removal
from nfv.dataplane.change.fastpath import FastPath
from nfv.dataplane.change.observation import intact, observe
from nfv.dataplane.change.pathchanges import remove_replaced
from nfv.dataplane.change.plan import Change, Element, Phase, Plan, Symbol, assemble
from nfv.dataplane.change.transaction import Step, Transaction
from nfv.dataplane.kernel import headers
from nfv.dataplane.resident import agentctl, birdctl, clientctl, services
from nfv.dataplane.state import State
from nfv.dataplane.wiring import give_numbers, number_ports, wire
from nfv.ebpf.compiler import Compiler
from nfv.ebpf.compose import Composer, compose
from nfv.errors import InputError, LeftoverError, NfvError

Progress = Callable[[str, int, int], None]
"""Told the title of each step, its number from 1, and how many there are."""


Sizes = Mapping[str, Mapping[str, int]]


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
    with _prepared(topology) as prepared:
        return prepared.plan


def apply(
    topology: Topology,
    progress: Progress | None,
    waiting: Callable[[str], None],
    composer: Composer = compose,
    grown: Sizes | None = None,
) -> Plan:
    """Make what runs what the topology declares; return the plan that was carried out.

    `waiting` is told who holds the topology if somebody else is changing it. `composer` writes the
    programs; the benchmarks compare with other ways to cut them. Whatever fails, or a signal, rolls
    everything back and is raised; `LeftoverError` if something could not be undone.
    """
    check_machine()
    with state.locked(topology.name, waiting), _prepared(topology, composer, grown) as prepared:
        if not prepared.plan.empty:
            _run(prepared.plan, progress)
        elif prepared.before != prepared.after:
            state.store(prepared.after)  # the text differs in what nothing depends on
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
        steps = list(removal.steps(name))
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


@contextmanager
def _prepared(
    topology: Topology, composer: Composer = compose, grown: Sizes | None = None
) -> Iterator[_Prepared]:
    """Compare what is declared with what runs, and keep open what the steps work on."""
    _allow_descriptors()
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
    sizes = {**(before.sizes if before else {}), **(grown or {})}
    sizes = {name: sizes[name] for name in topology.vnfs if name in sizes}
    source = topology.source
    after = State(
        topology.name,
        source.file,
        source.text,
        ports,
        counters,
        functions,
        files=topology.files,
        sizes=sizes,
        data=source.data,
    )
    compiler = Compiler(headers.find())
    fastpath = FastPath(topology, wiring, compiler, before, after, old_wiring, composer)
    with closing(fastpath):
        seen = observe([wiring] if old_wiring is None else [wiring, old_wiring])
        changes = [
            *devices.changes(topology, wiring, old_wiring, seen),
            *pathchanges.changes(fastpath, intact(wiring, seen)),
            *_chain_changes(topology, former),
            *services.changes(topology, former),
            *birdctl.changes(topology, former),
            *clientctl.changes(topology, former),
            *removal.changes(topology, wiring, former, old_wiring, seen),
        ]
        changes += _frame(topology, before, after, changes)
        yield _Prepared(assemble(topology, former, changes), after, before)


def _allow_descriptors() -> None:
    """Every map and program is open while it is worked on; the usual soft limit is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


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


def _frame(
    topology: Topology, before: State | None, after: State, changes: list[Change]
) -> Iterator[Change]:
    """What goes before and after all else: record the state, and tell the agent."""
    name = topology.name
    running = before is not None and agentctl.status(name) is not None
    if running and not changes and before is not None and not before.changing:
        return
    steps = [
        (Phase.BEGIN, _begin(name, before, running)),
        (Phase.STATE, _record(before, replace(after, changing=True))),
        (Phase.AGENT, _tell_agent(name, running)),
        *((Phase.AGENT, step) for step in services.reloads(topology)),
        (Phase.SETTLE, Step("end the change", lambda: state.store(after))),
        (
            Phase.PURGE,
            Step("free what was replaced", lambda: remove_replaced(state.pins(name))),
        ),
    ]
    symbol = Symbol.CHANGE if before else Symbol.ADD
    reason = _frame_reason(before, running)
    yield Change(Element("topology", name), symbol, reason, steps=steps)


def _frame_reason(before: State | None, running: bool) -> str:
    if before is None:
        return ""
    if before.changing:
        return "the last change was not finished"
    return "" if running else "agent is not running"


def _begin(name: str, before: State | None, running: bool) -> Step:
    """Whoever finds the state after a crash knows from it that a change had begun."""

    def do() -> None:
        if before is not None:
            state.store(replace(before, changing=True))

    def undo() -> None:
        if before is None:
            state.remove(name)
            return
        state.store(before)
        if running:
            agentctl.reload(name)  # its maps are what they were
        services.reload_former(before)

    return Step("begin", do, undo)


def _record(before: State | None, after: State) -> Step:
    def undo() -> None:
        if before is None:
            state.forget(after.name)
        else:
            state.store(replace(before, changing=True))

    return Step("record the topology", lambda: state.store(after), undo)


def _tell_agent(name: str, running: bool) -> Step:
    """Undone where the undoing ends, in `_begin`: only then the maps are the former ones."""

    def undo() -> None:
        if not running:
            agentctl.stop(name)

    tell = agentctl.reload if running else agentctl.start
    return Step("start the agent" if not running else "tell the agent", lambda: tell(name), undo)


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
