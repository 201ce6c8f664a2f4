"""Static routes: as a file declares them, and the next hops that they lead to in the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network
from math import gcd, lcm
from typing import Annotated, Literal

from pydantic import Field, PlainValidator

from nfv.chain.fields import (
    Address,
    InterfaceAddress,
    Many,
    Model,
    Name,
    Network,
    parse_network,
    refusal,
)
from nfv.chain.report import Report

MAX_WEIGHT = 256
"""As in Linux."""


def _parse_destination(value: object) -> object:
    if value == "default":
        hint = "write 0.0.0.0/0 for IPv4 or ::/0 for IPv6"
        raise refusal("'default' does not say of which family", hint)
    return parse_network(value)


class NextHop(Model):
    """One of several next hops of a route, which share its traffic: each flow takes one of them."""

    via: Address = Field(description="next hop")
    interface: Name | None = Field(None, description="interface the packets leave by")
    weight: Annotated[int, Field(strict=True, ge=1, le=MAX_WEIGHT)] = Field(
        1, description="its share, beside those of the others"
    )


class Route(Model):
    """A static route: by a next hop or several, out of an interface, or to nowhere."""

    to: Annotated[Network, PlainValidator(_parse_destination)] = Field(
        description="destination prefix", examples=["0.0.0.0/0", "::/0"]
    )
    via: Address | None = Field(
        None,
        description="next hop: in a connected subnet, or where another of the routes leads that is "
        "no default route",
    )
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

    @property
    def shares(self) -> tuple[NextHop, ...]:
        """Its next hops, one or several."""
        return (
            (NextHop.model_construct(via=self.via, interface=self.interface),)
            if self.via
            else self.next_hops
        )

    def hops(self, report: Report) -> Iterator[tuple[NextHop, Report]]:
        """Its next hops, and where they are written."""
        for index, hop in enumerate(self.shares):
            yield hop, report if self.via else report.at("next_hops", index)

    def _check_hop(self, hop: NextHop, report: Report) -> None:
        if hop.via.version != self.to.version:
            message = f"the next hop of {self.to} must be an IPv{self.to.version} address"
            report.error(("via",), message)
        elif hop.via.is_link_local and hop.interface is None:
            hint = "add interface: NAME, the one it is reached by"
            report.error(("via",), f"{hop.via} is link-local and exists on every link", hint)


class Resolution:
    """Next hops in no connected subnet, which other static routes lead to.

    The longest prefix decides, and among routes to it the lowest metric. Default routes do not
    count: they would lead to whatever is mistyped.
    """

    def __init__(
        self, routes: Sequence[Route], interfaces: Mapping[str, Sequence[InterfaceAddress]]
    ) -> None:
        """`interfaces` are those of the router by name, with their addresses."""
        self._interfaces = interfaces
        self._routes: dict[Network, Route] = {}
        for route in sorted(routes, key=lambda route: -route.priority):
            if route.to.prefixlen:
                self._routes[route.to] = route
        self._lengths = sorted({network.prefixlen for network in self._routes}, reverse=True)
        self._found: dict[Network, tuple[NextHop, ...]] = {}

    def connecting(self, hop: NextHop) -> list[InterfaceAddress]:
        """Addresses of the interfaces where a next hop is on the link."""
        own = [
            address
            for name, addresses in self._interfaces.items()
            if hop.interface in (None, name)
            for address in addresses
        ]
        return own if hop.via.is_link_local else [one for one in own if hop.via in one.network]

    def resolved(self, route: Route) -> Route:
        """The route with next hops in connected subnets alone, as far as they lead there."""
        hops = route.shares
        if all(map(self.connecting, hops)):
            return route
        ends = self._ends(hops)
        one = ends[0] if len(ends) == 1 else None
        return route.model_copy(
            update={
                "via": one and one.via,
                "interface": one and one.interface,
                "next_hops": () if one else ends,
            }
        )

    def ends(self, hop: NextHop) -> tuple[NextHop, ...]:
        """Those in connected subnets that stand for a next hop; none if it leads nowhere."""
        if self.connecting(hop):
            return (hop,)
        network = None if hop.interface else self._longest(hop.via)
        if network is None:
            return ()
        if network not in self._found:
            self._found[network] = ()  # for a route that leads back here
            self._found[network] = self._ends(self._routes[network].shares)
        return self._found[network]

    def _longest(self, address: Address) -> Network | None:
        for length in self._lengths:
            if length <= address.max_prefixlen:
                network = ip_network((address, length), strict=False)
                if network in self._routes:
                    return network
        return None

    def _ends(self, hops: Sequence[NextHop]) -> tuple[NextHop, ...]:
        """Those of several, each with its share of what goes to the one it stands for."""
        found = [(hop.weight, self.ends(hop)) for hop in hops]
        if not all(ends for _, ends in found):
            return ()
        totals = [sum(end.weight for end in ends) for _, ends in found]
        scale = lcm(*totals)
        weights: dict[tuple[Address, str | None], int] = {}
        for (weight, ends), total in zip(found, totals, strict=True):
            for end in ends:
                key = end.via, end.interface
                weights[key] = weights.get(key, 0) + weight * end.weight * scale // total
        divisor = gcd(*weights.values())
        return tuple(
            NextHop.model_construct(via=via, interface=interface, weight=weight // divisor)
            for (via, interface), weight in weights.items()
        )
