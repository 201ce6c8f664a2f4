"""Fields of one IP version: addresses, prefixes, and ranges of addresses."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, TypeVar

from pydantic import PlainValidator

from nfv.chain.fields import parse_address, parse_network, refusal, text_of, text_schema

_Address = TypeVar("_Address", IPv4Address, IPv6Address)
_T = TypeVar("_T")

AddressRange = tuple[IPv4Address, IPv4Address]
AddressRange6 = tuple[IPv6Address, IPv6Address]
"""The first address, and the last."""


def _of_version(
    parse_any: Callable[[object], object], kind: type[_T], noun: str
) -> Callable[[object], _T]:
    def parse(value: object) -> _T:
        parsed = parse_any(value)
        if not isinstance(parsed, kind):
            raise refusal(f"{parsed} is not {noun}")
        return parsed

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


parse_address4 = _of_version(parse_address, IPv4Address, "an IPv4 address")
parse_address6 = _of_version(parse_address, IPv6Address, "an IPv6 address")

Address4 = Annotated[
    IPv4Address, PlainValidator(parse_address4), text_schema("IPv4 address", "10.0.1.1")
]
Address6 = Annotated[
    IPv6Address, PlainValidator(parse_address6), text_schema("IPv6 address", "2001:db8:1::1")
]
Network4 = Annotated[
    IPv4Network,
    PlainValidator(_of_version(parse_network, IPv4Network, "an IPv4 prefix")),
    text_schema("IPv4 prefix, or a single address", "10.0.1.0/24", "192.0.2.1"),
]
Network6 = Annotated[
    IPv6Network,
    PlainValidator(_of_version(parse_network, IPv6Network, "an IPv6 prefix")),
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
