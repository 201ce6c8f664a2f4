"""Conditions on a packet, as rules and classifiers write them, reduced to a Pattern."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, PlainValidator, WithJsonSchema

from nfv.chain.fields import Model, Network, OneOrMore, quoted, refusal, text_of, text_schema
from nfv.chain.pattern import Direction, Pattern, Range
from nfv.chain.report import Report, did_you_mean

PROTOCOLS: Mapping[str, int] = {  # keywords of the IANA registry of protocol numbers
    "icmp": 1, "igmp": 2, "ipip": 4, "tcp": 6, "udp": 17, "dccp": 33, "ipv6": 41, "gre": 47,
    "esp": 50, "ah": 51, "icmpv6": 58, "ospf": 89, "pim": 103, "vrrp": 112, "sctp": 132,
    "udplite": 136,
}  # fmt: skip
ICMP, TCP, ICMPV6 = PROTOCOLS["icmp"], PROTOCOLS["tcp"], PROTOCOLS["icmpv6"]
WITH_PORTS = frozenset(PROTOCOLS[name] for name in ("tcp", "udp", "dccp", "sctp", "udplite"))

ICMP_TYPES: Mapping[int, Mapping[str, int]] = {
    ICMP: {  # RFC 792
        "echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5,
        "echo-request": 8, "time-exceeded": 11, "parameter-problem": 12,
        "timestamp-request": 13, "timestamp-reply": 14,
    },
    ICMPV6: {  # RFC 4443, RFC 2710, RFC 4861
        "destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3,
        "parameter-problem": 4, "echo-request": 128, "echo-reply": 129,
        "multicast-listener-query": 130, "multicast-listener-report": 131,
        "multicast-listener-done": 132, "router-solicitation": 133, "router-advertisement": 134,
        "neighbor-solicitation": 135, "neighbor-advertisement": 136, "redirect": 137,
    },
}  # fmt: skip

TCP_FLAGS: Mapping[str, int] = {  # RFC 9293 section 3.1
    "fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ece": 64, "cwr": 128,
}  # fmt: skip

_FAMILIES = {"ipv4": 4, "ipv6": 6}
_PORT_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_ICMP_NUMBERS = re.compile(r"([0-9]{1,3})(?:/([0-9]{1,3}))?")


def parse_protocol(value: object) -> int:
    """Protocol number from a name or a number."""
    if isinstance(value, str) and value in PROTOCOLS:
        return PROTOCOLS[value]
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 255:
        return value
    hint = did_you_mean(
        str(value).lower(), PROTOCOLS, f"a number 1 to 255, or {', '.join(PROTOCOLS)}"
    )
    raise refusal(f"{quoted(value)} is not an IP protocol", hint)


def parse_ports(value: object) -> Range:
    """A port, or a range written 1000-2000."""
    found = None if isinstance(value, (bool, float)) else _PORT_RANGE.fullmatch(str(value))
    if not found:
        hint = "write 80, 1000-2000 or a list: [80, 443]"
        raise refusal(f"{quoted(value)} is not a port or a range of ports", hint)
    low, high = int(found[1]), int(found[2] or found[1])
    if high > 65535:
        raise refusal(f"port {high} is too large, the most is 65535")
    if low > high:
        raise refusal(f"the range {value} is empty", f"write {high}-{low}")
    return low, high


def parse_icmp_type(value: object) -> str:
    """An ICMP or ICMPv6 type by name or number, or "type/code"."""
    text = "" if isinstance(value, (bool, float)) else str(value)
    known = {name for names in ICMP_TYPES.values() for name in names}
    found = _ICMP_NUMBERS.fullmatch(text)
    if text not in known and not (found and int(found[1]) <= 255 and int(found[2] or 0) <= 255):
        hint = did_you_mean(text.lower(), sorted(known), "write a name, a number or type/code: 3/4")
        raise refusal(f"{quoted(value)} is not an ICMP type", hint)
    return text


def parse_tcp_flags(value: object) -> tuple[int, int]:
    """Mask and value from "SET" (others may be anything) or "SET/EXAMINED", as in syn/syn,ack."""
    text = text_of(value, "a list of TCP flags")
    wanted, slash, examined = text.partition("/")
    value_bits = 0 if slash and wanted == "none" else _flag_bits(wanted)
    mask = _flag_bits(examined) if slash else value_bits
    if value_bits & ~mask:
        hint = f"write {wanted}/{examined},{wanted}"
        raise refusal(f"{quoted(text)} wants flags set that are not examined", hint)
    return mask, value_bits


def _flag_bits(text: str) -> int:
    bits = 0
    for name in text.split(","):
        if name not in TCP_FLAGS:
            hint = did_you_mean(
                name.strip().lower(), TCP_FLAGS, f"flags are {', '.join(TCP_FLAGS)}"
            )
            raise refusal(f"{quoted(name)} is not a TCP flag", hint)
        bits |= TCP_FLAGS[name]
    return bits


Protocol = Annotated[
    int,
    PlainValidator(parse_protocol),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(PROTOCOLS)},
                {"type": "integer", "minimum": 1, "maximum": 255},
            ],
            "description": "IP protocol, by name or number",
        }
    ),
]
Ports = Annotated[
    Range,
    PlainValidator(parse_ports),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": 65535},
                {"type": "string", "pattern": f"^{_PORT_RANGE.pattern}$"},
            ],
            "description": "port, or range of ports",
            "examples": [443, "1000-2000"],
        }
    ),
]
IcmpType = Annotated[
    str,
    PlainValidator(parse_icmp_type),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(dict.fromkeys(n for names in ICMP_TYPES.values() for n in names))},
                {"type": "integer", "minimum": 0, "maximum": 255},
                {"type": "string", "pattern": f"^{_ICMP_NUMBERS.pattern}$"},
            ],
            "description": "ICMP type by name or number, or type/code",
            "examples": ["echo-request", 8, "3/4"],
        }
    ),
]
TcpFlags = Annotated[
    tuple[int, int],
    PlainValidator(parse_tcp_flags),
    text_schema("TCP flags that are set; after '/' those examined", "syn", "syn/syn,ack,rst,fin"),
]


class Conditions(Model):
    """Conditions on a packet besides its addresses; a condition left out holds for any packet."""

    proto: OneOrMore[Protocol] = Field((), description="IP protocols")
    sport: OneOrMore[Ports] = Field((), description="source ports")
    dport: OneOrMore[Ports] = Field((), description="destination ports")
    icmp_type: OneOrMore[IcmpType] = Field((), description="ICMP types, with proto icmp or icmpv6")
    tcp_flags: TcpFlags | None = Field(None, description="TCP flags, with proto tcp")
    family: Literal["ipv4", "ipv6"] | None = Field(None, description="only IPv4 or only IPv6")

    def check(self, report: Report) -> None:
        self._check_ports(report)
        self._check_icmp(report)
        if self.tcp_flags and self.proto != (TCP,):
            report.error(("tcp_flags",), "tcp_flags needs proto: tcp", "add proto: tcp", key=True)

    def check_families(
        self, src: Sequence[Network], dst: Sequence[Network], report: Report
    ) -> None:
        """Report if the conditions together with these addresses leave neither IPv4 nor IPv6."""
        wanted = list(self._families(src, dst))
        for index, (key, families) in enumerate(wanted):
            for other, others in wanted[:index]:
                if not families & others:
                    message = f"{other} and {key} leave no packet: one is IPv4, the other IPv6"
                    report.error((key,), message, key=True)
                    return

    def reduce(
        self,
        src: Sequence[Network],
        dst: Sequence[Network],
        directions: tuple[Direction, ...] = (),
    ) -> Pattern:
        """The pattern of these conditions together with addresses and directions."""
        icmp = tuple(icmp_range(text, self.proto[0]) for text in self.icmp_type)
        return Pattern(
            src=tuple(src),
            dst=tuple(dst),
            protocols=self.proto,
            sports=self.sport,
            dports=self.dport or icmp,
            tcp_flags=self.tcp_flags,
            directions=directions,
            families=(_FAMILIES[self.family],) if self.family else (),
        )

    def _check_ports(self, report: Report) -> None:
        if self.proto and WITH_PORTS.issuperset(self.proto):
            return
        hint = "add proto: [tcp, udp], or the one you mean"
        if self.proto:
            hint = "give the protocols without ports a rule of their own"
        for key in ("sport", "dport"):
            if getattr(self, key):
                report.error((key,), f"{key} needs a proto that has ports", hint, key=True)

    def _check_icmp(self, report: Report) -> None:
        if not self.icmp_type:
            return
        if self.proto not in ((ICMP,), (ICMPV6,)):
            message = "icmp_type needs proto: icmp or proto: icmpv6, one of them alone"
            report.error(("icmp_type",), message, "types differ between the two", key=True)
            return
        names = ICMP_TYPES[self.proto[0]]
        for index, text in enumerate(self.icmp_type):
            if text not in names and not text[0].isdigit():
                hint = did_you_mean(text, names, f"types are {', '.join(names)}")
                report.error(("icmp_type", index), f"'{text}' is not a type of this proto", hint)

    def _families(
        self, src: Sequence[Network], dst: Sequence[Network]
    ) -> Iterator[tuple[str, set[int]]]:
        if self.proto and {ICMP, ICMPV6}.issuperset(self.proto):
            yield "proto", {4 if number == ICMP else 6 for number in self.proto}
        if self.family:
            yield "family", {_FAMILIES[self.family]}
        for key, prefixes in (("src", src), ("dst", dst)):
            if prefixes:
                yield key, {prefix.version for prefix in prefixes}


class Match(Conditions):
    """A classifier: the packets that take a chain."""

    src: OneOrMore[Network] = Field((), description="source prefixes")
    dst: OneOrMore[Network] = Field((), description="destination prefixes")

    def check(self, report: Report) -> None:
        super().check(report)
        self.check_families(self.src, self.dst, report)

    def pattern(self) -> Pattern:
        """The pattern of a packet on its way from the first attachment of the path."""
        return self.reduce(self.src, self.dst)


def icmp_range(text: str, protocol: int) -> Range:
    """Type * 256 + code, lowest and highest, of an ICMP type as it is written in the file."""
    number, slash, code = text.partition("/")
    base = ICMP_TYPES[protocol].get(number)
    first = (int(number) if base is None else base) << 8
    return (first + int(code), first + int(code)) if slash else (first, first + 255)
