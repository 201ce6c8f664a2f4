"""Which kernel objects a topology needs: its ports, with their numbers, devices, namespaces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from nfv.chain import names
from nfv.chain.graph import SERVICE, floods, is_service, ports
from nfv.chain.hook import Hooks, hooks
from nfv.chain.path import Attachment
from nfv.chain.sap import Hook, HostSap, NicSap, TapSap, VethSap
from nfv.chain.topology import Topology
from nfv.dataplane.kernel.bpf import has_tcx
from nfv.errors import InputError

HEADER_SIZE = 16
"""Of the header in front of a frame for a service (struct service_header of service.h), bytes."""

PORT = "port"
"""The kind of a switch's port."""

MAX_PORTS = 4096
"""Ports of a topology: SAPs and interfaces of functions."""

MAX_PROGRAMS = 32
"""Programs of a port: of its walk, however long, and of the answers to what it rejects."""


def jump(number: int, ordinal: int = 0) -> int:
    """Place in the table of tail calls of a port's program."""
    return number * MAX_PROGRAMS + ordinal


@dataclass(frozen=True)
class Device:
    """A network device, by name and by the namespace it is in (None: the one nfvctl runs in)."""

    netns: str | None
    name: str


@dataclass(frozen=True)
class Port:
    """A place where packets enter and leave the chains.

    `outer` carries the port's program. `inner` is the far end of its veth pair: in a host, a router
    or a foreign namespace, or in the fabric, for the frames that a switch floods; a tap or a NIC
    has none.
    """

    number: int
    attachment: Attachment
    kind: str  # the SAP's kind, "interface", "port" of a switch, or "service"
    outer: Device
    inner: Device | None
    mac: str | None  # of the inner device, or of the tap's far side
    mtu: int
    hook: Hook  # of its program

    @property
    def is_tap(self) -> bool:
        """Whether a program reads and writes the frames: a user's, or a function's service."""
        return self.kind in ("tap", SERVICE)


@dataclass(frozen=True)
class Wiring:
    """The ports of a topology, by attachment."""

    topology: str
    ports: Mapping[Attachment, Port]

    @property
    def fabric(self) -> str:
        """The namespace of the plumbing."""
        return names.fabric_netns(self.topology)

    def of(self, node: str) -> Iterator[Port]:
        """The ports of a SAP or of a function, in the order of the file."""
        return (port for place, port in self.ports.items() if place.node == node)


def number_ports(topology: Topology, before: Mapping[str, int]) -> dict[str, int]:
    """A number for every port, from 1 to MAX_PORTS - 1."""
    return give_numbers([str(place) for place in ports(topology)], before)


def give_numbers(names: Iterable[str], before: Mapping[str, int]) -> dict[str, int]:
    """A number for every name; those that had one keep it, as programs and maps know it.

    A number given up is not taken at once: running programs may still use it. Raises `InputError`
    if there are not enough.
    """
    wanted = list(names)
    if len(wanted) >= MAX_PORTS:
        raise InputError(
            f"{len(wanted)} access points and interfaces; {MAX_PORTS - 1} are the most"
        )
    kept = {name: before[name] for name in wanted if name in before}
    used = {*before.values()}
    free = [candidate for candidate in range(1, MAX_PORTS) if candidate not in used]
    fresh = iter([*free, *sorted(used - {*kept.values()})])
    return {name: kept[name] if name in kept else next(fresh) for name in wanted}


def wire(topology: Topology, numbers: Mapping[str, int], chosen: Hooks | None = None) -> Wiring:
    """Derive the ports: the same topology and numbers give the same names on a machine.

    Without other `chosen` hooks, ports have those that the topology asks for, as far as the kernel
    has them.
    """
    if chosen is None:
        chosen = hooks(topology) if has_tcx() else dict.fromkeys(hooks(topology), Hook.XDP)
    found = {
        place: _port(topology, place, numbers[str(place)], hook) for place, hook in chosen.items()
    }
    return Wiring(topology.name, found)


def service_mtu(topology: Topology) -> int:
    """What a service's tap must let pass: the longest packet, and the header of its frame."""
    mtus = [sap.mtu for sap in topology.saps.values()]
    for function in topology.vnfs.values():
        mtus += [interface.mtu for interface in function.interfaces.values()]
    return max(mtus, default=0) + HEADER_SIZE


def _port(topology: Topology, place: Attachment, number: int, hook: Hook) -> Port:
    fabric = names.fabric_netns(topology.name)
    if is_service(topology, place):
        outer = Device(fabric, names.service_device(place.node))
        return Port(number, place, SERVICE, outer, None, None, service_mtu(topology), hook)
    if place.interface is not None:
        return _interface(topology, place.node, place.interface, number, hook)
    sap = topology.saps[place.node]
    mac = getattr(sap, "mac", None) or names.mac(topology.name, sap.name)
    outer = Device(fabric, names.sap_device(sap.name))
    inner: Device | None = None
    if isinstance(sap, HostSap):
        inner = Device(names.node_netns(topology.name, sap.name), names.HOST_DEVICE)
    elif isinstance(sap, VethSap):
        inner = Device(sap.netns, sap.device)
    elif isinstance(sap, TapSap):
        outer = Device(sap.netns, sap.device or names.tap_device(topology.name, sap.name))
    elif isinstance(sap, NicSap):
        outer, mac = Device(None, sap.device), None
    return Port(number, place, sap.kind, outer, inner, mac, sap.mtu, hook)


def _interface(topology: Topology, node: str, name: str, number: int, hook: Hook) -> Port:
    """The port of a function's interface: of a router's, or of a switch."""
    place, interface = Attachment(node, name), topology.vnfs[node].interfaces[name]
    fabric = names.fabric_netns(topology.name)
    if floods(topology, place):
        kind, inner = PORT, Device(fabric, names.flood_device(node, name))
    else:
        netns = names.node_netns(topology.name, node)
        kind, inner = "interface", Device(netns, names.interface_device(name))
    outer = Device(fabric, names.fabric_device(node, name))
    mac = interface.mac or names.mac(topology.name, node, name)
    return Port(number, place, kind, outer, inner, mac, interface.mtu, hook)
