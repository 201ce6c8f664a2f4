"""What traffic a bench sends: a YAML file, checked as topology files are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, WithJsonSchema

from nfv.chain.fields import Mac, Model, Network, OneOrMore, quoted, refusal
from nfv.chain.match import Ports
from nfv.chain.pattern import Range
from nfv.chain.report import Report
from nfv.chain.schema import DIALECT, tidy
from nfv.chain.source import read as read_source
from nfv.chain.validate import read, read_mapping
from nfv.errors import TopologyError

IMIX = "imix"
IMIX_SIZES = (64, 64, 64, 64, 64, 64, 64, 594, 594, 594, 594, 1518)
"""The "simple IMIX": seven frames of 64 bytes, four of 594, one of 1518; with FCS."""

STANDARD_SIZES = (64, 128, 256, 512, 1024, 1280, 1518)
"""Frame sizes of RFC 2544, section 9.1, for Ethernet; with FCS."""

SHORTEST, LONGEST = 64, 3404
"""Bytes of frames with FCS: Ethernet's shortest, and what is sent from one page of memory."""

MAX_FLOWS = 1 << 20


def parse_size(value: object) -> str:
    """A frame size in bytes with FCS, or "imix"."""
    if value == IMIX:
        return IMIX
    if isinstance(value, int) and not isinstance(value, bool) and SHORTEST <= value <= LONGEST:
        return str(value)
    hint = f"write {SHORTEST} to {LONGEST}, bytes with FCS, or {IMIX}"
    raise refusal(f"{quoted(value)} is not a frame size", hint)


Size = Annotated[
    str,
    PlainValidator(parse_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": SHORTEST, "maximum": LONGEST},
                {"const": IMIX},
            ],
            "description": "bytes of a frame with FCS, or imix",
        }
    ),
]


class Profile(Model):
    """Flows of TCP or UDP packets that differ in addresses and ports."""

    proto: Literal["udp", "tcp"] = Field("udp", description="what the frames carry")
    src: OneOrMore[Network] = Field((), description="source addresses; by default the SAP's own")
    dst: OneOrMore[Network] = Field(
        (), description="destinations, taken in turn; by default the far SAP's own address"
    )
    sport: Ports = Field((1024, 65535), description="source ports, one after the other")
    dport: OneOrMore[Ports] = Field(((5201, 5201),), description="destination ports, in turn")
    flows: int = Field(64, strict=True, ge=1, le=MAX_FLOWS, description="flows at a time")
    churn: int = Field(
        0,
        strict=True,
        ge=0,
        le=10_000_000,
        description="flows a second that give way to one with another source port",
    )
    sizes: OneOrMore[Size] = Field(
        tuple(map(str, STANDARD_SIZES)), description="frame sizes with FCS that are tried"
    )
    src_mac: Mac | None = Field(None, description="by default the SAP's own")
    dst_mac: Mac | None = Field(None, description="by default what the chains of the SAP lead to")

    def check(self, report: Report) -> None:
        if self.src and self.dst and len({one.version for one in (*self.src, *self.dst)}) > 1:
            message = "src and dst are of IPv4 and of IPv6"
            report.error(("dst",), message, "measure each with a profile of its own", key=True)
        low, high = self.sport
        if self.churn and self.flows > high - low:
            message = f"churn needs more source ports than the {self.flows} flows"
            report.error(("churn",), message, "widen sport, or ask for fewer flows", key=True)

    @property
    def version(self) -> int:
        """Of IP; 4 where no address says so."""
        return next((one.version for one in (*self.src, *self.dst)), 4)

    @property
    def ports(self) -> Range:
        """The first source port, and how many there are."""
        low, high = self.sport
        return low, high - low + 1


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a profile, so that editors complete and check it."""
    whole = tidy(Profile.model_json_schema())
    for key in ("sizes", "sport", "dport"):
        del whole["properties"][key]["default"]  # which is not as it is written in a file
    return {"$schema": DIALECT, "title": "nfv profile of traffic", **whole}


def plain(profile: Profile) -> dict[str, object]:
    """The profile but for its sizes, as its file would be written."""
    return {
        "proto": profile.proto,
        "src": [str(one) for one in profile.src],
        "dst": [str(one) for one in profile.dst],
        "sport": _range(profile.sport),
        "dport": [_range(one) for one in profile.dport],
        "flows": profile.flows,
        "churn": profile.churn,
        "src_mac": profile.src_mac,
        "dst_mac": profile.dst_mac,
    }


def _range(ports: Range) -> str:
    low, high = ports
    return str(low) if low == high else f"{low}-{high}"


def load(file: str | Path) -> Profile:
    """Read a profile. Raises `TopologyError` with all its problems, `InputError` if unreadable."""
    try:
        return _read(file)
    except TopologyError as error:
        raise TopologyError(error.problems, "profile") from None


def _read(file: str | Path) -> Profile:
    source = read_source(file)
    report = Report(source)
    content = read_mapping(source.data, report)
    profile = None if content is None else read(Profile, content, report)
    report.raise_if_any()
    assert profile is not None  # otherwise there was a problem
    return profile
