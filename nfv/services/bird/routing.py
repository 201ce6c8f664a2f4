"""The part of BIRD's configuration that is about BGP and OSPF."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from nfv.chain import names
from nfv.chain.fields import InterfaceAddress, Network
from nfv.dataplane.change.observation import PROTOCOL
from nfv.services.bird.protocols import Bgp, Neighbor, Ospf, OspfInterface, Protocols

_PATHS = 16  # next hops of a route at most
_METRICS = {4: 32, 6: 2048}  # in Linux: beyond those of static and connected routes
_OSPF = "[RTS_OSPF, RTS_OSPF_IA, RTS_OSPF_EXT1, RTS_OSPF_EXT2]"
_SOURCES = {
    "connected": "source = RTS_DEVICE",
    "static": f"(source = RTS_INHERIT && krt_source = {PROTOCOL})",
    "bgp": "source = RTS_BGP",
    "ospf": f"source ~ {_OSPF}",
}


def routing(
    wanted: Protocols, interfaces: Mapping[str, Iterable[InterfaceAddress]]
) -> Iterator[str]:
    """The lines of it; `interfaces` have their addresses."""
    yield 'protocol direct { ipv4; ipv6; interface "-lo", "*"; }'
    for version in (4, 6):
        yield f"protocol kernel kernel{version} {{"
        yield f"  learn; metric {_METRICS[version]}; merge paths yes limit {_PATHS};"
        learnt = _filter([_SOURCES["bgp"], _SOURCES["ospf"]])
        yield f"  ipv{version} {{ import all; export {learnt}; }};"
        yield "}"
    if wanted.bgp is not None:
        for neighbor in wanted.bgp.neighbors:
            yield from _neighbor(wanted.bgp, neighbor)
    if wanted.ospf is not None:
        for version, protocol in ((4, "v2"), (6, "v3")):
            having = {
                key
                for key, addresses in interfaces.items()
                if any(address.version == version for address in addresses)
            }
            if having & {key for area in wanted.ospf.areas for key in area.interfaces}:
                yield from _ospf(wanted.ospf, version, protocol, having)


def _neighbor(bgp: Bgp, neighbor: Neighbor) -> Iterator[str]:
    version = neighbor.address.version
    device = names.interface_device(neighbor.interface) if neighbor.interface else ""
    where = f"{neighbor.address}%{device}" if device else str(neighbor.address)
    yield f"protocol bgp 'bgp-{where}' {{"
    yield f"  local as {bgp.local_as};"
    scope = f"%'{device}'" if device else ""
    yield f"  neighbor {neighbor.address}{scope} as {neighbor.remote_as};"
    yield f"  hold time {neighbor.hold};"
    if neighbor.multihop:
        yield f"  multihop {neighbor.multihop};"
    if neighbor.passive:
        yield "  passive yes;"
    if neighbor.password:
        yield f'  password "{neighbor.password}";'
    told = [_SOURCES["bgp"], *(_SOURCES[source] for source in bgp.redistribute)]
    taken = _filter(["true"], neighbor.accept)
    given = _filter(told, neighbor.announce)
    own = " next hop self;" if neighbor.next_hop_self else ""
    yield f"  ipv{version} {{ import {taken}; export {given};{own} }};"
    yield "}"


def _filter(conditions: Sequence[str], networks: Sequence[Network] | None = None) -> str:
    """A filter that lets pass what is from a source, and in one of the prefixes if there are any.

    BIRD has no empty set of prefixes; such a list lets nothing pass.
    """
    if networks is not None and not networks:
        return "none"
    wanted = f"({' || '.join(conditions)})"
    if networks:
        wanted += f" && net ~ [{', '.join(f'{network}+' for network in networks)}]"
    return f"filter {{ if {wanted} then accept; reject; }}"


def _ospf(ospf: Ospf, version: int, protocol: str, having: set[str]) -> Iterator[str]:
    """One version, on the interfaces that have addresses of it."""
    yield f"protocol ospf {protocol} 'ospf-{protocol}' {{"
    sources = [_SOURCES[source] for source in ospf.redistribute]
    exported = _filter(sources) if sources else "none"
    yield f"  ipv{version} {{ import all; export {exported}; }};"
    for area in ospf.areas:
        yield f"  area {area.area} {{"
        for key, interface in area.interfaces.items():
            if key in having:
                yield from _interface(key, interface)
        yield "  };"
    yield "}"


def _interface(key: str, interface: OspfInterface) -> Iterator[str]:
    yield f'    interface "{names.interface_device(key)}" {{'
    yield f"      cost {interface.cost}; stub {'yes' if interface.passive else 'no'};"
    yield f"      type {interface.type}; priority {interface.priority};"
    yield f"      hello {interface.hello}; dead {interface.dead};"
    if interface.password:
        yield "      authentication cryptographic;"
        yield f'      password "{interface.password}" {{ id 1; algorithm hmac sha256; }};'
    yield "    };"
