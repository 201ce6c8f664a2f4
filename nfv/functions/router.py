"""IPv4 and IPv6 router.

`nfvctl inspect TOPOLOGY NAME` lists its routes and neighbours as the kernel has them, with the
packets and bytes that the fast path has sent by each. Routes are counted one by one up to the first
1,024 prefixes of each IP version, and as long as half of the 8,192 next hops are free.

Router advertisements (RFC 4861, section 6.2; RFC 4191; RFC 8106) are sent on interfaces that have
the key `advertise`; `{}` will do. BIRD 2 sends them (Debian: bird2), in the router's namespace. It
takes another configuration without a restart, tells hosts with lifetime 0 of a router, prefix or
interface that is declared no more, and answers solicitations. Flags M and O say what the functions
`dhcp` do in the chains to the interface, also over switches without VLANs; a key that says
otherwise is an error. Not advertised are NAT64 prefixes (RFC 8781), prefixes that the interface
does not have, and the router's MAC address, which hosts ask for.

Routing protocols (`protocols`): BGP (RFC 4271), OSPFv2 (RFC 2328) and OSPFv3 (RFC 5340), spoken by
the same BIRD. What it gives to the kernel reaches the fast path as any route does, behind static
routes in preference. The sessions are shown by `nfvctl inspect TOPOLOGY`; what changes is taken
over without ending those that stay as they are. Not to be declared are route reflectors,
communities, BFD, virtual links, and stub or NSSA areas; BGP takes whatever no `import` filters.

Where Linux differs, with the same packets and routes (`tests/integration/test_router_oracle.py`):

- It forwards packets from 0/8; here they are dropped as `source` (RFC 1812, section 5.3.7).
- It looks at no IPv6 extension header but hop-by-hop; a packet whose headers reach beyond its end
  is dropped here as `malformed`, without an error.
- It sends redirects; here only for packets that the fast path has left to it.
- It cuts off what follows a packet; here padding stays in frames of up to 60 bytes.

Limits:

- `reverse_path` (RFC 3704): packets that come in where it is asked for walk, with two lookups each.
  Linux looks as well at IPv4 packets that are left to it (`rp_filter`), but at none of IPv6.
  Sources are dropped whose routes only Linux can follow.
- There is one table of routes. VRFs have no key: declare a router for each. Policy rules have none
  either: those of `ip rule` hold, but leave their IP version to Linux, as `nfvctl inspect TOPOLOGY`
  says.
- What `ip neigh` and sysctl set in the namespace besides what is declared is Linux's affair, and
  goes with the namespace.
- `proxy_arp` answers after up to 0.8 s, as Linux does. Proxy NDP is for single addresses.
- Linux counts the neighbours of all namespaces of a machine together, up to `gc_thresh3` of
  net.ipv4.neigh.default and net.ipv6.neigh.default, which `apply` does not raise: 1,024, unless
  the administrator allows more (4,000 were tried). Static ones do not count. Of more than
  8,192 next hops and neighbours, those beyond are left to Linux until a tenth of them is free.
- VRRP is not spoken. An address that moves to another host of a segment is followed by gratuitous
  ARP or an unsolicited neighbour advertisement.
- Interfaces have no VLAN: a function `vlans` takes tags off (`topologies/vlans.yaml`). Frames that
  have a tag are left to Linux, which takes those of VLAN 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Literal

from pydantic import Field

from nfv.chain.addressing import check_disjoint
from nfv.chain.fields import Address, Mac, Many, Model, Name, Network
from nfv.chain.report import Report, did_you_mean, listed
from nfv.chain.route import MAX_WEIGHT, NextHop, Resolution, Route
from nfv.chain.surroundings import Surroundings
from nfv.ebpf.tableshape import SHAPES, shape_of
from nfv.functions.base import Function, FunctionConfig, Interface
from nfv.services.bird.advertise import Advertise, check_interface
from nfv.services.bird.dhcpflags import check_flags
from nfv.services.bird.protocols import Protocols, check_protocols

ADJACENCIES = 8192
"""Next hops, each with its rewrite; and each of a table's first routes has one to itself."""

