"""Namespaces and devices of a topology: what differs from what is there, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from nfv.chain import names
from nfv.chain.path import Attachment
from nfv.chain.sap import Hook
from nfv.chain.topology import Topology
from nfv.dataplane.change import proglink, routerlinks
from nfv.dataplane.change.addressing import node_changes
from nfv.dataplane.change.mapstore import MapNames
from nfv.dataplane.change.nic import nic_changes
from nfv.dataplane.change.observation import Observation, intact, link_at
from nfv.dataplane.change.plan import Change, Element, Phase, Symbol
from nfv.dataplane.change.transaction import Step
from nfv.dataplane.kernel import ethtool, netns, tap
from nfv.dataplane.kernel.netlink import Netlink
from nfv.dataplane.kernel.rtnl import Link
from nfv.dataplane.wiring import Device, Port, Wiring
from nfv.ebpf.compose import MAX_LINEAR_MTU
from nfv.errors import InputError

_LEFT_TO_TC = ("tx-checksum", "tso", "tx-vlan", "rx-vlan")
FAR_FEATURES: Mapping[Hook, Mapping[str, bool]] = {
    hook: {**dict.fromkeys(_LEFT_TO_TC, hook is Hook.TC), "gro": True} for hook in Hook
}
"""Of the far end of a veth, by the hook of the port: frames reach XDP finished, and TC as sockets
send them. Frames from XDP ports are taken (NAPI) at either."""

_NO_IPV6 = {"net/ipv6/conf/all/disable_ipv6": 1, "net/ipv6/conf/default/disable_ipv6": 1}
_NO_DAD = {"net/ipv6/conf/all/accept_dad": 0, "net/ipv6/conf/default/accept_dad": 0}
_FORWARDING = {
    "net/ipv4/ip_forward": 1,
    "net/ipv6/conf/all/forwarding": 1,
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    "net/ipv4/conf/all/bc_forwarding": 1,  # where it is set for an interface too
}


def element_of(topology: Topology, place: Attachment) -> Element:
    """The SAP or function that an attachment belongs to."""
    return Element("sap" if place.node in topology.saps else "vnf", place.node)


def changes(
    topology: Topology, wiring: Wiring, before: Wiring | None, seen: Observation
) -> Iterator[Change]:
    """Everything about namespaces and devices that is not as declared."""
    known = before.ports if before else {}
    whole = intact(wiring, seen)
    yield from _namespaces(topology, wiring, seen, {place.node for place in known})
    for place, port in wiring.ports.items():
        element = element_of(topology, place)
        if port.kind == "nic":
            yield from nic_changes(element, port, topology, seen)
        elif place in whole:
            _check_owner(port, topology, whole[place])
            yield from _adjust(element, port, topology, seen)
        else:
            yield from _replace(element, port, known.get(place), topology, seen)
        yield from routerlinks.changes(element, port, topology, place not in whole)
    yield from node_changes(topology, wiring, whole, seen)


# Namespaces ------------------------------------------------------------------------------------


def namespaces(topology: Topology) -> Iterator[tuple[str, Element, str, Mapping[str, int]]]:
    """Name, element, owner's mark and settings of every namespace that the topology owns."""
    owner = names.owner(topology.name)
    element = Element("topology", topology.name)
    yield names.fabric_netns(topology.name), element, owner, _NO_IPV6
    for name, sap in topology.saps.items():
        if sap.kind == "host":
            yield names.node_netns(topology.name, name), Element("sap", name), owner, _NO_DAD
    for name, function in topology.vnfs.items():
        if function.interfaces and not function.floods:
            settings = {**_FORWARDING, **_NO_DAD}
            yield names.node_netns(topology.name, name), Element("vnf", name), owner, settings


def _namespaces(
    topology: Topology, wiring: Wiring, seen: Observation, known: set[str]
) -> Iterator[Change]:
    for name, element, mark, settings in namespaces(topology):
        view = seen.get(name)
        if view is None:
            existed = element.name in known or (element.kind == "topology" and bool(known))
            yield Change(
                element,
                Symbol.REPLACE if existed else Symbol.ADD,
                "namespace is gone" if existed else "",
                steps=[(Phase.NAMESPACE, _make_namespace(name, mark, settings))],
            )
        elif view.mark != mark:
            raise InputError(
                f"network namespace {name} exists and does not belong to this topology",
                f"rename the topology, or remove it: ip netns delete {name}",
            )
        else:
            yield from _settings(element, name, settings)


