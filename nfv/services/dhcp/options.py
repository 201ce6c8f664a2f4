"""Options by name: how a topology file writes them, and their bytes (RFC 2132 and others)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema

from nfv.chain.fields import (
    Many,
    Model,
    Network,
    OneOrMore,
    parse_address,
    parse_network,
    refusal,
    text_of,
    text_schema,
)
from nfv.chain.report import Report

_MAX_LABEL, _MAX_DOMAIN = 63, 253
_MAX_CONTENT = 1024  # bytes of one option, whatever a client takes


def parse_address4(value: object) -> IPv4Address:
    """An IPv4 address."""
    address = parse_address(value)
    if not isinstance(address, IPv4Address):
        raise refusal(f"{address} is not an IPv4 address")
    return address


def parse_network4(value: object) -> Network:
    """An IPv4 prefix."""
    network = parse_network(value)
    if network.version != 4:
        raise refusal(f"{network} is not an IPv4 prefix")
    return network


def parse_domain(value: object) -> str:
    """A domain name, without the root's dot at its end."""
    text = text_of(value, "a domain name").rstrip(".").lower()
    labels = text.split(".")
    if not text or len(text) > _MAX_DOMAIN or not text.isascii() or " " in text:
        raise refusal(f"'{value}' is not a domain name")
    if not all(0 < len(label) <= _MAX_LABEL for label in labels):
        raise refusal(f"'{value}' is not a domain name", "a label has 1 to 63 characters")
    return text


def _parse_text(value: object) -> str:
    text = text_of(value, "text")
    if not text or not text.isprintable():
        raise refusal("is empty, or has characters that cannot be printed")
    return text


def _parse_hex(value: object) -> bytes:
    try:
        return bytes.fromhex(text_of(value, "hexadecimal digits").replace(":", ""))
    except ValueError:
        raise refusal(f"'{value}' is not made of pairs of hexadecimal digits") from None


Address4 = Annotated[
    IPv4Address, PlainValidator(parse_address4), text_schema("IPv4 address", "10.0.1.1")
]
Network4 = Annotated[
    Network, PlainValidator(parse_network4), text_schema("IPv4 prefix", "10.0.1.0/24")
]
Domain = Annotated[
    str, PlainValidator(parse_domain), text_schema("domain name", "lab.example", "example.org")
]
Text = Annotated[str, PlainValidator(_parse_text), text_schema("text")]
Hex = Annotated[
    bytes,
    PlainValidator(_parse_hex),
    PlainSerializer(bytes.hex, when_used="json"),
    text_schema("bytes in hexadecimal", "01:04:c0a80001"),
]
Value = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": ["string", "integer"]},
                {"type": "array", "items": {"type": ["string", "integer"]}, "minItems": 1},
            ],
            "examples": ["192.0.2.1", 4011, "text"],
        }
    ),
]
Seconds = Annotated[int, Field(strict=True, ge=0, le=0xFFFFFFFF)]
Byte = Annotated[int, Field(strict=True, ge=0, le=255)]
Word = Annotated[int, Field(strict=True, ge=0, le=65535)]


class ClasslessRoute(Model):
    """A route that clients are told (RFC 3442)."""

    to: Network4 = Field(description="destination prefix")
    via: Address4 = Field(description="next hop; 0.0.0.0: the destination is on the link")


class CustomOption(Model):
    """An option without a name here."""

    code: Annotated[int, Field(strict=True, ge=1, le=254)] = Field(description="its number")
    type: Literal["ip", "uint8", "uint16", "uint32", "text", "domains", "hex"] = Field(
        description="how its value is sent"
    )
    value: Value = Field(description="the value, or a list of them")

    def check(self, report: Report) -> None:
        if self.code in _OWN:
            report.error(("code",), f"option {self.code} is the protocol's own")
            return
        try:
            content = self.content()
        except (ValueError, TypeError, OverflowError) as error:
            hint = getattr(error, "context", None)
            words = hint["message"] if isinstance(hint, dict) else str(error)
            report.error(("value",), f"cannot be sent as {self.type}: {words}")
            return
        if len(content) > _MAX_CONTENT:
            report.error(("value",), f"is longer than {_MAX_CONTENT} bytes")

    def content(self) -> bytes:
        """Its bytes. Raises `ValueError` and others for a value that is none of the type."""
        values = self.value if isinstance(self.value, list) else [self.value]
        return _CUSTOM[self.type](values)


