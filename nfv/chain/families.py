"""Fields of one IP version: addresses, prefixes, and ranges of addresses."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, TypeVar

from pydantic import PlainValidator

from nfv.chain.fields import parse_address, parse_network, refusal, text_of, text_schema

_Address = TypeVar("_Address", IPv4Address, IPv6Address)
_Network = TypeVar("_Network", IPv4Network, IPv6Network)

AddressRange = tuple[IPv4Address, IPv4Address]
AddressRange6 = tuple[IPv6Address, IPv6Address]
"""The first address, and the last."""


def _address(kind: type[_Address], version: int) -> Callable[[object], _Address]:
    def parse(value: object) -> _Address:
        address = parse_address(value)
        if not isinstance(address, kind):
            raise refusal(f"{address} is not an IPv{version} address")
        return address

    return parse


def _network(kind: type[_Network], version: int) -> Callable[[object], _Network]:
    def parse(value: object) -> _Network:
        network = parse_network(value)
        if not isinstance(network, kind):
            raise refusal(f"{network} is not an IPv{version} prefix")
        return network

    return parse


def _range(
    parse_one: Callable[[object], _Address], version: int
) -> Callable[[object], tuple[_Address, _Address]]:
    def parse(value: object) -> tuple[_Address, _Address]:
        text = text_of(value, f"a range of IPv{version} addresses")
        first, dash, last = text.partition("-")
        start = parse_one(first.strip())
        end = parse_one(last.strip()) if dash else start
        if end < start:
            raise refusal(f"the range {text} ends before it begins")
        return start, end

    return parse


parse_address4 = _address(IPv4Address, 4)
parse_address6 = _address(IPv6Address, 6)

Address4 = Annotated[
    IPv4Address, PlainValidator(parse_address4), text_schema("IPv4 address", "10.0.1.1")
]
Address6 = Annotated[
    IPv6Address, PlainValidator(parse_address6), text_schema("IPv6 address", "2001:db8:1::1")
]
Network4 = Annotated[
    IPv4Network,
    PlainValidator(_network(IPv4Network, 4)),
    text_schema("IPv4 prefix, or a single address", "10.0.1.0/24", "192.0.2.1"),
]
Network6 = Annotated[
    IPv6Network,
    PlainValidator(_network(IPv6Network, 6)),
    text_schema("IPv6 prefix", "2001:db8:1::/64"),
]
Range4 = Annotated[
    AddressRange,
    PlainValidator(_range(parse_address4, 4)),
    text_schema("addresses from the first to the last", "10.0.1.100-10.0.1.199", "10.0.1.7"),
]
Range6 = Annotated[
    AddressRange6,
    PlainValidator(_range(parse_address6, 6)),
    text_schema(
        "IPv6 addresses from the first to the last",
        "2001:db8:1::100-2001:db8:1::1ff",
        "2001:db8:1::7",
    ),
]
