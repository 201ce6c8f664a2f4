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

- It forwards packets from 0/8 and 240/4; here they are dropped as `source` (RFC 1812, section
  5.3.7; RFC 6890). It drops packets from its own addresses, which the fast path forwards.
- It looks at no IPv6 extension header but hop-by-hop; a packet whose headers reach beyond its end
  is dropped here as `malformed`, without an error.
- It sends redirects; here only for packets that the fast path has left to it.
- It cuts off what follows a packet; here padding stays in frames of up to 60 bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field, PlainValidator

from nfv.chain.addressing import check_disjoint
from nfv.chain.fields import Address, Many, Model, Name, Network, parse_network, refusal
from nfv.chain.report import Report, did_you_mean, listed
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


def _parse_destination(value: object) -> object:
    if value == "default":
        hint = "write 0.0.0.0/0 for IPv4 or ::/0 for IPv6"
        raise refusal("'default' does not say of which family", hint)
    return parse_network(value)


class NextHop(Model):
    """One of several next hops of a route, which share its traffic: each flow takes one of them."""

    via: Address = Field(description="next hop")
    interface: Name | None = Field(None, description="interface the packets leave by")
    weight: Annotated[int, Field(strict=True, ge=1, le=256)] = Field(
        1, description="its share, beside those of the others"
    )


class Route(Model):
    """A static route: by a next hop or several, out of an interface, or to nowhere."""

    to: Annotated[Network, PlainValidator(_parse_destination)] = Field(
        description="destination prefix", examples=["0.0.0.0/0", "::/0"]
    )
    via: Address | None = Field(None, description="next hop")
    next_hops: Many[NextHop] = Field((), description="several next hops, instead of via")
    interface: Name | None = Field(None, description="interface the packets leave by")
    type: Literal["blackhole", "unreachable", "prohibit"] | None = Field(
        None, description="drop the packets, silently or with an ICMP error"
    )
    metric: Annotated[int, Field(strict=True, ge=0, le=0xFFFFFFFF)] | None = Field(
        None, description="the lowest wins among routes to one prefix; default as in Linux"
    )

    @property
    def priority(self) -> int:
        """The metric as Linux keeps it: 0 of an IPv6 route stands for 1024."""
        return self.metric or (1024 if self.to.version == 6 else 0)

    def check(self, report: Report) -> None:
        ways = [key for key in ("via", "next_hops", "interface", "type") if getattr(self, key)]
        if not ways:
            hint = "add via, next_hops, interface or type"
            report.error((), f"the route to {self.to} leads nowhere", hint)
        elif len(ways) > 1 and (self.type or self.next_hops):
            other = "type" if self.type else "next_hops"
            first = next(way for way in ways if way != other)
            said = f"type: {self.type}" if self.type else other
            message = f"{said} and {first} exclude each other"
            report.error((first,), message, "remove one of them", key=True)
        for hop, at in self.hops(report):
            self._check_hop(hop, at)

    def hops(self, report: Report) -> Iterator[tuple[NextHop, Report]]:
        """Its next hops, one or several, and where they are written."""
        if self.via:
            yield NextHop.model_construct(via=self.via, interface=self.interface), report
        for index, hop in enumerate(self.next_hops):
            yield hop, report.at("next_hops", index)

    def _check_hop(self, hop: NextHop, report: Report) -> None:
        if hop.via.version != self.to.version:
            message = f"the next hop of {self.to} must be an IPv{self.to.version} address"
            report.error(("via",), message)
        elif hop.via.is_link_local and hop.interface is None:
            hint = "add interface: NAME, the one it is reached by"
            report.error(("via",), f"{hop.via} is link-local and exists on every link", hint)


class RouterInterface(Interface):
    """An interface of a router."""

    advertise: Advertise | None = Field(
        None, description="router advertisements; `{}` for those of the defaults"
    )

    def check(self, report: Report) -> None:
        super().check(report)
        if self.advertise is not None:
            check_interface(self.advertise, self.ip, self.mtu, report)


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

    @property
    def routes(self) -> tuple[Route, ...]:
        return self.config.routes

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

    def _check_next_hop(self, hop: NextHop, version: int, report: Report) -> None:
        names = list(self.interfaces) if hop.interface is None else [hop.interface]
        if hop.via.version != version or not self.interfaces.keys() >= set(names):
            return  # said already
        via = hop.via
        own = [address for name in names for address in self.interfaces[name].ip]
        if any(via == address.ip for address in own):
            report.error(("via",), f"{via} is the router's own address")
        elif not via.is_link_local and not any(via in address.network for address in own):
            subnets = [str(address.network) for address in own if address.version == via.version]
            hint = f"connected are {listed(subnets) or f'no IPv{via.version} subnets'}"
            report.error(("via",), f"{via} is in no connected subnet", hint)
