"""Field types of the topology file: how a value is written, read and described."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
)
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError

from nfv.chain.report import Report

MAX_NAME = 32
MAX_DEVICE_NAME = 15  # IFNAMSIZ less the terminating zero

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_PREFIX_LENGTH = re.compile(r"[0-9]{1,3}")

T = TypeVar("T")


class Model(BaseModel):
    """Base of everything a topology file describes: immutable, unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def check(self, report: Report) -> None:
        """Report what is wrong with this part by itself; paths are relative to its keys."""


def refusal(message: str, hint: str | None = None) -> PydanticCustomError:
    """The error that a field type raises; message and hint reach the user as they are."""
    return PydanticCustomError("refused", "{message}", {"message": message, "hint": hint})


def quoted(value: object) -> str:
    """A value of the file as messages show it."""
    if isinstance(value, str):
        return repr(value if len(value) <= 48 else value[:45] + "...")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)
    return "a list" if isinstance(value, (list, tuple)) else "a mapping"


def text_of(value: object, what: str) -> str:
    """`value` if it is text, else a refusal that says what is wanted."""
    if not isinstance(value, str):
        raise refusal(f"{quoted(value)} is not {what}")
    return value


def parse_name(value: object) -> str:
    """A name: letters a to z, digits and "-" inside, at most 32 characters."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise refusal(f"{value} is a number, not a name", f"quote it: '{value}'")
    text = text_of(value, "a name")
    if len(text) > MAX_NAME:
        raise refusal(f"the name {quoted(text)} is longer than {MAX_NAME} characters")
    if not NAME.fullmatch(text):
        better = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
        rule = "names hold a-z, 0-9 and '-', and start and end with a letter or digit"
        hint = f"did you mean '{better}'? {rule}" if better else rule
        raise refusal(f"{quoted(text)} is not a valid name", hint)
    return text


def parse_device_name(value: object) -> str:
    """Name of a network device, by the kernel's rules (dev_valid_name)."""
    text = text_of(value, "a device name")
    if not 0 < len(text.encode()) <= MAX_DEVICE_NAME:
        raise refusal(f"a device name has 1 to {MAX_DEVICE_NAME} characters")
    if text in (".", "..") or re.search(r"[\s/:\x00-\x1f\x7f]", text):
        raise refusal(f"{quoted(text)} is not a device name", "no blanks, '/' or ':'")
    return text


def parse_netns_name(value: object) -> str:
    """Name of a network namespace, as `ip netns` lists it."""
    text = text_of(value, "the name of a network namespace")
    if text in (".", "..") or not re.fullmatch(r"[^\s/\x00-\x1f\x7f]{1,200}", text):
        raise refusal(f"{quoted(text)} is not the name of a network namespace")
    return text


def parse_mac(value: object) -> str:
    """A unicast MAC address, six pairs of hexadecimal digits; in lower case."""
    text = text_of(value, "a MAC address").lower()
    if not _MAC.fullmatch(text):
        raise refusal(f"{quoted(value)} is not a MAC address", "write it as 02:00:00:00:00:01")
    if int(text[:2], 16) & 1:
        hint = f"the second digit must be even, as in {int(text[:2], 16) & 0xFE:02x}{text[2:]}"
        raise refusal(f"{text} is a group (multicast) MAC address", hint)
    if text == "00:00:00:00:00:00":
        raise refusal("the MAC address is all zero")
    return text


def parse_address(value: object) -> IPv4Address | IPv6Address:
    """An IPv4 or IPv6 address without prefix length."""
    text = text_of(value, "an IP address")
    if "/" in text:
        raise refusal(f"{quoted(text)} has a prefix length", f"write {text.partition('/')[0]}")
    return _parse_ip(ip_address, text, "an IPv4 or IPv6 address")


