"""The services of a topology's functions: which must run, and which must be told of a change."""

from __future__ import annotations

from collections.abc import Iterator

from nfv.chain.topology import Topology
from nfv.dataplane import state
from nfv.dataplane.change.plan import Change, Element, Phase, Symbol
from nfv.dataplane.change.transaction import Step
from nfv.dataplane.resident import servicectl
from nfv.dataplane.state import State


def changes(topology: Topology, former: Topology | None) -> Iterator[Change]:
    """Start the services that do not run; end those that are no longer wanted."""
    name = topology.name
    wanted = _served(topology)
    for function in wanted:
        if not servicectl.is_running(name, function):
            known = former is not None and function in former.vnfs
            yield Change(
                Element("vnf", function),
                Symbol.CHANGE if known else Symbol.ADD,
                "service is not running" if known else "",
                steps=[(Phase.AGENT, _start(name, function))],
            )
    for function in {*servicectl.started(name), *(_served(former) if former else ())}:
        if function not in wanted:
            yield _end(topology, function)


def reloads(topology: Topology) -> Iterator[Step]:
    """Tell the services that run what has changed."""
    for function in _served(topology):
        if servicectl.is_running(topology.name, function):
            yield _reload(topology.name, function)


def reload_former(applied: State) -> None:
    """Tell the services that run, once all else is undone, that all is as it was."""
    for function in _served(applied.topology()):
        if servicectl.is_running(applied.name, function):
            servicectl.reload(applied.name, function)


def _served(topology: Topology) -> list[str]:
    return [name for name, function in topology.vnfs.items() if function.service]


def _start(topology: str, function: str) -> Step:
    kept = (state.data(topology) / function).exists()  # since before the machine started again

    def undo() -> None:
        servicectl.stop(topology, function)
        if not kept:
            state.remove_data(topology, function)

    title = f"start the service of {function}"
    return Step(title, lambda: servicectl.start(topology, function), undo)


def _reload(topology: str, function: str) -> Step:
    """Undone where the undoing ends, like the agent's: only then the state is the former one."""
    title = f"tell the service of {function}"
    return Step(title, lambda: servicectl.reload(topology, function))


def _end(topology: Topology, function: str) -> Change:
    name = topology.name

    def do() -> None:
        servicectl.stop(name, function)
        state.remove_data(name, function)

    symbol = Symbol.CHANGE if function in topology.vnfs else Symbol.REMOVE
    step = Step(f"end the service of {function}", do)
    return Change(Element("vnf", function), symbol, steps=[(Phase.PURGE, step)])