class Options(Model):
    """Options for clients, by name; the number of each is in brackets."""

    time_offset: Annotated[int, Field(strict=True, ge=-(1 << 31), le=(1 << 31) - 1)] | None = Field(
        None, description="seconds east of Greenwich (2)"
    )
    routers: OneOrMore[Address4] = Field((), description="default gateways (3)")
    dns: OneOrMore[Address4] = Field((), description="DNS servers (6)")
    log_servers: OneOrMore[Address4] = Field((), description="syslog servers (7)")
    domain: Domain | None = Field(None, description="the clients' domain (15)")
    root_path: Text | None = Field(None, description="path of the root disk (17)")
    mtu: Annotated[int, Field(strict=True, ge=68, le=65535)] | None = Field(
        None, description="MTU of the interface, in bytes (26)"
    )
    broadcast: Address4 | None = Field(None, description="broadcast address (28)")
    static_routes: Many[ClasslessRoute] = Field(
        (), description="routes (121); clients that take them are not told `routers`"
    )
    nis_domain: Text | None = Field(None, description="domain of NIS (40)")
    nis: OneOrMore[Address4] = Field((), description="NIS servers (41)")
    ntp: OneOrMore[Address4] = Field((), description="NTP servers (42)")
    vendor: Hex | None = Field(None, description="vendor-specific information (43)")
    netbios: OneOrMore[Address4] = Field((), description="NetBIOS name servers (44)")
    netbios_type: Byte | None = Field(None, description="type of NetBIOS node (46)")
    smtp: OneOrMore[Address4] = Field((), description="SMTP servers (69)")
    tftp_server: Text | None = Field(None, description="name of the TFTP server (66)")
    boot_file: Text | None = Field(None, description="name of the boot file (67)")
    posix_timezone: Text | None = Field(None, description="time zone as TZ has it (100)")
    timezone: Text | None = Field(None, description="time zone, such as Europe/Paris (101)")
    ipv6_only: Seconds | None = Field(
        None, description="clients that can do without IPv4 wait so many seconds (108, RFC 8925)"
    )
    captive_portal: Text | None = Field(None, description="URI of its API (114, RFC 8910)")
    search: OneOrMore[Domain] = Field((), description="domains to look names up in (119)")
    sip: OneOrMore[Address4] = Field((), description="SIP servers (120, RFC 3361)")
    tftp_servers: OneOrMore[Address4] = Field((), description="TFTP servers of phones (150)")
    proxy: Text | None = Field(None, description="URL of the proxy configuration (252)")


def contents(options: Options, custom: Iterable[CustomOption]) -> dict[int, bytes]:
    """The bytes of each option by its number."""
    found = {}
    for name, (code, encode) in CODES.items():
        value = getattr(options, name)
        if value is not None and value != ():
            found[code] = encode(value)
    found.update({option.code: option.content() for option in custom})
    return found


def domain_bytes(domain: str) -> bytes:
    """A domain name as DNS has it (RFC 1035, section 3.1), not compressed."""
    labels = [label.encode("ascii") for label in domain.split(".")]
    if not all(0 < len(label) <= _MAX_LABEL for label in labels):
        raise ValueError(f"'{domain}' is not a domain name")
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


# How each kind of value is sent ----------------------------------------------------------------


def _addresses(values: Iterable[IPv4Address]) -> bytes:
    return b"".join(address.packed for address in values)


def _address(value: IPv4Address) -> bytes:
    return value.packed


def _text(value: str) -> bytes:
    return value.encode()


def _number(size: int, signed: bool = False) -> Callable[[int], bytes]:
    return lambda value: value.to_bytes(size, "big", signed=signed)


def _numbers(size: int) -> Callable[[Iterable[Any]], bytes]:
    def encode(values: Iterable[Any]) -> bytes:
        return b"".join(_whole(value).to_bytes(size, "big") for value in values)

    return encode


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"'{value}' is no whole number")
    return value


def _domains(values: Iterable[str]) -> bytes:
    return b"".join(domain_bytes(domain) for domain in values)


def _sip(values: Iterable[IPv4Address]) -> bytes:
    return b"\1" + _addresses(values)


def _routes(values: Iterable[ClasslessRoute]) -> bytes:
    """RFC 3442: only as many bytes of a destination as its prefix has."""
    parts = []
    for route in values:
        length = route.to.prefixlen
        destination = route.to.network_address.packed[: (length + 7) // 8]
        parts.append(bytes((length,)) + destination + route.via.packed)
    return b"".join(parts)


CODES: Mapping[str, tuple[int, Callable[[Any], bytes]]] = {
    "time_offset": (2, _number(4, signed=True)),
    "routers": (3, _addresses),
    "dns": (6, _addresses),
    "log_servers": (7, _addresses),
    "domain": (15, _text),
    "root_path": (17, _text),
    "mtu": (26, _number(2)),
    "broadcast": (28, _address),
    "static_routes": (121, _routes),
    "nis_domain": (40, _text),
    "nis": (41, _addresses),
    "ntp": (42, _addresses),
    "vendor": (43, bytes),
    "netbios": (44, _addresses),
    "netbios_type": (46, _number(1)),
    "smtp": (69, _addresses),
    "tftp_server": (66, _text),
    "boot_file": (67, _text),
    "posix_timezone": (100, _text),
    "timezone": (101, _text),
    "ipv6_only": (108, _number(4)),
    "captive_portal": (114, _text),
    "search": (119, _domains),
    "sip": (120, _sip),
    "tftp_servers": (150, _addresses),
    "proxy": (252, _text),
}
"""Number of each named option, and how its value is sent."""

_OWN = frozenset({0, 1, 12, 50, 51, 52, 53, 54, 55, 57, 58, 59, 61, 80, 81, 82, 118})

_CUSTOM: Mapping[str, Callable[[list[Any]], bytes]] = {
    "ip": lambda values: _addresses(parse_address4(value) for value in values),
    "uint8": _numbers(1),
    "uint16": _numbers(2),
    "uint32": _numbers(4),
    "text": lambda values: "".join(_parse_text(value) for value in values).encode(),
    "domains": lambda values: _domains(parse_domain(value) for value in values),
    "hex": lambda values: b"".join(_parse_hex(value) for value in values),
}
