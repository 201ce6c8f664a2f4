"""What a topology file says of DHCPv6: the key `ipv6` of the function dhcp."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from pydantic import Field

from nfv.chain.families import Address6, AddressRange6, Network6, Range6
from nfv.chain.fields import Mac, Many, Model, Name, OneOrMore
from nfv.chain.report import Report, did_you_mean, listed
from nfv.services.dhcp.values import Domain, Enterprise, Identifier, LeaseSeconds
from nfv.services.dhcp6.options import CustomOption6, Options6

_MAX_SUBNETS = 1024


class Told6(Model):
    """What clients are told by DHCPv6."""

    options: Options6 = Field(Options6(), description="options by name")
    custom: Many[CustomOption6] = Field((), description="options by number")


class Pool6(Model):
    """IPv6 addresses that are given to clients in turn."""

    range: Range6 = Field(description="the addresses")


class Delegated(Model):
    """Prefixes that are delegated to routers in turn (RFC 9915, section 6.3)."""

    within: Network6 = Field(description="the prefix that they are parts of")
    length: Annotated[int, Field(strict=True, ge=1, le=128)] = Field(
        description="length of each, in bits"
    )

    def check(self, report: Report) -> None:
        if self.length < self.within.prefixlen:
            report.error(
                ("length",), f"a prefix of {self.length} bits is larger than {self.within}"
            )


class Reservation6(Told6):
    """An address or prefix for one client, which is known by one of its marks."""

    ip: Address6 | None = Field(None, description="its address")
    prefix: Network6 | None = Field(None, description="the prefix that is delegated to it")
    duid: Identifier | None = Field(None, description="its DUID (option 1)")
    mac: Mac | None = Field(None, description="its MAC address, as its frames or its relay say")
    interface_id: Identifier | None = Field(None, description="its port, as the relay says (18)")
    remote_id: Identifier | None = Field(
        None, description="as the relay says (37), behind the enterprise number"
    )
    hostname: Domain | None = Field(None, description="its name")

    def check(self, report: Report) -> None:
        marks = [self.duid, self.mac, self.interface_id, self.remote_id]
        if sum(mark is not None for mark in marks) != 1:
            hint = "write one of duid, mac, interface_id and remote_id"
            report.error((), "is reserved for nobody, or by several marks", hint)
        if self.ip is None and self.prefix is None:
            report.error((), "a reservation of nothing", "add `ip:` or `prefix:`")


class Subnet6(Told6):
    """An IPv6 subnet of clients."""

    network: Network6 = Field(description="its prefix")
    pools: Many[Pool6] = Field((), description="addresses for whoever asks")
    exclude: OneOrMore[Range6] = Field((), description="addresses in the pools that nobody gets")
    delegate: Many[Delegated] = Field((), description="prefixes for routers that ask")
    reservations: Many[Reservation6] = Field((), description="for one client each")
    link: Name | None = Field(
        None, description="name of the link; subnets of one name share it (shared network)"
    )
    chains: OneOrMore[Name] = Field(
        (),
        description="chains whose hosts are on it; by default those with an address of it at one "
        "end, or if there are none, one of `ip`",
    )
    lease: LeaseSeconds | None = Field(None, description="instead of the function's")

    def check(self, report: Report) -> None:
        taken: list[AddressRange6] = []
        for index, pool in enumerate(self.pools):
            at = ("pools", index, "range")
            self._check_inside(pool.range, at, report)
            for first, last in taken:
                if pool.range[0] <= last and first <= pool.range[1]:
                    report.error(at, f"overlaps {first}-{last}")
            taken.append(pool.range)
        for index, reservation in enumerate(self.reservations):
            if reservation.ip is not None:
                self._check_inside((reservation.ip,) * 2, ("reservations", index, "ip"), report)
        for index, excluded in enumerate(self.exclude):
            self._check_inside(excluded, ("exclude", index), report)

    def _check_inside(
        self, found: AddressRange6, at: tuple[str | int, ...], report: Report
    ) -> None:
        if not all(one in self.network for one in found):
            report.error(at, f"is not within {self.network}")
        elif self.network.prefixlen < 127 and found[0] == self.network.network_address:
            message = f"{found[0]} is every router's (RFC 4291, section 2.6.1)"
            report.error(at, message, "leave it out")


class RemoteId(Model):
    """What a relay agent says of itself (RFC 4649)."""

    enterprise: Enterprise = Field(
        description="enterprise number of whoever knows what the value means"
    )
    value: Identifier = Field(description="the value")


class Ipv6(Told6):
    """DHCPv6."""

    subnets: Annotated[Many[Subnet6], Field(max_length=_MAX_SUBNETS)] = Field(
        (), description="subnets of clients; without, they are told options only (stateless)"
    )
    lease: LeaseSeconds | None = Field(
        None, description="seconds that an address or prefix is valid; by default the function's"
    )
    preferred: LeaseSeconds | None = Field(
        None,
        description="seconds that it is preferred; clients renew after half of it. By default as "
        "long as valid",
    )
    rapid_commit: Annotated[bool, Field(strict=True)] = Field(
        False, description="true: give a lease at once to clients that ask so"
    )
    preference: Annotated[int, Field(strict=True, ge=0, le=255)] | None = Field(
        None, description="clients take the server that has most; with 255 at once"
    )
    remote_id: RemoteId | None = Field(None, description="of a relay agent, if it has one")

    def check(self, report: Report) -> None:
        taken: dict[object, str] = {}
        for index, subnet in enumerate(self.subnets):
            at = report.at("subnets", index)
            for earlier in self.subnets[:index]:
                if earlier.network.overlaps(subnet.network):
                    at.error(("network",), f"overlaps {earlier.network}")
            for number, one in enumerate(subnet.reservations):
                where = f"subnets[{index}].reservations[{number}]"
                for key in ("ip", "prefix"):
                    value = getattr(one, key)
                    first = taken.setdefault(value, where) if value else where
                    if first != where:
                        at.error(("reservations", number, key), f"{first} has {value} too")
        self._check_delegated(report)

    def _check_delegated(self, report: Report) -> None:
        pools = [
            (("subnets", index, "delegate", number, "within"), pool.within)
            for index, subnet in enumerate(self.subnets)
            for number, pool in enumerate(subnet.delegate)
        ]
        for count, (at, network) in enumerate(pools):
            for _, earlier in pools[:count]:
                if earlier.overlaps(network):
                    report.error(at, f"overlaps {earlier}")

    def check_chains(self, chains: Collection[str], report: Report) -> None:
        """Report chains that the function does not stand in."""
        for index, subnet in enumerate(self.subnets):
            for number, name in enumerate(subnet.chains):
                if name not in chains:
                    message = f"'{name}' is no chain that this function stands in"
                    hint = did_you_mean(name, chains, f"it stands in {listed(chains)}")
                    report.error(("subnets", index, "chains", number), message, hint)
