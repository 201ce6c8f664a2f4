"""Chains: paths between two attachments, through functions that are bumps in the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, PlainValidator

from nfv.chain.fields import NAME, Many, Model, parse_name, refusal, text_schema
from nfv.chain.match import Match


@dataclass(frozen=True)
class Attachment:
    """An end of a chain: a SAP, or an interface of a function."""

    node: str
    interface: str | None = None

    def __str__(self) -> str:
        return self.node if self.interface is None else f"{self.node}:{self.interface}"

    @classmethod
    def parse(cls, text: str) -> Attachment:
        """From the way it is written in a path: "lan" or "gw:lan"."""
        node, colon, interface = text.partition(":")
        return cls(node, interface if colon else None)


@dataclass(frozen=True)
class Chain:
    """A service chain. Return traffic passes the same functions in reverse."""

    name: str
    near: Attachment
    functions: tuple[str, ...]  # names of VNFs, in the order from near to far
    far: Attachment
    match: Match | None  # packets from near that take this chain; None: all
    precedence: int = 0  # how many earlier chains share an attachment: the first match wins

    @property
    def attachments(self) -> tuple[Attachment, Attachment]:
        """Both ends."""
        return self.near, self.far


def _parse_entry(value: object) -> str:
    if isinstance(value, dict) and len(value) == 1:
        node, interface = next(iter(value.items()))
        hint = f'write "{node}:{interface or "INTERFACE"}", without a blank after the colon'
        raise refusal("is a mapping, not an entry of a path", hint)
    if not isinstance(value, str):
        return parse_name(value)
    for part in value.split(":", 1):
        parse_name(part)
    return value


PathEntry = Annotated[
    str,
    PlainValidator(_parse_entry),
    text_schema(
        "a SAP, a function, or VNF:INTERFACE",
        "lan",
        "fw",
        "gw:lan",
        pattern=f"^{NAME.pattern}(?::{NAME.pattern})?$",
    ),
]


class ChainConfig(Model):
    """A chain as it is written."""

    path: Many[PathEntry] = Field(
        description="from one attachment to another, the functions between in order",
        examples=[["lan", "fw", "gw:lan"]],
        json_schema_extra={"minItems": 2},
    )
    match: Match | None = Field(None, description="only these packets; the first chain wins")
