"""Field types of a name server's configuration: how a value is written, read and described."""

from __future__ import annotations

import base64
from typing import Annotated

import dns.exception
import dns.name
import dns.rdatatype
from pydantic import Field, PlainValidator

from nfv.chain.fields import parse_address, refusal, text_of, text_schema

MIN_SECRET = 16
"""Bytes of a key's secret."""

Ttl = Annotated[int, Field(strict=True, ge=0, le=0x7FFFFFFF, description="seconds")]


def _parse_domain(value: object) -> str:
    text = text_of(value, "a domain name")
    try:
        name = dns.name.from_text(text)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise refusal(f"'{text}' is not a domain name: {error}") from None
    if name == dns.name.root or name.is_wild():
        raise refusal(f"'{text}' cannot be the name of a zone")
    return name.canonicalize().to_text(omit_final_dot=True)


def _parse_type(value: object) -> str:
    text = text_of(value, "a record type").upper()
    try:
        dns.rdatatype.from_text(text)
    except (dns.exception.DNSException, ValueError):
        hint = "write MX, TXT, or TYPE65400 for one without a name"
        raise refusal(f"'{text}' is not a record type", hint) from None
    return text


def _parse_server(value: object) -> str:
    text, at, port = text_of(value, "the address of a name server").partition("@")
    address = parse_address(text)
    if not at:
        return str(address)
    if not port.isascii() or not port.isdecimal() or not 0 < int(port[:6]) < 65536:
        raise refusal(f"'{port}' is not a port", f"write {address}@5353")
    return f"{address}@{int(port)}"


def _parse_upstream(value: object) -> str:
    text, mark, name = text_of(value, "the address of a name server").partition("#")
    server = _parse_server(text)
    return f"{server}#{_parse_domain(name)}" if mark else server


def _parse_secret(value: object) -> str:
    text = text_of(value, "a secret in base 64")
    try:
        secret = base64.b64decode(text, validate=True)
    except ValueError:
        raise refusal("the secret is not base 64") from None
    if len(secret) < MIN_SECRET:
        raise refusal(f"the secret has {len(secret)} bytes, the least is {MIN_SECRET}")
    return text


def _parse_line(value: object) -> str:
    text = text_of(value, "text")
    if "\n" in text or "\r" in text:
        raise refusal("must be one line")
    return text


Domain = Annotated[
    str,
    PlainValidator(_parse_domain),
    text_schema("a domain name", "lab.example", pattern=r"^[^.*\s]+(\.[^.\s]+)*\.?$"),
]
RecordType = Annotated[
    str, PlainValidator(_parse_type), text_schema("type of the record", "A", "MX", "TXT")
]
ServerAddress = Annotated[
    str,
    PlainValidator(_parse_server),
    text_schema("address of a name server, or ADDRESS@PORT", "192.0.2.53", "2001:db8::53@5353"),
]
UpstreamAddress = Annotated[
    str,
    PlainValidator(_parse_upstream),
    text_schema(
        "ADDRESS, or ADDRESS@PORT, or ADDRESS#NAME to ask by TLS",
        "192.0.2.53",
        "2001:db8::53@5353",
        "192.0.2.53#dns.example.net",
    ),
]
Secret = Annotated[str, PlainValidator(_parse_secret), text_schema("base 64 of at least 16 bytes")]
Line = Annotated[str, PlainValidator(_parse_line), text_schema("one line")]
