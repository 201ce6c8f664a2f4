"""What must hold between the parts of a topology. Every violation is reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nfv.chain import names
from nfv.chain.fields import Address, InterfaceAddress
from nfv.chain.loops import check_loops
from nfv.chain.path import Attachment, ChainConfig
from nfv.chain.reach import neighbours
from nfv.chain.report import Report, did_you_mean, listed
from nfv.chain.sap import Hook, NicSap, Sap, TapSap, VethSap
from nfv.chain.source import KeyPath
from nfv.chain.surroundings import Surroundings
from nfv.functions.base import Function


@dataclass(frozen=True)
class Draft:
    """A topology as far as it could be read; None: declared, but with errors in itself."""

    name: str
    saps: Mapping[str, Sap | None]
    vnfs: Mapping[str, Function[Any] | None]
    chains: Mapping[str, ChainConfig | None]


@dataclass(frozen=True)
class End:
    """What the checks need to know of an attachment."""

    path: KeyPath  # of its keys in the file
    addresses: tuple[InterfaceAddress, ...]
    mtu: int
    mac: str | None


MAX_FUNCTIONS = 24
"""Functions of one chain: their programs must fit in a port's places for tail calls."""


def check(draft: Draft, report: Report) -> None:
    """Report everything that is wrong between the parts, and between those of each function."""
    paths = {name: chain.path for name, chain in draft.chains.items() if chain}
    around = Surroundings(draft.saps, draft.vnfs, paths)
    for name, vnf in draft.vnfs.items():
        if name in draft.saps:
            message = f"'{name}' is the name of a SAP too"
            report.error(("vnfs", name), message, "rename one of them", key=True)
        if vnf:
            at = report.at("vnfs", name)
            vnf.check(at)
            inside = (key for key, chain in draft.chains.items() if chain and name in chain.path)
            vnf.check_chains(list(inside), at)
            vnf.check_surroundings(around, at)
            _check_name_server(draft, vnf, at)
            _check_masquerade(draft, vnf, at)
    for name, chain in draft.chains.items():
        if chain:
            _check_chain(draft, chain, report.at("chains", name))
    ends = dict(_ends(draft))
    _check_shared(draft, report)
    _check_mtus(draft, ends, report)
    _check_segments(draft, around, ends, report)
    _check_macs(ends, report)
    _check_switches(draft, report)
    _check_hooks(draft, report)
    _check_fabric_devices(draft, report)
    _check_outer_devices(draft, report)


def _check_chain(draft: Draft, chain: ChainConfig, report: Report) -> None:
    path = chain.path
    if len(path) < 2:
        hint = 'write it as [lan, fw, "gw:lan"]'
        report.error(("path",), "a path runs from one attachment to another", hint)
        return
    if len(path) - 2 > MAX_FUNCTIONS:
        message = f"{len(path) - 2} functions in one chain, the most is {MAX_FUNCTIONS}"
        report.error(("path",), message, "end the chain at a router, and go on behind it")
    last = len(path) - 1
    for index, entry in enumerate(path):
        at = report.at("path", index)
        if index in (0, last):
            _check_end(draft, entry, at)
        else:
            _check_inside(draft, entry, at)
    if path[0] == path[last]:
        report.error(("path", last), f"both ends of the path are {path[0]}")
    for index in range(1, last):
        if path[index] in path[1:index]:
            message = f"'{path[index]}' stands in this path twice"
            report.error(("path", index), message, "declare a second function for it")


def _check_end(draft: Draft, entry: str, report: Report) -> None:
    end = Attachment.parse(entry)
    if end.node in draft.saps:
        if end.interface is not None:
            message = f"'{end.node}' is a SAP and has no interfaces"
            report.error((), message, f"write '{end.node}'")
        return
    if end.node not in draft.vnfs:
        _report_unknown(draft, entry, report)
        return
    vnf = draft.vnfs[end.node]
    if vnf is None:
        return
    choices = [str(Attachment(end.node, name)) for name in vnf.interfaces]
    if not choices:
        message = f"a path cannot end at '{end.node}', a {vnf.type} has no interfaces"
        report.error((), message, "end it at a SAP or at an interface of a function")
    elif end.interface is None:
        report.error((), f"'{end.node}' needs an interface", f"write one of {listed(choices)}")
    elif entry not in choices:
        hint = did_you_mean(entry, choices, f"write one of {listed(choices)}")
        report.error((), f"'{end.node}' has no interface '{end.interface}'", hint)