def _settings(element: Element, name: str, settings: Mapping[str, int]) -> Iterator[Change]:
    """What somebody set otherwise, or a crash left unset."""
    with netns.entered(name):
        there = {path: int(netns.read_sysctl(path)) for path in settings}
    wrong = {path: value for path, value in there.items() if value != settings[path]}
    if wrong:
        reason = ", ".join(f"{path.rpartition('/')[2]} {value}" for path, value in wrong.items())
        wanted = {path: settings[path] for path in wrong}
        step = Step(f"set up namespace {name}", _write(name, wanted), _write(name, wrong))
        yield Change(element, Symbol.CHANGE, reason, steps=[(Phase.NAMESPACE, step)])


def _write(name: str, settings: Mapping[str, int]) -> Callable[[], None]:
    def call() -> None:
        with netns.entered(name):
            for path, value in settings.items():
                netns.write_sysctl(path, value)

    return call


def _make_namespace(name: str, mark: str, settings: Mapping[str, int]) -> Step:
    def do() -> None:
        netns.create(name, mark)
        try:
            _write(name, settings)()
        except BaseException:
            netns.delete(name)
            raise

    return Step(
        f"make namespace {name}",
        do,
        lambda: netns.delete(name),
        (f"network namespace {name}", f"ip netns delete {name}"),
    )


# Ports -----------------------------------------------------------------------------------------


def _check_owner(port: Port, topology: Topology, there: Link) -> None:
    if there.alias != names.owner(topology.name, port.attachment.node):
        raise InputError(
            f"device {port.outer.name} exists and does not belong to this topology",
            "give the tap another name with `device:`" if port.kind == "tap" else None,
        )


def _replace(
    element: Element, port: Port, former: Port | None, topology: Topology, seen: Observation
) -> Iterator[Change]:
    """Make the devices of a port in place of what there is of them."""
    mark = names.owner(topology.name, port.attachment.node)
    moved = former is not None and (former.kind, former.inner) != (port.kind, port.inner)
    outer, inner = link_at(port.outer, seen), link_at(port.inner, seen)
    steps: list[tuple[Phase, Step]] = []
    if outer is not None:
        _check_owner(port, topology, outer)
        steps += _retire(port, outer) if moved else [(Phase.RETIRE, _drop(port.outer, outer))]
    if inner is not None and inner.alias == mark and port.inner is not None:
        steps.append((Phase.RETIRE, _drop(port.inner, inner)))
    elif port.kind == "veth":
        _check_room(port, inner, seen)
    steps.append((Phase.DEVICE, _make_tap(port, mark) if port.is_tap else _make_veth(port, mark)))
    if former is None:
        yield Change(element, Symbol.ADD, steps=steps)
    else:
        reason = (
            "kind or place changed" if moved or former.outer != port.outer else "device is gone"
        )
        yield Change(element, Symbol.REPLACE, reason, steps=steps)


def _drop(device: Device, link: Link) -> Step:
    """Remove what is left of a pair that somebody tore apart."""

    def do() -> None:
        with Netlink(device.netns) as netlink:
            if device.name in netlink.links():  # else it went with its other end
                netlink.del_link(link.index)

    return Step(f"remove the rest of {device.name}", do)


def _check_room(port: Port, there: Link | None, seen: Observation) -> None:
    """A namespace that is not ours must be there, and have no device of that name."""
    assert port.inner is not None
    if port.inner.netns not in seen:
        raise InputError(
            f"there is no network namespace {port.inner.netns} for SAP {port.attachment}",
            "`ip netns` lists those there are",
        )
    if there is not None:
        raise InputError(
            f"namespace {port.inner.netns} has a device {port.inner.name} already",
            f"give SAP {port.attachment} another `device:`",
        )


def _make_veth(port: Port, mark: str) -> Step:
    outer, inner = port.outer, port.inner
    assert inner is not None

    def do() -> None:
        with Netlink(outer.netns) as netlink:
            netlink.add_veth(
                outer.name,
                inner.name,
                peer_mac=port.mac,
                mtu=port.mtu,
                peer_netns=inner.netns,
                alias=mark,
                peer_alias=mark,
            )
            try:
                with netns.entered(inner.netns):
                    ethtool.set_features(inner.name, FAR_FEATURES[port.hook])
                with Netlink(inner.netns) as far:
                    far.set_link(inner.name, up=True)
                netlink.set_link(outer.name, up=True)
            except BaseException:
                netlink.del_link(outer.name)
                raise

    def undo() -> None:
        with Netlink(outer.netns) as netlink:
            netlink.del_link(outer.name)

    return Step(
        f"connect {port.attachment}",
        do,
        undo,
        (f"device {outer.name}", f"ip -n {outer.netns} link delete {outer.name}"),
    )


