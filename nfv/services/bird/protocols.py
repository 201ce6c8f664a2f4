"""What a topology file says of routing protocols: the key `protocols` of a router."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from typing import Annotated, Literal

from pydantic import Field, PlainValidator, WithJsonSchema

from nfv.chain.families import Address4, parse_address4
from nfv.chain.fields import (
    Address,
    InterfaceAddress,
    Many,
    Model,
    Name,
    Network,
    OneOrMore,
    refusal,
    text_of,
    text_schema,
)
from nfv.chain.report import Report, did_you_mean, listed

_PASSWORD = re.compile(r"[!#-~]{1,80}")  # TCP takes 80 bytes; BIRD knows no escape for quotes

AsNumber = Annotated[int, Field(strict=True, ge=1, le=0xFFFFFFFE)]
Seconds16 = Annotated[int, Field(strict=True, ge=1, le=65535)]
Cost = Annotated[int, Field(strict=True, ge=1, le=65535)]
Source = Literal["connected", "static", "bgp", "ospf"]


def _parse_password(value: object) -> str:
    text = text_of(value, "a password")
    if not _PASSWORD.fullmatch(text):
        rule = "ASCII characters without blanks and double quotes"
        raise refusal("the password cannot be used", f"take 1 to 80 {rule}")
    return text


def _parse_area(value: object) -> IPv4Address:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0xFFFFFFFF:
        return IPv4Address(value)
    return parse_address4(value)


Password = Annotated[str, PlainValidator(_parse_password), text_schema("password")]

AreaId = Annotated[
    IPv4Address,
    PlainValidator(_parse_area),
    WithJsonSchema(
        {"anyOf": [{"type": "integer"}, {"type": "string"}], "examples": [0, "0.0.0.1"]}
    ),
]


class Neighbor(Model):
    """A BGP neighbour."""

    address: Address = Field(description="its address")
    remote_as: AsNumber = Field(alias="as", description="its autonomous system")
    interface: Name | None = Field(None, description="interface of a link-local address")
    password: Password | None = Field(None, description="for TCP MD5 signatures (RFC 2385)")
    multihop: Annotated[int, Field(strict=True, ge=2, le=255)] | None = Field(
        None, description="hops at most, of one that is not on a connected subnet"
    )
    passive: Annotated[bool, Field(strict=True)] = Field(
        False, description="true: wait for it to connect"
    )
    hold: Annotated[int, Field(strict=True, ge=3, le=65535)] = Field(
        240, description="seconds without a word from it until it is lost"
    )
    accept: Many[Network] | None = Field(
        None,
        alias="import",
        description="prefixes that are taken from it, with what is in them; by default all",
    )
    announce: Many[Network] | None = Field(
        None,
        alias="export",
        description="prefixes that it is told of, with what is in them; by default all",
    )
    next_hop_self: Annotated[bool, Field(strict=True)] = Field(
        False, description="true: it is told this router as next hop of all"
    )

    def check(self, report: Report) -> None:
        if self.address.is_link_local and self.interface is None:
            hint = "add interface: NAME, the one it is reached by"
            report.error(("address",), f"{self.address} is link-local and exists everywhere", hint)
        for key, networks in (("import", self.accept), ("export", self.announce)):
            for index, network in enumerate(networks or ()):
                if network.version != self.address.version:
                    message = f"with {self.address} routes of IPv{self.address.version} are shared"
                    report.error((key, index), message)


class Bgp(Model):
    """BGP (RFC 4271), one address family with each neighbour, that of its address."""

    local_as: AsNumber = Field(alias="as", description="own autonomous system")
    redistribute: OneOrMore[Source] = Field(
        (), description="other routes that neighbours are told of"
    )
    neighbors: Many[Neighbor] = Field(description="neighbours")

    def check(self, report: Report) -> None:
        seen = [(one.address, one.interface) for one in self.neighbors]
        for index, one in enumerate(seen):
            if one in seen[:index]:
                report.error(("neighbors", index, "address"), f"{one[0]} stands here twice")
        if "bgp" in self.redistribute:
            report.error(("redistribute",), "routes of BGP are told in any case", "remove bgp")


class OspfInterface(Model):
    """An interface in an OSPF area."""

    cost: Cost = Field(10, description="cost of sending by it")
    passive: Annotated[bool, Field(strict=True)] = Field(
        False, description="true: its subnets are told of, and nothing is sent there"
    )
    type: Literal["broadcast", "ptp"] = Field(
        "broadcast", description="ptp: one neighbour, no election of a designated router"
    )
    hello: Seconds16 = Field(10, description="seconds between hellos, the same for all there")
    dead: Annotated[int, Field(strict=True, ge=2, le=65535)] = Field(
        40, description="seconds without one until a neighbour is lost"
    )
    priority: Annotated[int, Field(strict=True, ge=0, le=255)] = Field(
        1, description="in the election of the designated router; 0: never"
    )
    password: Password | None = Field(
        None, description="for HMAC-SHA-256 (RFC 5709, RFC 7166), with number 1"
    )

    def check(self, report: Report) -> None:
        if self.dead <= self.hello:
            report.error(("dead",), f"must be longer than hello, {self.hello} seconds")


class Area(Model):
    """An OSPF area."""

    area: AreaId = Field(description="its number, or that written as an IPv4 address")
    interfaces: dict[Name, OspfInterface] = Field(min_length=1, description="by name")


class Ospf(Model):
    """OSPFv2 for IPv4 (RFC 2328) and OSPFv3 for IPv6 (RFC 5340), where there are addresses."""

    areas: Many[Area] = Field(description="areas")
    redistribute: OneOrMore[Source] = Field((), description="other routes that are told, type E2")

    def check(self, report: Report) -> None:
        seen: dict[str, int] = {}
        for index, area in enumerate(self.areas):
            if area.area in (one.area for one in self.areas[:index]):
                report.error(("areas", index, "area"), f"area {area.area} stands here twice")
            for name in area.interfaces:
                first = seen.setdefault(name, index)
                if first != index:
                    at = ("areas", index, "interfaces", name)
                    report.error(at, f"'{name}' is in areas[{first}] already", key=True)
        if "ospf" in self.redistribute:
            report.error(("redistribute",), "routes of OSPF are told in any case", "remove ospf")


class Protocols(Model):
    """Routing protocols, which BIRD 2 speaks."""

    router_id: Address4 | None = Field(
        None, description="router ID; by default the router's first IPv4 address"
    )
    bgp: Bgp | None = Field(None, description="BGP")
    ospf: Ospf | None = Field(None, description="OSPF")


def check_protocols(
    wanted: Protocols, interfaces: Mapping[str, Iterable[InterfaceAddress]], report: Report
) -> None:
    """Report what does not fit the router; `report` is at the key `protocols`."""
    own = [address for addresses in interfaces.values() for address in addresses]
    if wanted.bgp is None and wanted.ospf is None:
        report.error((), "no protocol", "add bgp or ospf")
    if wanted.router_id is None and not any(isinstance(one.ip, IPv4Address) for one in own):
        hint = "add router_id, an IPv4 address that no other router has"
        report.error((), "the router has no IPv4 address to be known by", hint)
    for index, neighbor in enumerate(wanted.bgp.neighbors if wanted.bgp else ()):
        _check_neighbor(neighbor, interfaces, report.at("bgp", "neighbors", index))
    for index, area in enumerate(wanted.ospf.areas if wanted.ospf else ()):
        for name in area.interfaces:
            at = report.at("ospf", "areas", index, "interfaces")
            _check_interface(name, (name,), interfaces, at, key=True)


def _check_neighbor(
    neighbor: Neighbor, interfaces: Mapping[str, Iterable[InterfaceAddress]], report: Report
) -> None:
    own = [address for addresses in interfaces.values() for address in addresses]
    if neighbor.interface is not None:
        _check_interface(neighbor.interface, ("interface",), interfaces, report)
    if any(neighbor.address == one.ip for one in own):
        report.error(("address",), f"{neighbor.address} is the router's own address")
    elif neighbor.multihop is None and not neighbor.address.is_link_local:
        subnets = [one.network for one in own if one.version == neighbor.address.version]
        if not any(neighbor.address in subnet for subnet in subnets):
            hint = f"connected are {listed(map(str, subnets)) or 'none'}; or add multihop"
            report.error(("address",), f"{neighbor.address} is in no connected subnet", hint)


def _check_interface(
    name: str,
    path: tuple[str, ...],
    interfaces: Mapping[str, object],
    report: Report,
    key: bool = False,
) -> None:
    if name not in interfaces:
        hint = did_you_mean(name, interfaces, f"interfaces are {listed(interfaces)}")
        report.error(path, f"no interface '{name}'", hint, key=key)