def _check_inside(draft: Draft, entry: str, report: Report) -> None:
    end = Attachment.parse(entry)
    if end.node in draft.saps:
        hint = "end the path there, and start another chain at it"
        report.error((), f"SAP '{end.node}' stands inside the path", hint)
    elif end.node not in draft.vnfs:
        _report_unknown(draft, entry, report)
    else:
        vnf = draft.vnfs[end.node]
        if vnf and vnf.interfaces:
            hint = "end the path at one interface, and start another chain at the next"
            report.error((), f"'{end.node}' has interfaces and stands inside the path", hint)
        elif vnf and end.interface is not None:
            message = f"a {vnf.type} has no interfaces"
            report.error((), message, f"write '{end.node}'")


def _report_unknown(draft: Draft, entry: str, report: Report) -> None:
    node = Attachment.parse(entry).node
    known = [*draft.saps, *draft.vnfs]
    otherwise = f"declared are {listed(known)}" if known else "declare it under saps or vnfs"
    report.error((), f"no SAP or function '{node}'", did_you_mean(node, known, otherwise))


def _check_name_server(draft: Draft, vnf: Function[Any], report: Report) -> None:
    name = vnf.name_server
    if name is None:
        return
    there = draft.vnfs.get(name)
    if name not in draft.vnfs or (there and there.type != "dns"):
        servers = [key for key, other in draft.vnfs.items() if other and other.type == "dns"]
        otherwise = f"declared are {listed(servers)}" if servers else "declare one: {type: dns}"
        hint = did_you_mean(name, servers, otherwise)
        report.error(("register",), f"no name server '{name}'", hint)


def _check_masquerade(draft: Draft, vnf: Function[Any], report: Report) -> None:
    if vnf.masquerade is None:
        return
    there = Attachment.parse(vnf.masquerade)
    owner = draft.vnfs.get(there.node)
    if there.node in draft.vnfs and owner is None:  # with errors in itself
        return
    if owner is None or there.interface not in owner.interfaces:
        known = [
            str(Attachment(name, interface))
            for name, other in draft.vnfs.items()
            for interface in (other.interfaces if other else ())
        ]
        otherwise = f"interfaces are {listed(known)}" if known else "give it pools instead"
        hint = did_you_mean(vnf.masquerade, known, otherwise)
        report.error(("masquerade",), f"no interface '{vnf.masquerade}'", hint)


def _check_shared(draft: Draft, report: Report) -> None:
    """Of the chains at one attachment, only the last may do without a classifier."""
    users: dict[str, list[str]] = {}
    for name, chain in draft.chains.items():
        if chain and len(chain.path) > 1:
            for entry in {chain.path[0], chain.path[-1]}:
                users.setdefault(entry, []).append(name)
    hidden: dict[str, tuple[str, str]] = {}  # chain -> (attachment, next chain)
    for entry, chains in users.items():
        for name, following in pairwise(chains):
            chain = draft.chains[name]
            if chain and chain.match is None:
                hidden.setdefault(name, (entry, following))
    for name, (entry, following) in hidden.items():
        message = f"takes all packets at {entry}, so that none are left for chain '{following}'"
        hint = "add a match, or move this chain to the end"
        report.error(("chains", name), message, hint, key=True)


def _ends(draft: Draft) -> Iterator[tuple[str, End]]:
    """Every attachment that could be read, by the way it is written in a path."""
    for name, sap in draft.saps.items():
        if sap:
            mac = getattr(sap, "mac", None)
            yield name, End(("saps", name), sap.addresses, sap.mtu, mac)
    for name, vnf in draft.vnfs.items():
        for key, interface in (vnf.interfaces if vnf else {}).items():
            path = ("vnfs", name, vnf.places_key, key) if vnf else ()
            end = End(path, interface.ip, interface.mtu, interface.mac)
            yield str(Attachment(name, key)), end
        if vnf and vnf.addresses:
            mac = getattr(vnf.config, "mac", None)
            yield name, End(("vnfs", name), vnf.addresses, 0, mac)


def _check_mtus(draft: Draft, ends: Mapping[str, End], report: Report) -> None:
    for name, chain in draft.chains.items():
        if not chain or len(chain.path) < 2:
            continue
        near, far = ends.get(chain.path[0]), ends.get(chain.path[-1])
        if near and far and near.mtu != far.mtu:
            message = (
                f"the ends differ in MTU: {chain.path[0]} has {near.mtu}, "
                f"{chain.path[-1]} has {far.mtu}"
            )
            report.error(("chains", name, "path"), message, "give both the same mtu")


