"""Rules for the addresses of an interface, whoever has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from nfv.chain.fields import Address, InterfaceAddress
from nfv.chain.report import Report, listed

IPV6_MINIMUM_MTU = 1280  # RFC 8200 section 5


def check_addresses(addresses: Sequence[InterfaceAddress], report: Report) -> None:
    """Report addresses under the key `ip` that an interface cannot have."""
    for index, address in enumerate(addresses):
        unfit = _unfit(address)
        if unfit:
            report.error(("ip", index), f"{address.ip} is {unfit}", _host_hint(address))
        elif any(address.ip == earlier.ip for earlier in addresses[:index]):
            report.error(("ip", index), f"{address.ip} stands here twice", "remove one of them")


def check_mtu(mtu: int, addresses: Sequence[InterfaceAddress], report: Report) -> None:
    """Report an MTU that IPv6 does not allow."""
    if mtu < IPV6_MINIMUM_MTU and any(address.version == 6 for address in addresses):
        message = f"an MTU of {mtu} is too small for IPv6, the least is {IPV6_MINIMUM_MTU}"
        report.error(("mtu",), message)


def check_gateways(
    gateways: Sequence[Address], addresses: Sequence[InterfaceAddress], report: Report
) -> None:
    """Report default gateways that cannot be reached from the addresses."""
    for index, gateway in enumerate(gateways):
        path = ("gateway", index)
        connected = [a.network for a in addresses if a.version == gateway.version]
        if any(gateway.version == earlier.version for earlier in gateways[:index]):
            report.error(
                path,
                f"a second IPv{gateway.version} gateway",
                "at most one for each of IPv4 and IPv6",
            )
        elif any(gateway == address.ip for address in addresses):
            report.error(path, f"{gateway} is this access point's own address")
        elif gateway.version == 6 and gateway.is_link_local:
            continue  # reachable on any link
        elif not any(gateway in network for network in connected):
            subnets = listed(map(str, connected)) or f"none of IPv{gateway.version}"
            hint = f"connected subnets: {subnets}"
            report.error(path, f"gateway {gateway} is in no connected subnet", hint)


def check_disjoint(interfaces: Mapping[str, Sequence[InterfaceAddress]], report: Report) -> None:
    """Report subnets that two interfaces share; link-local ones are on every interface."""
    for (first, ours), (second, theirs) in combinations(interfaces.items(), 2):
        for index, address in enumerate(theirs):
            for other in ours:
                if _overlap(address, other):
                    message = f"{address} and {other} of interface '{first}' share a subnet"
                    hint = "every interface of a router needs subnets of its own"
                    report.error((second, "ip", index), message, hint)


def _overlap(one: InterfaceAddress, other: InterfaceAddress) -> bool:
    if one.version != other.version or (one.version == 6 and one.is_link_local):
        return False
    return one.network.overlaps(other.network)


def _unfit(address: InterfaceAddress) -> str | None:
    """Why no interface can have this address, or None."""
    network, ip = address.network, address.ip
    bits = ip.max_prefixlen - network.prefixlen
    if ip.is_unspecified:
        return "the unspecified address"
    if ip.is_loopback:
        return "a loopback address"
    if ip.is_multicast:
        return "a multicast address"
    if ip.version == 4 and int(ip) == 0xFFFFFFFF:
        return "the limited broadcast address"
    if bits < 2:  # RFC 3021, RFC 6164: both addresses of such a subnet are for hosts
        return None
    if ip == network.network_address:
        return "the network address" if ip.version == 4 else "the subnet-router anycast address"
    if ip.version == 4 and ip == network.broadcast_address:
        return f"the broadcast address of {network}"
    return None


def _host_hint(address: InterfaceAddress) -> str | None:
    if address.network.num_addresses <= 2 or address.ip.is_multicast or address.ip.is_loopback:
        return None
    return f"take a host address, such as {address.network.network_address + 1}"