def parse_interface_address(value: object) -> IPv4Interface | IPv6Interface:
    """An address with the prefix length of its subnet."""
    text = text_of(value, "an IP address with a prefix length")
    if "/" not in text:
        address = _parse_ip(ip_address, text, "an IPv4 or IPv6 address")
        hint = f"write {address}/{24 if address.version == 4 else 64}, or the length you use"
        raise refusal(f"{address} has no prefix length", hint)
    return _parse_ip(ip_interface, text, "an IP address with a prefix length")


def parse_network(value: object) -> IPv4Network | IPv6Network:
    """A prefix; an address alone stands for itself."""
    text = text_of(value, "an IP prefix")
    given = _parse_ip(ip_interface, text, "an IP prefix")
    network = given.network
    if given.ip != network.network_address:
        hint = f"write {network}, or {given.ip} for the one address"
        raise refusal(f"{text} has bits set beyond its prefix length", hint)
    return network


def _parse_ip(parser: Callable[[str], T], text: str, what: str) -> T:
    _, slash, length = text.partition("/")
    if slash and not _PREFIX_LENGTH.fullmatch(length):
        hint = "write the prefix length as a number, as in 10.0.0.0/24"
        raise refusal(f"{quoted(text)} is not {what}", hint)
    if "%" in text:
        raise refusal(f"{quoted(text)} has a zone", "leave out '%' and what follows it")
    try:
        return parser(text)
    except ValueError:
        raise refusal(f"{quoted(text)} is not {what}") from None


def as_tuple(value: object) -> object:
    """A list as the tuple that models hold."""
    return tuple(value) if isinstance(value, list) else value


def _one_as_tuple(value: object) -> object:
    if value in ([], ()):
        raise refusal("must not be empty", "remove the key, or give a value")
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


class _OneOrMoreSchema:
    """In the JSON Schema: one value, or a list of them."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        many = handler(core_schema) | {"minItems": 1}
        return {"anyOf": [many["items"], many]}


def text_schema(description: str, *examples: object, **more: object) -> WithJsonSchema:
    """JSON Schema of a value that is written as text."""
    examples_ = {"examples": list(examples)} if examples else {}
    return WithJsonSchema({"type": "string", "description": description, **examples_, **more})


Many = Annotated[tuple[T, ...], BeforeValidator(as_tuple)]
"""A list."""

OneOrMore = Annotated[tuple[T, ...], BeforeValidator(_one_as_tuple), _OneOrMoreSchema()]
"""One value, or a list of at least one."""

Name = Annotated[
    str,
    PlainValidator(parse_name),
    text_schema("a name", pattern=f"^{NAME.pattern}$", maxLength=MAX_NAME),
]
DeviceName = Annotated[
    str,
    PlainValidator(parse_device_name),
    text_schema("name of a network device", "eth1", maxLength=MAX_DEVICE_NAME),
]
NetnsName = Annotated[
    str,
    PlainValidator(parse_netns_name),
    text_schema("name of a network namespace, as in `ip netns`", "container-1"),
]
Mac = Annotated[
    str,
    PlainValidator(parse_mac),
    text_schema(
        "unicast MAC address",
        "02:00:00:00:00:01",
        pattern="^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$",
    ),
]
Address = Annotated[
    IPv4Address | IPv6Address,
    PlainValidator(parse_address),
    text_schema("IPv4 or IPv6 address", "10.0.1.1", "2001:db8:1::1"),
]
InterfaceAddress = Annotated[
    IPv4Interface | IPv6Interface,
    PlainValidator(parse_interface_address),
    text_schema("address with prefix length", "10.0.1.1/24", "2001:db8:1::1/64"),
]
Network = Annotated[
    IPv4Network | IPv6Network,
    PlainValidator(parse_network),
    text_schema("prefix, or a single address", "10.0.0.0/8", "2001:db8::/32", "192.0.2.1"),
]
Mtu = Annotated[
    int,
    Field(
        strict=True,
        ge=576,
        le=9000,
        description="largest IP packet, in bytes; with IPv6 1280 or more",
    ),
]