def _make_tap(port: Port, mark: str) -> Step:
    outer = port.outer

    def do() -> None:
        with netns.entered(outer.netns):
            tap.create(outer.name, port.mac)
            try:
                netns.write_sysctl(f"net/ipv6/conf/{outer.name}/disable_ipv6", 1)
                with Netlink() as netlink:
                    netlink.set_link(outer.name, mtu=port.mtu, alias=mark, up=True)
            except BaseException:
                tap.delete(outer.name)
                raise

    def undo() -> None:
        with netns.entered(outer.netns):
            tap.delete(outer.name)

    return Step(
        f"make tap {outer.name}",
        do,
        undo,
        (f"tap {outer.name}", f"ip link delete {outer.name}"),
    )


def _adjust(
    element: Element, port: Port, topology: Topology, seen: Observation
) -> Iterator[Change]:
    """Properties of devices that are there: MTU, MAC address, up."""
    ends = [(port.outer, None if port.inner else port.mac)]
    if port.inner:
        ends.append((port.inner, port.mac))
    for device, mac in ends:
        link = seen[device.netns].links[device.name]
        phases: dict[Phase, dict[str, tuple[object, object]]] = {}
        for key, value, current in (
            ("mtu", port.mtu, link.mtu),
            ("mac", mac or link.mac, link.mac),
            ("up", True, link.up),
        ):
            if value != current:
                late = key == "mtu" and link.mtu <= MAX_LINEAR_MTU < port.mtu
                late = late and port.hook is Hook.XDP
                phase = Phase.SETTLE if late else Phase.DEVICE  # once programs take such frames
                phases.setdefault(phase, {})[key] = (current, value)
        if Phase.SETTLE in phases and device == port.outer:
            yield Change(element, Symbol.CHANGE, steps=[(Phase.SETTLE, _reattach(topology, port))])
        for phase, values in phases.items():
            words = ", ".join(f"{key} {old} -> {new}" for key, (old, new) in values.items())
            step = _set(
                device.netns,
                device.name,
                {key: new for key, (_, new) in values.items()},
                {key: old for key, (old, _) in values.items()},
            )
            reason = f"{device.name}: {words}"
            yield Change(element, Symbol.CHANGE, reason, steps=[(phase, step)])
    if port.inner:
        yield from _offloads(element, port, port.inner)


def _offloads(element: Element, port: Port, device: Device) -> Iterator[Change]:
    """Features that somebody switched, a crash left as they were, or another hook allows or needs.

    A program at XDP meets no frame that is unfinished, and one that leaves it ends before some are.
    """
    with netns.entered(device.netns):
        active = [name for name, on in ethtool.features(device.name).items() if on]
    wrong = {
        group: on
        for group, on in FAR_FEATURES[port.hook].items()
        if any(ethtool.GROUPS[group].fullmatch(name) for name in active) != on
    }
    if not wrong:
        return
    former: dict[str, bool] = {}

    def do() -> None:
        with netns.entered(device.netns):
            former.update(ethtool.set_features(device.name, wrong))

    def undo() -> None:
        with netns.entered(device.netns):
            ethtool.restore_features(device.name, former)

    reason = ", ".join(f"{group} {'off' if on else 'on'}" for group, on in wrong.items())
    step = Step(f"set offloads of {device.name}", do, undo)
    phase = Phase.SETTLE if port.hook is Hook.TC else Phase.DEVICE
    yield Change(element, Symbol.CHANGE, f"{device.name}: {reason}", steps=[(phase, step)])


def _reattach(topology: Topology, port: Port) -> Step:
    pin = MapNames(topology, {}).link(port.attachment)
    return Step(f"let {port.outer.name} take long frames", lambda: proglink.reattach(pin, port))


def _set(
    where: str | None, name: str, wanted: Mapping[str, object], former: Mapping[str, object]
) -> Step:
    def setter(values: Mapping[str, object]) -> Callable[[], None]:
        def call() -> None:
            with Netlink(where) as netlink:
                netlink.set_link(name, **values)  # type: ignore[arg-type]

        return call

    return Step(f"change {name}", setter(wanted), setter(former))


# Removal ---------------------------------------------------------------------------------------


def _retire(port: Port, link: Link) -> list[tuple[Phase, Step]]:
    """Give the name of a device free; it goes at the end, when nothing can fail any more."""
    where, name = port.outer.netns, port.outer.name

    def rename(to: str) -> Callable[[], None]:
        def call() -> None:
            with Netlink(where) as netlink:
                netlink.set_link(link.index, up=False)
                netlink.set_link(link.index, name=to)
                netlink.set_link(link.index, up=True)

        return call

    def remove() -> None:
        with Netlink(where) as netlink:
            netlink.del_link(link.index)

    aside = Step(f"put {name} aside", rename(f"old.{link.index}"), rename(name))
    return [(Phase.RETIRE, aside), (Phase.PURGE, Step(f"remove the former {name}", remove))]
