"""What a topology file says of router advertisements: the key `advertise` of an interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from nfv.chain.addressing import IPV6_MINIMUM_MTU
from nfv.chain.fields import InterfaceAddress, Many, Model, Network, OneOrMore
from nfv.chain.report import Report, listed
from nfv.services.dhcp.values import Domain, Seconds
from nfv.services.dhcp6.options import Address6, Network6

AUTONOMOUS_LENGTH = 64
"""Bits of a prefix from which hosts make addresses (RFC 4862, section 5.5.3; RFC 7421)."""

Preference = Literal["low", "medium", "high"]


class AdvertisedPrefix(Model):
    """A prefix that hosts are told of (RFC 4861, section 4.6.2)."""

    prefix: Network6 = Field(description="one of the interface's")
    on_link: Annotated[bool, Field(strict=True)] = Field(
        True, description="false: hosts send even to it by the router"
    )
    autonomous: Annotated[bool, Field(strict=True)] | None = Field(
        None,
        description="true: hosts make themselves addresses of it (SLAAC); by default if it has 64 "
        "bits and no function `dhcp` of the segment gives addresses of it",
    )
    valid: Seconds = Field(86400, description="seconds that it is valid")
    preferred: Seconds = Field(14400, description="seconds that addresses of it are preferred")

    def check(self, report: Report) -> None:
        if self.preferred > self.valid:
            message = f"preferred for {self.preferred} seconds, and valid for {self.valid} only"
            report.error(("preferred",), message)
        if self.autonomous and self.prefix.prefixlen != AUTONOMOUS_LENGTH:
            message = f"hosts make addresses of /{AUTONOMOUS_LENGTH} only, not of {self.prefix}"
            report.error(("autonomous",), message, "remove it")


class AdvertisedRoute(Model):
    """A route that hosts are told of (RFC 4191, section 2.3)."""

    to: Network6 = Field(description="destination prefix")
    lifetime: Seconds | None = Field(
        None, description="seconds that it is valid; by default the router's lifetime"
    )
    preference: Preference = Field("medium", description="before that of other routers")


class Advertise(Model):
    """Router advertisements on an interface (RFC 4861, section 6.2.1)."""

    prefixes: Many[AdvertisedPrefix] | None = Field(
        None, description="prefixes; by default all of the interface"
    )
    routes: Many[AdvertisedRoute] = Field((), description="routes besides the default route")
    lifetime: Annotated[int, Field(strict=True, ge=0, le=9000)] = Field(
        1800, description="seconds that it is a default router; 0: it is none"
    )
    preference: Preference = Field("medium", description="before other default routers (RFC 4191)")
    interval: Annotated[int, Field(strict=True, ge=4, le=1800)] = Field(
        600, description="at most so many seconds between two, and at least a third of it"
    )
    managed: Annotated[bool, Field(strict=True)] | None = Field(
        None,
        description="M: hosts get addresses by DHCPv6; by default if a function `dhcp` of the "
        "segment gives them",
    )
    other: Annotated[bool, Field(strict=True)] | None = Field(
        None,
        description="O: hosts get all else by DHCPv6; by default if a function `dhcp` of the "
        "segment tells it",
    )
    mtu: Annotated[int, Field(strict=True, ge=IPV6_MINIMUM_MTU, le=9000)] | None = Field(
        None, description="MTU of the link; by default the interface's"
    )
    dns: OneOrMore[Address6] = Field((), description="name servers (RDNSS, RFC 8106)")
    search: OneOrMore[Domain] = Field((), description="domains to search (DNSSL, RFC 8106)")
    dns_lifetime: Seconds | None = Field(
        None, description="seconds that both are valid; by default three times the interval"
    )
    hop_limit: Annotated[int, Field(strict=True, ge=0, le=255)] = Field(
        64, description="of the packets that hosts send; 0: not said"
    )
    reachable: Annotated[int, Field(strict=True, ge=0, le=3600000)] = Field(
        0, description="milliseconds that a neighbour is taken to be reachable; 0: not said"
    )
    retransmit: Annotated[int, Field(strict=True, ge=0, le=0xFFFFFFFF)] = Field(
        0, description="milliseconds between neighbour solicitations; 0: not said"
    )

    def check(self, report: Report) -> None:
        if 0 < self.lifetime < self.interval:
            message = f"the router is forgotten after {self.lifetime} seconds, before the next one"
            hint = f"write a lifetime from {self.interval} to 9000 seconds, or a shorter interval"
            report.error(("lifetime",), message, hint)
        _check_unique("prefixes", [part.prefix for part in self.prefixes or ()], report)
        _check_unique("routes", [part.to for part in self.routes], report)


def advertised(
    wanted: Advertise, addresses: Sequence[InterfaceAddress]
) -> tuple[AdvertisedPrefix, ...]:
    """The prefixes that hosts on the link of an interface with these addresses are told of."""
    if wanted.prefixes is not None:
        return wanted.prefixes
    own = (one.network for one in addresses if one.version == 6 and not one.is_link_local)
    return tuple(AdvertisedPrefix(prefix=str(prefix)) for prefix in dict.fromkeys(own))


def check_interface(
    wanted: Advertise, addresses: Sequence[InterfaceAddress], mtu: int, report: Report
) -> None:
    """Report what does not fit the interface that it is about; `report` is at the interface."""
    own = [str(one.network) for one in addresses if one.version == 6]
    if not own:
        report.error(("advertise",), "an interface without IPv6 advertises nothing", key=True)
        return
    for index, part in enumerate(wanted.prefixes or ()):
        if str(part.prefix) not in own:
            hint = f"its prefixes are {listed(own)}"
            at = ("advertise", "prefixes", index, "prefix")
            report.error(at, f"{part.prefix} is no prefix of the interface", hint)
    if wanted.mtu is not None and wanted.mtu > mtu:
        message = f"an MTU of {wanted.mtu}, larger than the interface's {mtu}"
        report.error(("advertise", "mtu"), message)


def _check_unique(key: str, networks: Sequence[Network], report: Report) -> None:
    for index, network in enumerate(networks):
        if network in networks[:index]:
            report.error((key, index), f"{network} stands here twice", "remove one of them")
