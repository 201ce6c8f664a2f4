"""What the functions `dhcp` of a segment do for its IPv6 hosts, which the router tells them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Interface

from nfv.chain.fields import InterfaceAddress, Network
from nfv.chain.report import Report, listed
from nfv.chain.surroundings import Surroundings
from nfv.functions.dhcp import Dhcp
from nfv.services.bird.advertise import Advertise
from nfv.services.dhcp6.plan import Link, Plan
from nfv.services.dhcp6.wire import Option


@dataclass(frozen=True)
class Served:
    """What one function does for the hosts of a segment."""

    function: str
    networks: tuple[Network, ...]  # it gives addresses of
    relay: bool  # it hands on to a server, which may give addresses

    @property
    def managed(self) -> bool:
        """Whether hosts get addresses from it: flag M (RFC 4861, section 4.2)."""
        return self.relay or bool(self.networks)


def served(around: Surroundings, interface: str) -> list[Served]:
    """The functions with DHCPv6 on the segment of an interface, "vnf:interface"."""
    networks: dict[str, list[Network]] = {}
    relays: set[str] = set()
    for chain, path in around.segment(interface).items():
        for name in path[1:-1]:
            function = around.vnfs.get(name)
            if isinstance(function, Dhcp) and function.config.has_ipv6:
                networks.setdefault(name, []).extend(_networks(around, function, chain))
                if function.config.mode == "relay":
                    relays.add(name)
    return [
        Served(name, tuple(dict.fromkeys(found)), name in relays)
        for name, found in networks.items()
    ]


def check_flags(
    wanted: Advertise,
    own: Sequence[InterfaceAddress],
    around: Surroundings,
    interface: str,
    report: Report,
) -> None:
    """Report where an interface tells hosts otherwise than DHCPv6 does; `report` is at its key."""
    found = served(around, interface)
    managed = [one.function for one in found if one.managed]
    prefixes = [address.network for address in own if address.version == 6]
    if wanted.managed is False and managed:
        message = f"{managed[0]} gives addresses by DHCPv6 here, and hosts would not ask"
        report.error(("managed",), message, "remove the key")
    if wanted.managed and found and not managed:
        message = f"{found[0].function} gives no addresses by DHCPv6 here, only options"
        report.error(("managed",), message, "remove the key, or give it pools")
    if wanted.other is False and found:
        message = f"{found[0].function} gives options by DHCPv6 here, and hosts would not ask"
        report.error(("other",), message, "remove the key")
    for one in found:
        for network in one.networks:
            if not any(network.overlaps(prefix) for prefix in prefixes):
                message = f"{one.function} gives addresses of {network}, which is not on this link"
                report.error((), message, f"the interface has {listed(map(str, prefixes))}")


def _networks(around: Surroundings, function: Dhcp, chain: str) -> tuple[Network, ...]:
    """The prefixes of which a server gives addresses to the hosts of a chain."""
    if function.config.ipv6 is None or function.config.mode == "relay":
        return ()
    path = around.paths[chain]
    declared = (*around.addresses(path[0]), *around.addresses(path[-1]))
    ends = [address.ip for address in declared if isinstance(address, IPv6Interface)]
    link = Plan(function.config, {chain: ends}).link_on(chain)
    return () if link is None else _given(link)


def _given(link: Link) -> tuple[Network, ...]:
    return tuple(
        place.config.network
        for place in link.places
        if place.blocks[Option.IA_NA]
        or any(one.ip is not None for one in place.config.reservations)
    )
