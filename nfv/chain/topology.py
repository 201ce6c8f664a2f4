"""The topology: what a file declares, validated as a whole and immutable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from nfv import functions
from nfv.chain import include
from nfv.chain.checks import Draft, check
from nfv.chain.fields import Model, Name, quoted
from nfv.chain.files import Files
from nfv.chain.known import Known
from nfv.chain.path import Attachment, Chain, ChainConfig
from nfv.chain.report import Report, did_you_mean, listed
from nfv.chain.sap import KINDS, HostSap, NicSap, Sap, TapSap, VethSap
from nfv.chain.source import Source, parse
from nfv.chain.source import read as read_source
from nfv.chain.validate import keys_of, read, read_mapping, unknown_key
from nfv.errors import Problem
from nfv.functions.base import Function

__all__ = [
    "Attachment",
    "Chain",
    "Function",
    "HostSap",
    "NicSap",
    "Sap",
    "TapSap",
    "Topology",
    "VethSap",
    "load",
    "loads",
]


@dataclass(frozen=True)
class Topology:
    """SAPs, functions and chains by name, in the order of the file.

    Topologies are equal if they declare the same, however their files are laid out.
    """

    name: str
    saps: Mapping[str, Sap]
    vnfs: Mapping[str, Function[Any]]
    chains: Mapping[str, Chain]
    flow_cache: int  # flows that each CPU remembers, of each IP version
    source: Source = field(compare=False, repr=False)

    @property
    def files(self) -> dict[str, str]:
        """The texts of the files that it names, by name."""
        texts = dict(self.source.files.used)
        for function in self.vnfs.values():
            texts.update(function.files.used)
        return texts

    def warnings(self) -> list[Problem]:
        """What is valid, and hardly meant."""
        report = Report(self.source)
        for name, function in self.vnfs.items():
            function.advise(report.at("vnfs", name))
        return report.problems


class File(Model):
    """The keys of a topology file; the content of each section is read by its kind."""

    name: Name = Field(description="name of the topology")
    saps: dict[Name, Any] = Field(
        description="service access points by name",
        examples=[{"lan": {"kind": "host", "ip": "10.0.1.10/24", "gateway": "10.0.1.1"}}],
    )
    vnfs: dict[Name, Any] = Field(
        {},
        description="virtual network functions by name",
        examples=[{"fw": {"type": "firewall", "rules": [{"action": "accept", "proto": "icmp"}]}}],
    )
    chains: dict[Name, Any] = Field(
        description="service chains by name",
        examples=[{"inside": {"path": ["lan", "fw", "gw:lan"]}}],
    )
    flow_cache: int = Field(
        16384,
        ge=1024,
        le=1 << 23,
        description="flows that each CPU remembers, of each IP version: 32 bytes each for IPv4, "
        "64 for IPv6; twice as many as are active at a time is best",
    )


def load(file: str | Path) -> Topology:
    """Read a topology file; "-" is standard input.

    Raises TopologyError with all its problems, InputError if the file cannot be read.
    """
    return build(read_source(file))


def loads(text: str, file: str = "<text>", files: Mapping[str, str] | None = None) -> Topology:
    """Read a topology from text; `file` is its name in messages. Raises TopologyError.

    `files` are the texts of the files that it names, by their names.
    """
    return build(parse(text, file, Files(None, files)))


def remembered(text: str, file: str, files: Mapping[str, str], data: Any) -> Topology:
    """A topology that was read before: `data` is what the text said, with included rules.

    Raises TopologyError if it was another version of this program that read it.
    """
    return build(Known.of(text, file, files, data))


def build(source: Source) -> Topology:
    """A topology from what was read of a file. Raises TopologyError."""
    source = include.expanded(source)
    report = Report(source)
    content = read_mapping(source.data, report)
    if content is None:
        report.raise_if_any()
    head = read(File, content, report)
    draft = _draft(content or {}, report)
    check(draft, report)
    report.raise_if_any()
    assert head is not None  # otherwise there was a problem
    return Topology(
        head.name,
        {name: sap for name, sap in draft.saps.items() if sap},
        {name: vnf for name, vnf in draft.vnfs.items() if vnf},
        _chains(draft.chains),
        head.flow_cache,
        source,
    )


def _draft(content: Mapping[str, Any], report: Report) -> Draft:
    def section(key: str) -> list[tuple[str, Any, Report]]:
        entries = content.get(key)
        if not isinstance(entries, dict):
            return []
        return [(name, body, report.at(key, name)) for name, body in entries.items()]

    return Draft(
        name=str(content.get("name")),
        saps={name: _sap(name, body, at) for name, body, at in section("saps")},
        vnfs={name: _vnf(name, body, at) for name, body, at in section("vnfs")},
        chains={name: read(ChainConfig, body, at) for name, body, at in section("chains")},
    )


def _sap(name: str, body: object, report: Report) -> Sap | None:
    keys = read_mapping(body, report)
    if keys is None:
        return None
    kind = _choice(keys, "kind", KINDS, report)
    if kind is None:
        return None
    model = KINDS[kind]
    if "name" in keys:  # a field of the model, but its value is the key of the SAP
        unknown_key("name", keys_of(model), report)
        return None
    return read(model, {**keys, "name": name}, report)


def _vnf(name: str, body: object, report: Report) -> Function[Any] | None:
    keys = read_mapping(body, report)
    if keys is None:
        return None
    kind = _choice(keys, "type", functions.known(), report)
    if kind is None:
        return None
    function = functions.find(kind)
    others = {key: value for key, value in keys.items() if key != "type"}
    config = read(function.Config, others, report)
    return None if config is None else function(name, config, report.files)


def _choice(keys: Mapping[str, Any], key: str, known: Iterable[str], report: Report) -> str | None:
    """The value of the key that decides which other keys there are."""
    value = keys.get(key)
    if isinstance(value, str) and value in known:
        return value
    choices = f"write one of {listed(known)}"
    if key not in keys:
        report.error((), f"missing key '{key}'", choices)
    elif value is not None:  # an empty value is reported by the reader of the file
        hint = did_you_mean(str(value), known, choices)
        report.error((key,), f"unknown {key} {quoted(value)}", hint)
    return None


def _chains(configs: Mapping[str, ChainConfig | None]) -> dict[str, Chain]:
    chains: dict[str, Chain] = {}
    for name, config in configs.items():
        if config:
            near, *inner, far = config.path
            ends = Attachment.parse(near), Attachment.parse(far)
            earlier = sum(not set(ends).isdisjoint(one.attachments) for one in chains.values())
            chains[name] = Chain(name, ends[0], tuple(inner), ends[1], config.match, earlier)
    return chains
