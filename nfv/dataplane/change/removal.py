"""Taking down what is no longer wanted, or a whole topology.

What there is to remove is found by the owner's mark in the kernel, also after a crash. Nothing
without the mark is touched.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator

from nfv.chain import names
from nfv.chain.topology import Topology
from nfv.dataplane import state
from nfv.dataplane.change import devices, nic
from nfv.dataplane.change.observation import Observation
from nfv.dataplane.change.plan import Change, Element, Phase, Symbol, element_named
from nfv.dataplane.change.transaction import Step
from nfv.dataplane.kernel import netns
from nfv.dataplane.kernel.netlink import Netlink
from nfv.dataplane.kernel.rtnl import Link
from nfv.dataplane.resident import agentctl, birdctl, clientctl, servicectl
from nfv.dataplane.wiring import Device, Wiring
from nfv.errors import KernelError

_Place = str | None  # a namespace; None is the one that nfvctl runs in


def changes(
    topology: Topology,
    wiring: Wiring,
    former: Topology | None,
    old: Wiring | None,
    seen: Observation,
) -> Iterator[Change]:
    """What was there before, or bears the topology's mark, and is not in its wiring."""
    if former is not None and old is not None:
        yield from _gone(topology, wiring, former, old)
    former_ports = old.ports.values() if old else ()
    places = {None, wiring.fabric, *(port.outer.netns for port in former_ports)}
    wanted = {device for port in wiring.ports.values() for device in (port.outer, port.inner)}
    for place, link in _marked_links(names.owner(topology.name), places, seen):
        if Device(place, link.name) not in wanted:
            node = (link.alias or "").removeprefix(names.owner(topology.name, ""))
            element = element_named(node, topology, former)
            step = _remove_link(topology.name, place, link)
            yield Change(element, _symbol(element, topology), steps=[(Phase.PURGE, step)])
    kept = {name for name, *_ in devices.namespaces(topology)}
    for name in _marked_namespaces(topology.name):
        if name not in kept:
            element = element_named(name.removeprefix(f"{wiring.fabric}."), topology, former)
            steps = [(Phase.PURGE, _delete_namespace(name))]
            yield Change(element, _symbol(element, topology), steps=steps)


def _gone(topology: Topology, wiring: Wiring, former: Topology, old: Wiring) -> Iterator[Change]:
    """Lines for what the former topology had; the steps come from the marks."""
    for place in old.ports:
        if place not in wiring.ports:
            element = devices.element_of(former, place)
            symbol = _symbol(element, topology)
            yield Change(element, symbol, f"{place} removed" if symbol is Symbol.CHANGE else "")


def _marked_links(
    owner: str, places: Iterable[_Place], seen: Observation
) -> Iterator[tuple[_Place, Link]]:
    for place in places:
        view = seen.get(place)
        for link in view.links.values() if view else ():
            if _owns(owner, link):
                yield place, link


def _marked_namespaces(topology: str) -> list[str]:
    """Every namespace of a topology, the fabric first."""
    fabric, owner = names.fabric_netns(topology), names.owner(topology)
    candidates = [name for name in netns.names(fabric) if f"{name}.".startswith(f"{fabric}.")]
    return [name for name in candidates if netns.mark(name) == owner]


def _symbol(element: Element, topology: Topology) -> Symbol:
    here = {"sap": topology.saps, "vnf": topology.vnfs, "topology": {topology.name}}
    return Symbol.CHANGE if element.name in here[element.kind] else Symbol.REMOVE


def _owns(owner: str, link: Link) -> bool:
    return link.alias is not None and link.alias.startswith(f"{owner}:")


# A whole topology ------------------------------------------------------------------------------


def steps(name: str) -> Iterator[Step]:
    """Everything that belongs to a topology; its files come last."""
    found = list(_kernel_objects(name))
    directories = [state.pins(name), state.directory(name), state.data(name)]
    if not found and not any(path.exists() for path in directories):
        return
    yield from (_stop_client(name, sap) for sap in clientctl.started(name))
    yield from (_stop_bird(name, router) for router in birdctl.started(name))
    yield from (_stop_service(name, function) for function in servicectl.started(name))
    yield Step("stop the agent", lambda: agentctl.stop(name))
    if state.pins(name).exists():
        yield Step(
            "detach programs and free maps",
            lambda: shutil.rmtree(state.pins(name)),
            leftover=(str(state.pins(name)), f"rm -r {state.pins(name)}"),
        )
    yield from found
    yield Step("forget the topology", lambda: _forget(name))


def _kernel_objects(name: str) -> Iterator[Step]:
    borrowed = nic.borrowed(name)
    yield from (_give_back(name, device) for device in borrowed)
    own = _marked_namespaces(name)
    for place in (None, *(place for place in netns.names() if place not in own)):
        for link in _links(place):
            is_borrowed = place is None and link.name in borrowed
            if _owns(names.owner(name), link) and not is_borrowed:
                yield _remove_link(name, place, link)
    for place in own:
        yield _delete_namespace(place)


def _links(place: _Place) -> list[Link]:
    try:
        with Netlink(place) as netlink:
            return list(netlink.links().values())
    except KernelError:
        if place is not None and not netns.exists(place):  # it ended while it was looked at
            return []
        raise


def _stop_client(name: str, sap: str) -> Step:
    return Step(f"stop the DHCP client of {sap}", lambda: clientctl.stop(name, sap))


def _stop_bird(name: str, router: str) -> Step:
    return Step(f"stop BIRD of {router}", lambda: birdctl.stop(name, router))


def _stop_service(name: str, function: str) -> Step:
    return Step(f"stop the service of {function}", lambda: servicectl.stop(name, function))


def _forget(name: str) -> None:
    """Leave the records of devices that could not be given back."""
    state.remove_data(name)
    if any(nic.borrowed(name)):
        state.forget(name)
    else:
        state.remove(name)


def _remove_link(topology: str, place: _Place, link: Link) -> Step:
    """Remove a device, whichever SAP's it is; one that was there before is given back."""
    if place is None and link.name in nic.borrowed(topology):
        return _give_back(topology, link.name)
    device, inside = link.name, f"-n {place} " if place else ""

    def do() -> None:
        with Netlink(place) as netlink:
            there = netlink.links().get(device)
            if there is not None and there.index == link.index:  # else it went with another
                netlink.del_link(link.index)

    clear = f"ip {inside}link delete {device}"
    return Step(f"remove device {device}", do, leftover=(f"device {device}", clear))


def _give_back(topology: str, device: str) -> Step:
    return Step(
        f"give {device} back",
        lambda: nic.give_back(topology, device),
        leftover=(f"device {device}", f"ip link set {device} alias '' promisc off"),
    )


def _delete_namespace(name: str) -> Step:
    return Step(
        f"remove namespace {name}",
        lambda: netns.delete(name),
        leftover=(f"network namespace {name}", f"ip netns delete {name}"),
    )
