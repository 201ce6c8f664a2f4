"""Taking down what is no longer wanted, or a whole topology: only what is marked as owned."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from nfv.chain import names
from nfv.chain.topology import Topology
from nfv.dataplane import agentctl, devices, netns, nic, state, tap
from nfv.dataplane.netlink import Netlink
from nfv.dataplane.observation import Observation
from nfv.dataplane.plan import Change, Phase, Symbol
from nfv.dataplane.state import State
from nfv.dataplane.transaction import Step
from nfv.dataplane.wiring import Port, Wiring, wire


def changes(
    former: Topology, old: Wiring, new: Wiring, topology: Topology, seen: Observation
) -> Iterator[Change]:
    """Ports and namespaces of the former topology that the new one does not have."""
    kept = {name for name, *_ in devices.namespaces(topology)}
    gone = [entry for entry in devices.namespaces(former) if entry[0] not in kept]
    doomed = {name for name, *_ in gone}
    for place, port in old.ports.items():
        if place in new.ports:
            continue
        element = devices.element_of(former, place)
        here = place.node in topology.saps or place.node in topology.vnfs
        symbol = Symbol.CHANGE if here else Symbol.REMOVE
        yield Change(element, symbol, f"{place} removed" if here else "")
        if not (port.inner and port.inner.netns in doomed):
            yield Change(element, symbol, steps=[(Phase.PURGE, _remove_port(former.name, port))])
    for name, element, mark, _ in gone:
        view = seen.get(name)
        if view is not None and view.mark == mark:
            symbol = Symbol.REPLACE if element.name in topology.saps else Symbol.REMOVE
            yield Change(element, symbol, steps=[(Phase.PURGE, _delete_namespace(name))])


def steps(name: str, before: State | None) -> Iterator[Step]:
    """Everything that belongs to a topology, by its marks in the kernel; the state comes last."""
    owner = names.owner(name)
    found = list(_kernel_objects(name, owner, before))
    directories = [state.pins(name), state.directory(name)]
    if not found and not any(path.exists() for path in directories):
        return
    yield Step("stop the agent", lambda: agentctl.stop(name))
    if state.pins(name).exists():
        yield Step(
            "detach programs and free maps",
            lambda: shutil.rmtree(state.pins(name)),
            leftover=(str(state.pins(name)), f"rm -r {state.pins(name)}"),
        )
    yield from found
    yield Step("forget the topology", lambda: state.remove(name))


def _kernel_objects(name: str, owner: str, before: State | None) -> Iterator[Step]:
    with Netlink() as netlink:
        links = list(netlink.links().values())
    for link in links:
        if link.alias is None or not link.alias.startswith(f"{owner}:"):
            continue
        if nic.record(name, link.name).exists():
            yield _give_back(name, link.name)
        elif link.kind == "tun":
            yield _delete_tap(None, link.name)
    wiring = wire(before.topology(), before.ports) if before else None
    for port in wiring.ports.values() if wiring else ():
        if port.kind in ("veth", "tap") and port.outer.netns and _is_there(port):
            yield _remove_port(name, port)
    for place in netns.names(names.fabric_netns(name)):
        if netns.mark(place) == owner:
            yield _delete_namespace(place)


def _is_there(port: Port) -> bool:
    if port.outer.netns is None or not netns.exists(port.outer.netns):
        return False
    with Netlink(port.outer.netns) as netlink:
        return port.outer.name in netlink.links()


def _remove_port(topology: str, port: Port) -> Step:
    if port.kind == "nic":
        return _give_back(topology, port.outer.name)
    if port.kind == "tap":
        return _delete_tap(port.outer.netns, port.outer.name)

    def do() -> None:
        with Netlink(port.outer.netns) as netlink:
            netlink.del_link(port.outer.name)

    clear = f"ip -n {port.outer.netns} link delete {port.outer.name}"
    return Step(f"remove {port.attachment}", do, leftover=(f"device {port.outer.name}", clear))


def _give_back(topology: str, device: str) -> Step:
    return Step(
        f"give {device} back",
        lambda: nic.give_back(topology, device),
        leftover=(f"device {device}", f"ip link set {device} alias '' promisc off"),
    )


def _delete_tap(where: str | None, device: str) -> Step:
    def do() -> None:
        with netns.entered(where):
            tap.delete(device)

    inside = f"-n {where} " if where else ""
    return Step(
        f"remove tap {device}", do, leftover=(f"tap {device}", f"ip {inside}link delete {device}")
    )


def _delete_namespace(name: str) -> Step:
    return Step(
        f"remove namespace {name}",
        lambda: netns.delete(name),
        leftover=(f"network namespace {name}", f"ip netns delete {name}"),
    )
