"""How values in case files are written: times, pace, amounts, fields and frames."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, PlainValidator, WithJsonSchema

from nfv.chain.fields import quoted, refusal, text_of, text_schema
from nfv.testing.fields import FieldName
from nfv.traffic.pace import BitRate, Original, Pace, PacketRate, TopSpeed

_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(s|ms|us|µs|ns)")
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kMG]?)(pps|bps|x)")
_PREFIXES = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}
_AMOUNT = re.compile(r"(>=|<=|>|<) ?([0-9]+)")


def parse_duration(value: object) -> float:
    """A time such as 2s, 500ms or 20us, in seconds."""
    found = _DURATION.fullmatch(str(value))
    if not found:
        raise refusal(f"{quoted(value)} is not a time", "write it with its unit: 2s, 500ms, 20us")
    return float(found[1]) * _UNITS[found[2]]


def parse_pace(value: object) -> Pace:
    """When frames are sent: "original", "asap", or a rate such as 10x, 1000pps or 1.5Mbps."""
    text = text_of(value, "a timing")
    if text == "original":
        return Original()
    if text == "asap":
        return TopSpeed()
    found = _RATE.fullmatch(text)
    number = float(found[1]) * _PREFIXES[found[2]] if found else 0
    if not found or not number:
        raise refusal(f"{quoted(text)} is not a timing", "original, asap, 10x, 1000pps or 1.5Mbps")
    kinds: dict[str, type[Original | PacketRate | BitRate]] = {
        "x": Original, "pps": PacketRate, "bps": BitRate
    }  # fmt: skip
    return kinds[found[3]](number)


@dataclass(frozen=True)
class Amount:
    """A number that is expected: exactly, or a bound."""

    text: str

    def fits(self, number: int) -> bool:
        found = _AMOUNT.fullmatch(self.text)
        if not found:
            return number == int(self.text)
        bound = int(found[2])
        return {
            ">=": number >= bound,
            "<=": number <= bound,
            ">": number > bound,
            "<": number < bound,
        }[found[1]]


def parse_amount(value: object) -> Amount:
    """A number, or a bound such as ">= 3"."""
    text = str(value)
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if not whole and not (isinstance(value, str) and _AMOUNT.fullmatch(text)):
        raise refusal(f"{quoted(value)} is not a number of packets", 'write 3 or ">= 3"')
    return Amount(text)


def parse_field(value: object) -> FieldName:
    """A field by Scapy's name, or a whole layer."""
    from nfv.testing import fields

    try:
        return fields.parse(text_of(value, "a field such as IP.id"))
    except ValueError as error:
        raise refusal(str(error), "layers and fields are named as in Scapy: IP.id") from error


def parse_frames(value: object) -> str:
    """A Scapy expression, of which it is known that it makes packets."""
    from nfv.traffic import expression

    text = text_of(value, "a Scapy expression")
    try:
        for packet in expression.packets(text):
            _check_addressed(packet)
    except ValueError as error:
        raise refusal(f"{quoted(text)}: {error}") from error
    return text


def _check_addressed(packet: Any) -> None:
    """Scapy would take addresses that are left out from the machine that it runs on."""
    for one in (packet, packet.payload):
        if one.name in ("IP", "IPv6"):
            missing = [key for key in ("src", "dst") if key not in one.fields]
            if missing:
                raise ValueError(f"{one.name} needs {' and '.join(missing)}")


def parse_value(value: object) -> int | str:
    """What is written into a field: a number, or text; -1 and "+1" are added to what it has."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise refusal(f"{quoted(value)} cannot be written into a field", "a number or text")
    return value


Duration = Annotated[
    float,
    PlainValidator(parse_duration),
    text_schema("a time with its unit", "2s", "500ms", pattern=f"^{_DURATION.pattern}$"),
]
Timing = Annotated[
    Pace,
    PlainValidator(parse_pace),
    text_schema("when frames are sent", "original", "asap", "10x", "1000pps", "1.5Mbps"),
]
Quantity = Annotated[
    Amount,
    PlainValidator(parse_amount),
    WithJsonSchema(
        {
            "description": "a number of packets or bytes, or a bound such as '>= 3'",
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": f"^{_AMOUNT.pattern}$"},
            ],
        }
    ),
]
FieldKey = Annotated[
    FieldName,
    PlainValidator(parse_field),
    text_schema("a field of a layer, or a layer, by Scapy's names", "IP.id", "TCP.seq"),
]
Expression = Annotated[
    str,
    PlainValidator(parse_frames),
    text_schema(
        "a Scapy expression",
        'IP(src="10.0.1.10", dst="192.0.2.254")/TCP(dport=23)',
    ),
]
FieldValue = Annotated[
    int | str,
    PlainValidator(parse_value),
    WithJsonSchema({"type": ["integer", "string"], "description": "-1 and '+1' are added"}),
]
FileName = Annotated[
    str,
    Field(strict=True, min_length=1, description="path of a file, from the directory of the case"),
]