GROUPS = 512
"""Multipath routes with different next hops."""

_BANKS = 2  # of all tables


class Neighbour(Model):
    """A neighbour that is not asked for (a static entry of ARP or neighbour discovery)."""

    ip: Address = Field(description="address, in a subnet of the interface or link-local")
    mac: Mac = Field(description="where packets to it are sent")


class RouterInterface(Interface):
    """An interface of a router."""

    advertise: Advertise | None = Field(
        None, description="router advertisements; `{}` for those of the defaults"
    )

    reverse_path: Literal["strict", "loose"] | None = Field(
        None,
        description="drop packets that come in here, but that a route back to their source leads "
        "not out of here (strict), or that have none (loose)",
    )

    neighbours: Many[Neighbour] = Field((), description="static neighbours")

    proxy_arp: bool = Field(
        False,
        strict=True,
        description="answer ARP requests for what is reached by another interface (RFC 1027)",
    )

    proxy_ndp: Many[Address] = Field(
        (), description="IPv6 addresses to answer neighbour solicitations for (RFC 4861, 7.2.8)"
    )

    directed_broadcast: bool = Field(
        False,
        strict=True,
        description="let IPv4 packets that come in here go to the broadcast address of a subnet "
        "behind another interface; by default they are dropped (RFC 2644)",
    )

    def check(self, report: Report) -> None:
        super().check(report)
        self._check_neighbours(report)
        self._check_proxied(report)
        if self.advertise is not None:
            check_interface(self.advertise, self.ip, self.mtu, report)

    def _check_neighbours(self, report: Report) -> None:
        seen: dict[Address, int] = {}
        for index, one in enumerate(self.neighbours):
            at = report.at("neighbours", index)
            first = seen.setdefault(one.ip, index)
            if first != index:
                at.error(("ip",), f"neighbours[{first}] is {one.ip} too", "remove one of them")
            elif not self._is_on_link(one.ip):
                hint = f"its subnets are {listed(str(own.network) for own in self.ip)}"
                at.error(("ip",), f"{one.ip} is in no subnet of the interface", hint)
            self._check_foreign(one.ip, at, "ip")

    def _is_on_link(self, address: Address) -> bool:
        if address.is_link_local and address.version == 6:
            return any(own.version == 6 for own in self.ip)
        return any(address in own.network for own in self.ip)

    def _check_proxied(self, report: Report) -> None:
        if self.proxy_arp and not any(own.version == 4 for own in self.ip):
            message = "ARP is for IPv4, and the interface has no IPv4 address"
            report.error(("proxy_arp",), message, "remove the key, or see proxy_ndp")
        for index, address in enumerate(self.proxy_ndp):
            if address.version != 6 or address.is_multicast:
                message = f"{address} is no IPv6 unicast address"
                report.error(("proxy_ndp", index), message, "for IPv4 there is proxy_arp")
            elif address in self.proxy_ndp[:index]:
                report.error(("proxy_ndp", index), f"{address} is there twice", "remove one")
            self._check_foreign(address, report, "proxy_ndp", index)

    def _check_foreign(self, address: Address, report: Report, *path: str | int) -> None:
        if any(address == own.ip for own in self.ip):
            report.error(path, f"{address} is the interface's own address")


class RouterConfig(FunctionConfig):
    """A router: its interfaces and static routes."""

    interfaces: dict[Name, RouterInterface] = Field(min_length=1, description="interfaces by name")
    routes: Many[Route] = Field((), description="static routes")
    protocols: Protocols | None = Field(None, description="routing protocols")


