"""Values of options of either DHCP: how a topology file writes them, and their bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema

from nfv.chain.fields import Model, refusal, text_of, text_schema
from nfv.chain.report import Report

_MAX_LABEL, _MAX_DOMAIN = 63, 253
_MAX_CONTENT = 1024  # bytes of one option, whatever a client takes


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


def _parse_identifier(value: object) -> bytes:
    """A client identifier: pairs of hexadecimal digits after 0x, else text."""
    text = text_of(value, "a client identifier")
    if text.startswith("0x"):
        try:
            found = bytes.fromhex(text[2:].replace(":", ""))
        except ValueError:
            raise refusal(f"'{text}' is not made of pairs of hexadecimal digits") from None
    else:
        found = text.encode()
    if not 0 < len(found) <= 255:
        raise refusal("an identifier has 1 to 255 bytes")
    return found


Identifier = Annotated[
    bytes,
    PlainValidator(_parse_identifier),
    PlainSerializer(bytes.hex, when_used="json"),
    text_schema("text, or bytes in hexadecimal after 0x", "port-7", "0x0102:0304"),
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
Enterprise = Annotated[int, Field(strict=True, ge=0, le=0xFFFFFFFF)]
LeaseSeconds = Annotated[int, Field(strict=True, ge=60, le=0xFFFFFFFE)]
Seconds = Annotated[int, Field(strict=True, ge=0, le=0xFFFFFFFF)]
Byte = Annotated[int, Field(strict=True, ge=0, le=255)]
Word = Annotated[int, Field(strict=True, ge=0, le=65535)]


class Custom(Model, ABC):
    """An option by number."""

    code: int
    type: Literal["ip", "uint8", "uint16", "uint32", "text", "domains", "hex"] = Field(
        description="how its value is sent"
    )
    value: Value = Field(description="the value, or a list of them")

    own: ClassVar[frozenset[int]]  # options that the protocol uses itself

    @abstractmethod
    def packed(self, value: object) -> bytes:
        """The bytes of an IP address as the file has it. Raises what refuses it."""

    def check(self, report: Report) -> None:
        if self.code in self.own:
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
        if self.type == "ip":
            return b"".join(self.packed(value) for value in values)
        return _ENCODERS[self.type](values)


Codes = Mapping[str, tuple[int, Callable[[Any], bytes]]]
"""Number of each named option, and how its value is sent."""


def contents(options: Model, codes: Codes, custom: Iterable[Custom]) -> dict[int, bytes]:
    """The bytes of each option by its number."""
    found = {}
    for name, (code, encode) in codes.items():
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


def addresses(values: Iterable[IPv4Address | IPv6Address]) -> bytes:
    return b"".join(address.packed for address in values)


def address(value: IPv4Address | IPv6Address) -> bytes:
    return value.packed


def text(value: str) -> bytes:
    return value.encode()


def number(size: int, signed: bool = False) -> Callable[[int], bytes]:
    return lambda value: value.to_bytes(size, "big", signed=signed)


def numbers(size: int) -> Callable[[Iterable[Any]], bytes]:
    def encode(values: Iterable[Any]) -> bytes:
        return b"".join(_whole(value).to_bytes(size, "big") for value in values)

    return encode


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"'{value}' is no whole number")
    return value


def domains(values: Iterable[str]) -> bytes:
    return b"".join(domain_bytes(domain) for domain in values)


_ENCODERS: Mapping[str, Callable[[list[Any]], bytes]] = {
    "uint8": numbers(1),
    "uint16": numbers(2),
    "uint32": numbers(4),
    "text": lambda values: "".join(_parse_text(value) for value in values).encode(),
    "domains": lambda values: domains(parse_domain(value) for value in values),
    "hex": lambda values: b"".join(_parse_hex(value) for value in values),
}