def _check_segments(
    draft: Draft, around: Surroundings, ends: Mapping[str, End], report: Report
) -> None:
    """Attachments that chains connect make one segment, on which an address is unique."""
    segments: dict[str, set[str]] = {}
    for chain in draft.chains.values():
        if chain and len(chain.path) > 1:
            near, far = map(around.joint, (chain.path[0], chain.path[-1]))
            joined = segments.get(near, {near}) | segments.get(far, {far})
            joined |= set(chain.path[1:-1])  # which may have addresses of their own
            ends_ = [entry for entry in joined if entry in segments or entry in (near, far)]
            segments.update(dict.fromkeys(ends_, joined))
    for segment in {id(segment): segment for segment in segments.values()}.values():
        owners: dict[Address, str] = {}
        for entry in (entry for entry in ends if entry in segment):
            end = ends[entry]
            for index, address in enumerate(end.addresses):
                owner = owners.setdefault(address.ip, entry)
                if owner != entry:
                    message = f"{address.ip} is the address of {owner} too, on the same segment"
                    report.error((*end.path, "ip", index), message)


def _check_macs(ends: Mapping[str, End], report: Report) -> None:
    owners: dict[str, str] = {}
    for entry, end in ends.items():
        if end.mac:
            owner = owners.setdefault(end.mac, entry)
            if owner != entry:
                message = f"{end.mac} is the MAC address of {owner} too"
                report.error((*end.path, "mac"), message, "remove it to have one derived")


def _check_switches(draft: Draft, report: Report) -> None:
    paths = {name: chain.path for name, chain in draft.chains.items() if chain and chain.path}
    switches = [name for name, vnf in draft.vnfs.items() if vnf and vnf.floods]
    check_loops(paths, switches, report)


def _check_hooks(draft: Draft, report: Report) -> None:
    """A program at TC cannot send to a tap or a NIC, which are in other namespaces."""
    known = {*draft.saps, *draft.vnfs}
    paths = [chain.path for chain in draft.chains.values() if chain]
    ends = [(path[0].partition(":")[0], path[-1].partition(":")[0]) for path in paths if path]
    near = neighbours(known, [pair for pair in ends if known.issuperset(pair)])
    switches = {name for name, vnf in draft.vnfs.items() if vnf and vnf.floods}
    outside = {name for name, sap in draft.saps.items() if sap and sap.outside}
    xdp = {name for name, sap in draft.saps.items() if sap and sap.declared_hook is Hook.XDP}
    for name, sap in draft.saps.items():
        if not sap or sap.declared_hook is not Hook.TC:
            continue
        others, flooded = sorted(outside & near[name]), sorted(xdp & near[name])
        if others:
            message = f"a program at tc cannot send to {others[0]}, a tap or a NIC"
            report.error(("saps", name, "hook"), message, "leave the key out")
        elif flooded and switches & near[name]:
            message = f"{flooded[0]} has xdp, and a switch sends from both hooks"
            report.error(("saps", name, "hook"), message, "give both the same hook")


def _check_fabric_devices(draft: Draft, report: Report) -> None:
    """Names of SAPs and interfaces become device names; no two may become the same."""
    fabric: dict[str, KeyPath] = {}
    for name in draft.saps:
        _claim(fabric, names.sap_device(name), ("saps", name), report)
    for name, vnf in draft.vnfs.items():
        own: dict[str, KeyPath] = {}
        for interface in vnf.interfaces if vnf else ():
            path = ("vnfs", name, vnf.places_key, interface) if vnf else ()
            _claim(fabric, names.fabric_device(name, interface), path, report)
            if vnf and vnf.floods:
                _claim(fabric, names.flood_device(name, interface), path, report)
            else:
                _claim(own, names.interface_device(interface), path, report)
        if vnf and vnf.service:
            _claim(fabric, names.service_device(name), ("vnfs", name), report)


def _claim(devices: dict[str, KeyPath], device: str, path: KeyPath, report: Report) -> None:
    owner = devices.setdefault(device, path)
    if device in names.RESERVED_DEVICES:
        message = f"'{device}' is a device name that the kernel uses itself"
        report.error(path, message, "take another name", key=True)
    elif owner != path:
        message = f"becomes device '{device}', as {owner[-1]} does"
        report.error(path, message, "take another name", key=True)


def _check_outer_devices(draft: Draft, report: Report) -> None:
    """Devices outside the topology's own namespaces: none may be named twice."""
    owners: dict[tuple[str | None, str], str] = {}
    for name, sap in draft.saps.items():
        if isinstance(sap, TapSap):
            key = (sap.netns, sap.device or names.tap_device(draft.name, name))
        elif isinstance(sap, NicSap):
            key = (None, sap.device)
        elif isinstance(sap, VethSap):
            key = (sap.netns, sap.device)
        else:
            continue
        owner = owners.setdefault(key, name)
        if key[1] in names.RESERVED_DEVICES:
            message = f"'{key[1]}' is a device name that the kernel uses itself"
            report.error(("saps", name, "device"), message)
        elif owner != name:
            where = f" in namespace '{key[0]}'" if key[0] else ""
            message = f"device '{key[1]}'{where} is used by SAP '{owner}' too"
            report.error(("saps", name, "device"), message)