class Router(Function[RouterConfig]):
    """Forwards between its interfaces by longest prefix match."""

    Config = RouterConfig
    cacheable = True
    next_hops = True

    @property
    def interfaces(self) -> Mapping[str, RouterInterface]:
        return self.config.interfaces

    @property
    def has_daemon(self) -> bool:
        """Whether BIRD runs in its namespace."""
        advertises = (one.advertise is not None for one in self.interfaces.values())
        return self.config.protocols is not None or any(advertises)

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        return tuple(self._resolution.resolved(route) for route in self.config.routes)

    def defines(self) -> Mapping[str, int]:
        checks = any(interface.reverse_path for interface in self.interfaces.values())
        return {"REVERSE_PATH": 1} if checks else {}

    def map_sizes(self) -> Mapping[str, int]:
        return {
            "interfaces": len(self.interfaces),
            "adjacencies": _BANKS * ADJACENCIES,
            "routed": _BANKS * ADJACENCIES,
            "groups": _BANKS * GROUPS,
            "defaults": 1,
            "fib4": _BANKS * SHAPES[4][0].capacity,
            "fib6": _BANKS * SHAPES[6][0].capacity,
        }

    def constants(self, capacities: Mapping[str, int]) -> Mapping[str, int]:
        shapes = {
            version: shape_of(version, capacities[f"fib{version}"] // 2) for version in (4, 6)
        }
        return {
            "SHIFT4": shapes[4].shift,
            "MASK4": shapes[4].mask,
            "BANK4": shapes[4].capacity,
            "MASK6": shapes[6].mask,
            "BANK6": shapes[6].capacity,
        }

    def check(self, report: Report) -> None:
        subnets = {name: interface.ip for name, interface in self.interfaces.items()}
        check_disjoint(subnets, report.at("interfaces"))
        if self.config.protocols is not None:
            check_protocols(self.config.protocols, subnets, report.at("protocols"))
        seen: dict[tuple[Network, int], int] = {}
        for index, route in enumerate(self.config.routes):
            at = report.at("routes", index)
            self._check_interface(route.interface, at)
            for hop, place in route.hops(at):
                if hop.interface is not route.interface:
                    self._check_interface(hop.interface, place)
                self._check_next_hop(hop, route.to.version, place)
            self._check_shares(route, at)
            first = seen.setdefault((route.to, route.priority), index)
            if first != index:
                message = f"routes[{first}] leads to {route.to} with the same metric"
                at.error(("to",), message, "give one of them another metric")

    def check_surroundings(self, around: Surroundings, report: Report) -> None:
        for key, interface in self.interfaces.items():
            if interface.advertise is not None:
                at = report.at("interfaces", key, "advertise")
                place = f"{self.name}:{key}"
                check_flags(interface.advertise, interface.ip, around, place, at)

    def _check_interface(self, name: str | None, report: Report) -> None:
        names = list(self.interfaces)
        if name is not None and name not in names:
            hint = did_you_mean(name, names, f"interfaces are {listed(names)}")
            report.error(("interface",), f"no interface '{name}'", hint)

    @cached_property
    def _resolution(self) -> Resolution:
        own = {name: interface.ip for name, interface in self.interfaces.items()}
        return Resolution(self.config.routes, own)

    def _check_next_hop(self, hop: NextHop, version: int, report: Report) -> None:
        known = hop.interface is None or hop.interface in self.interfaces
        if hop.via.version != version or not known:
            return  # said already
        via = hop.via
        if any(via == address.ip for address in self._resolution.connecting(hop)):
            report.error(("via",), f"{via} is the router's own address")
        elif not self._resolution.ends(hop):
            subnets = [
                str(address.network)
                for name, interface in self.interfaces.items()
                if hop.interface in (None, name)
                for address in interface.ip
                if address.version == version
            ]
            hint = f"connected are {listed(subnets) or f'no IPv{version} subnets'}"
            words = "is in no connected subnet, and no other route leads to it"
            report.error(("via",), f"{via} {words}", hint)

    def _check_shares(self, route: Route, report: Report) -> None:
        """Shares multiply where next hops are reached by routes with several."""
        most = max((hop.weight for hop in self._resolution.resolved(route).next_hops), default=0)
        if most > MAX_WEIGHT:
            message = f"its shares make weights of up to {most}, the most is {MAX_WEIGHT}"
            report.error(("next_hops",), message, "choose smaller weights")
